"""One op for each stage, in a line. An op takes the run's lease, calls its stage, and says what became of it."""

import time
from collections import Counter

from dagster import Failure, MetadataValue, OpExecutionContext, op

from elysia_dagster.checkpoint import clock, lines, lookup, queries, reconciling
from elysia_dagster.defs.checks import events_of
from elysia_dagster.defs.config import CleanupCheckpointsConfig, FinalizeRunConfig, ReadChangesetConfig, request_of
from elysia_dagster.defs.failures import failing_in_words
from elysia_dagster.defs.io_manager import BatchStream
from elysia_dagster.defs.metadata import (
    cleanup_metadata,
    manifest_metadata,
    materialization_metadata,
    plan_metadata,
    preview_metadata,
    report_metadata,
    written_metadata,
)
from elysia_dagster.defs.resources import EngineResource
from elysia_dagster.models import Outcome, RunStatus
from elysia_dagster.sync import checks, cleanup, finalize, plan, read, resume
from elysia_dagster.sync.embed import BatchMaker
from elysia_dagster.sync.engine import Engine, Work
from elysia_dagster.sync.finalize import SyncReport, finished_report
from elysia_dagster.sync.measures import (
    CHUNKS_WRITTEN,
    DOCUMENTS,
    add_measures,
    counted,
    load_measures,
    measured,
)
from elysia_dagster.sync.plan import BatchPlan
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.preview import preview_run
from elysia_dagster.sync.request import ChangesetManifest
from elysia_dagster.sync.upsert import BatchUpserter

LOG_EVERY_S = 5.0
"""Seconds between two lines of progress in the log."""


@op(description="Spools the changeset, and finds its unfinished run or opens one.")
@failing_in_words()
def read_changeset(
    context: OpExecutionContext, config: ReadChangesetConfig, engine: EngineResource
) -> ChangesetManifest:
    """Raises ``Failure`` in the words of the shell; an unreadable changeset opens no run."""
    began = time.monotonic()
    with engine.opened(context.log) as opened:
        if config.run_id:
            manifest = resume.resume_run(opened, config.run_id, max_failures=config.max_failures)
        else:
            manifest = read.read_changeset(opened, request_of(config, opened.settings))
        if not manifest.finished:
            add_measures(opened.run_folder(manifest.run_id), "read", time.monotonic() - began)
    if manifest.finished:
        context.log.info(f"Nothing to do: run {manifest.run_id} has applied these bytes, and nothing came after it.")
    else:
        verb = "goes on" if manifest.resumed else "begins"
        context.log.info(f"Run {manifest.run_id} {verb}: {manifest.total_lines} lines.")
    context.add_output_metadata(manifest_metadata(manifest))
    return manifest


@op(description="Says what each line asks of which document, claims the repositories, and cuts batches.")
@failing_in_words()
def plan_batches(context: OpExecutionContext, engine: EngineResource, manifest: ChangesetManifest) -> BatchPlan:
    """Raises ``Failure``, for one where another run holds a repository."""
    with engine.work_on(manifest.run_id, dagster_run_id=context.run_id, log=context.log) as work:
        if work is None:
            return BatchPlan(run_id=manifest.run_id, batches=0, repositories=())
        with measured(work.folder, "plan"):
            made = plan.plan_batches(work)
        run = lookup.load_run(work.engine.database, made.run_id)
        known = work.collection
        stands_at = reconciling.commits_of(work.engine.database, known.collection_id) if known else {}
    context.log.info(f"{made.batches} batches in {len(made.repositories)} repositories.")
    context.add_output_metadata(plan_metadata(made, run, stands_at))
    return made


@op(description="Reads, chunks and embeds every unsettled batch; each is saved under the run's folder.")
@failing_in_words()
def embed_batches(context: OpExecutionContext, made: BatchPlan) -> BatchStream:
    """Only names the batches: they are made where the stream is drained, by the IO manager under the run's lease."""
    context.log.debug(f"The batches of run {made.run_id} are made while they are handed on.")
    return BatchStream(run_id=made.run_id)


@op(description="Writes every unsettled batch to the store, then settles its lines in the checkpoint.")
@failing_in_words()
def upsert_batches(context: OpExecutionContext, engine: EngineResource, stream: BatchStream) -> SyncReport:
    """Raises ``Failure``; where the store is down, the step is tried again and no line is charged."""
    with engine.work_on(stream.run_id, dagster_run_id=context.run_id, log=context.log) as work:
        if work is not None and not work.run.dry_run:
            plan.plan_batches(
                work, asks_for_due=False
            )  # a re-execution may begin here: the claims may have gone to another run meanwhile
            context.add_output_metadata(_upsert(context, work, stream))
    with engine.opened(context.log) as opened:
        return _as_it_is(opened, stream.run_id)


def _upsert(context: OpExecutionContext, work: Work, stream: BatchStream) -> dict[str, MetadataValue]:
    """Applies the stream's batches; what to show of it."""
    began = said = time.monotonic()
    began_at = clock.stamp()
    outcomes: Counter[str] = Counter()
    batches = lines = failed = chunks = 0
    with measured(work.folder, "upsert") as counts, RunPlan(work.folder) as whole, BatchMaker(work, whole) as maker:
        upserter = BatchUpserter(
            work, commits=whole.commits, make_anew=lambda n: maker.make(n, anew=True), raw_line=maker.raw_line
        )
        for report in upserter.upsert(counted(stream.batches(maker), counts)):
            batches += 1
            lines += report.settled_lines
            failed += report.failed
            chunks += report.chunks
            outcomes.update({outcome.value: count for outcome, count in report.outcomes.items()})
            counts.update({DOCUMENTS: report.outcomes.get(Outcome.INDEXED, 0), CHUNKS_WRITTEN: report.chunks})
            if time.monotonic() - said > LOG_EVERY_S:
                said = time.monotonic()
                context.log.info(f"Batch {report.number + 1} of {whole.batches}: {lines} lines, {failed} failed.")
    seconds = time.monotonic() - began
    context.log.info(f"{lines} lines settled in {batches} batches, {failed} of them failed, {chunks} chunks written.")
    failures = queries.failures_since(work.engine.database, work.run.run_id, began_at, limit=finalize.FIRST_FAILURES)
    return written_metadata(
        batches=batches,
        lines=lines,
        failed=failed,
        chunks=chunks,
        seconds=seconds,
        outcomes=outcomes,
        failures=failures,
    )


@op(description="Drops finished runs past their retention, with their files.")
@failing_in_words()
def cleanup_checkpoints(
    context: OpExecutionContext, config: CleanupCheckpointsConfig, engine: EngineResource, report: SyncReport
) -> SyncReport:
    """The job's own run stays, however long ago it was finished elsewhere: the last step reports it."""
    with engine.opened(context.log) as opened:
        if not report.run.dry_run:
            keep_days = cleanup.days_to_keep(config.keep_days, opened.settings)
            cleaned = cleanup.cleanup_checkpoints(
                opened, keep_days=keep_days, except_runs=frozenset([report.run.run_id])
            )
            context.log.info(f"{len(cleaned.runs)} runs older than {keep_days:g} days are dropped.")
            context.add_output_metadata(cleanup_metadata(cleaned))
    return report


@op(description="Checks that every line is settled and store and ledger agree, moves commits, closes the run.")
@failing_in_words()
def finalize_run(
    context: OpExecutionContext, config: FinalizeRunConfig, engine: EngineResource, report: SyncReport
) -> SyncReport:
    """Raises ``Failure`` last, where lines failed and the config says that they fail the job."""
    run_id = report.run.run_id
    with engine.work_on(run_id, dagster_run_id=context.run_id, log=context.log) as work:
        final = _close(context, work) if work is not None else None
    with engine.opened(context.log) as opened:
        final = final or _as_it_is(opened, run_id)
        measures = load_measures(opened.run_folder(run_id))
        answers = {} if final.run.dry_run else checks.look_at_run(opened, final.run)
    if not final.run.dry_run:
        context.add_output_metadata(materialization_metadata(final, measures))
        for event in events_of(final, measures, answers):
            context.log_event(event)  # type: ignore[arg-type]
    _judge(final, fail_on_failed_lines=config.fail_on_failed_lines)
    return final


def _close(context: OpExecutionContext, work: Work) -> SyncReport | None:
    """The report of a run closed here; None for a dry run, of which only the preview is told."""
    if work.run.dry_run:
        context.add_output_metadata(preview_metadata(preview_run(work)))
        return None
    with RunPlan(work.folder) as whole:  # a re-execution may begin here: see upsert_batches
        plan.take_up_plan(work, whole)
    if lines.has_unsettled_lines(work.engine.database, work.run.run_id):  # what a retry that died has asked for
        plan.plan_batches(work, asks_for_due=False)
        _upsert(context, work, BatchStream(run_id=work.run.run_id))
    return finalize.finalize_run(work)


def _as_it_is(engine: Engine, run_id: str) -> SyncReport:
    return finished_report(engine.database, lookup.load_run(engine.database, run_id))


def _judge(report: SyncReport, *, fail_on_failed_lines: bool) -> None:
    run = report.run
    if run.status is RunStatus.CANCELED:
        raise Failure(
            description=f"Run {run.run_id} was given up by an operator. Launch the job again with its changeset.",
            allow_retries=False,
        )
    if run.status is RunStatus.FAILED and fail_on_failed_lines:
        raise Failure(
            description=f"{run.error_count} of {run.total_lines} lines of run {run.run_id} failed, all others are "
            f"applied. Try them again with: {report.repair_command}",
            metadata=report_metadata(report),
            allow_retries=False,
        )
