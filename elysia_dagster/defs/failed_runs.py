"""The sensor that tells of failed Dagster runs: in its log, and by a webhook where one is set.

Dagster moves the sensor's cursor on also where a notice could not be sent: that tick fails, the next runs are told of.
"""

from dagster import (
    DagsterEventType,
    DefaultSensorStatus,
    RunFailureSensorContext,
    run_failure_sensor,
)

from elysia_dagster.defs.dead_runs import ancestry
from elysia_dagster.errors import ElysiaError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.existing import existing_checkpoint
from elysia_dagster.sync.notify import Notice, send_notice
from elysia_dagster.sync.standing import Standing, standing_of

FROM_OUTSIDE = "This run has been marked as failed from outside the execution context."
"""What Dagster says of a run whose worker died under its code server; the event before says what it died of."""


@run_failure_sensor(
    name="report_failed_runs",
    default_status=DefaultSensorStatus.RUNNING,
    description="Says of every failed run what failed, how far it came, and the command that repairs it: in the log, "
    "and by a webhook where ELYSIACTL_NOTIFY_URL is set.",
)
def report_failed_runs(context: RunFailureSensorContext) -> None:
    """Raises ``UsageError`` for a wrong setting, ``TransientError`` where the webhook does not take the notice."""
    settings = Settings.from_environment()
    notice = notice_of(context, settings).without_secrets(settings)
    context.log.error(str(notice))
    if settings.notify_url:
        send_notice(notice, settings)


def notice_of(context: RunFailureSensorContext, settings: Settings) -> Notice:
    """What there is to say; a checkpoint that cannot be read leaves the sync run out."""
    run = context.dagster_run
    standing, problem = None, ""
    try:
        with existing_checkpoint(settings) as database:
            standing = None if database is None else standing_of(database, ancestry(run))
    except ElysiaError as error:
        problem = f" {error}"
    known = standing.run if standing else None
    return Notice(
        job=run.job_name,
        dagster_run_id=run.run_id,
        reason=_reason(context),
        repair=_repair(standing) + problem,
        sync_run_id=known.run_id if known else None,
        changeset=known.input_source if known else None,
        collection=known.collection_name if known else None,
        total=known.total_lines if known else None,
        completed=known.success_count if known else None,
        failed=known.error_count if known else None,
        tags=run.tags,
    )


def _repair(standing: Standing | None) -> str:
    if standing is None:
        return "re-execute the Dagster run, or launch its job again."
    return standing.command or str(standing)


def _reason(context: RunFailureSensorContext) -> str:
    """The sentence of the step that failed; else how the run ended."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return failure.user_failure_data.description
        if failure.error is not None:
            return failure.error.message.strip().splitlines()[0]
    said = context.failure_event.message or ""
    if said != FROM_OUTSIDE:
        return said
    entries = context.instance.all_logs(context.dagster_run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    return next((entry.message for entry in reversed(entries) if entry.message), said)
