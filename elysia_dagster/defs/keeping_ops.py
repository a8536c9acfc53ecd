"""The one step of each job beside ``sync_changeset``: calls what the shell calls, and says what became of it."""

import time
from typing import NoReturn

from dagster import Failure, OpExecutionContext, op

from elysia_dagster.defs.executor import die_with_run_worker
from elysia_dagster.defs.failures import failing_in_words
from elysia_dagster.defs.keeping_config import (
    CollectChangesetsConfig,
    DropExpiredRunsConfig,
    ReconcileCollectionConfig,
    RetryFailedLinesConfig,
    collect_settings_of,
    retry_request_of,
    send_again_of,
)
from elysia_dagster.defs.keeping_metadata import collect_metadata, next_command, reconcile_metadata, retry_metadata
from elysia_dagster.defs.metadata import Metadata, cleanup_metadata
from elysia_dagster.defs.resources import EngineResource
from elysia_dagster.errors import ElysiaError, TransientError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import cleanup, collect
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import check_repair, repair
from elysia_dagster.sync.retries import Retried, retry_runs
from elysia_dagster.sync.upsert import BatchReport

LOG_EVERY_S = 5.0
"""Seconds between two lines of progress in the log."""


@op(description="Tries failed lines again, one sync run after the other.")
@failing_in_words()
def retry_failed_lines(context: OpExecutionContext, config: RetryFailedLinesConfig, engine: EngineResource) -> None:
    """Raises ``Failure``; where a store is out, after the runs that do not need it, and the step is tried again."""
    done: list[Retried] = []
    said = time.monotonic()

    def tell(work: Work, report: BatchReport) -> None:
        nonlocal said
        if time.monotonic() - said > LOG_EVERY_S:
            said = time.monotonic()
            context.log.info(f"Run {work.run.run_id}: batch {report.number + 1}.")

    with engine.opened(context.log) as opened:
        for each in retry_runs(opened, retry_request_of(config), tell):
            done.append(each)
            context.log.info(_sentence(each))
    entries = retry_metadata(done)
    context.add_output_metadata(entries)
    if errors := [each.error for each in done if each.error]:
        # an outage first: that is what another try of the step may mend
        _fail(min(errors, key=lambda error: not isinstance(error, TransientError)), entries)
    failed = [each.report.run for each in done if each.report and each.report.run.status is RunStatus.FAILED]
    if failed and config.fail_on_failed_lines:
        lines = sum(run.error_count for run in failed)
        raise Failure(
            description=f"{lines} lines of {len(failed)} sync runs are still failed; the first run is "
            f"{failed[0].run_id}. See their reasons below, or type: elysiactl index failed",
            metadata=entries,
            allow_retries=False,
        )


def _sentence(each: Retried) -> str:
    if each.report is None:
        return str(each.error or each.left_out)
    run = each.report.run
    return (
        f"Run {each.run_id} is {run.status.value}: {each.failed_before} lines had failed, {run.error_count} have now."
    )


@op(description="Compares a collection with the ledger and, where asked to, mends it.")
@failing_in_words()
def reconcile_collection(
    context: OpExecutionContext, config: ReconcileCollectionConfig, engine: EngineResource
) -> None:
    """Raises ``Failure`` last, where differences are left and the config says that they fail the job."""
    send_again = send_again_of(config)
    check_repair(is_repair=config.repair, foreign=config.foreign, send_again=send_again)
    with engine.opened(context.log) as opened:
        name = config.collection or opened.settings.collection
        with compared(opened, name, store=config.store or "", repository=config.repository) as comparison:
            context.log.info(f"{comparison.differing} of {comparison.documents} documents differ.")
            done = repair(comparison, foreign=config.foreign, send_again=send_again) if config.repair else None
            entries = reconcile_metadata(comparison, done)
            left = comparison.differing if done is None else done.remaining
            command = next_command(comparison, done)
    context.add_output_metadata(entries)
    if left and config.fail_on_differences:
        raise Failure(
            description=f"{left} documents of {name} differ from the ledger. Mend them with: {command}",
            metadata=entries,
            allow_retries=False,
        )


@op(description="Drops finished runs past their retention, with their files, and gives their space back.")
@failing_in_words()
def drop_expired_runs(context: OpExecutionContext, config: DropExpiredRunsConfig, engine: EngineResource) -> None:
    """Raises ``Failure``. Documents, unfinished runs and what these may need stay."""
    with engine.opened(context.log) as opened:
        keep_days = cleanup.days_to_keep(config.keep_days, opened.settings)
        report = cleanup.cleanup_checkpoints(opened, keep_days=keep_days, give_back_space=config.vacuum)
    context.log.info(f"Dropped {len(report.runs)} runs that ended more than {keep_days:g} days ago.")
    context.add_output_metadata(cleanup_metadata(report))


@op(description="Runs the producer command, and drops the changeset that it prints into the inbox.")
@failing_in_words()
def collect_changesets(context: OpExecutionContext, config: CollectChangesetsConfig, engine: EngineResource) -> None:
    """Raises ``Failure`` with the command's exit code and the end of its standard error."""
    die_with_run_worker()
    settings = collect_settings_of(config, engine.settings())
    report = collect.collect_changeset(settings, faults=engine.faults())
    if report.file is None:
        context.log.info("The command printed nothing: there is no new changeset.")
    else:
        context.log.info(f"{report.file} holds {report.size_bytes} bytes.")
    context.add_output_metadata(collect_metadata(report))


def _fail(error: ElysiaError, entries: Metadata) -> NoReturn:
    """Raises the ``Failure`` of an error, with what was done beside it."""
    try:
        with failing_in_words():
            raise error
    except Failure as failure:
        raise Failure(
            description=failure.description,
            metadata={**failure.metadata, **entries},
            allow_retries=failure.allow_retries,
        ) from error
