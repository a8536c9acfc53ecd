"""The shell's driver: chains the stages, so that the next batch is embedded while this one is written."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO

from elysia_dagster.checkpoint import lookup
from elysia_dagster.errors import UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.embed import BatchMaker
from elysia_dagster.sync.engine import Engine, Work
from elysia_dagster.sync.finalize import SyncReport, finalize_run, finished_report
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.preview import Preview, preview_run
from elysia_dagster.sync.read import read_changeset
from elysia_dagster.sync.request import ChangesetManifest, SyncRequest
from elysia_dagster.sync.upsert import BatchReport, BatchUpserter

Progress = Callable[[Work, BatchReport], None]
"""Called when a batch is settled."""


def sync(engine: Engine, request: SyncRequest, stream: BinaryIO | None = None) -> ChangesetManifest:
    """Reads the changeset; the run it gives is worked on by ``carry_out``."""
    return read_changeset(engine, request, stream)


def carry_out(engine: Engine, manifest: ChangesetManifest, progress: Progress) -> SyncReport | Preview:
    """Plans, embeds, writes and closes a run; a dry run is previewed instead."""
    if manifest.finished:
        return finished_report(engine.database, lookup.load_run(engine.database, manifest.run_id))
    with ExitStack() as stack:
        try:
            work = stack.enter_context(engine.work_on(manifest.run_id))
        except UsageError:
            run = lookup.load_run(engine.database, manifest.run_id)
            if run.dry_run or run.status not in (RunStatus.COMPLETED, RunStatus.FAILED):
                raise
            return finished_report(engine.database, run)  # another start of the same has brought it to its end
        plan_batches(work)
        if work.run.dry_run:
            return preview_run(work)
        with RunPlan(work.folder) as plan, BatchMaker(work, plan) as maker:
            upserter = BatchUpserter(
                work, commits=plan.commits, make_anew=lambda n: maker.make(n, anew=True), raw_line=maker.raw_line
            )
            for report in upserter.upsert(maker.batches()):
                progress(work, report)
        return finalize_run(work)
