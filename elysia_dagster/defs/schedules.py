"""The jobs beside ``sync_changeset`` by the clock. All are off until somebody turns them on.

A tick says why it starts nothing. A wrong setting fails the tick, in a sentence that names the variable, and never
keeps the code location from loading: until it is mended the schedule has its default time.
"""

from collections.abc import Callable
from dataclasses import fields
from functools import partial

from dagster import (
    DagsterInvalidDefinitionError,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
)

from elysia_dagster.checkpoint.collections import stores_of
from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.defs.at_load import settings_at_load
from elysia_dagster.defs.keeping_jobs import CLEANUP, COLLECT, RECONCILE, RETRY
from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.due import find_due
from elysia_dagster.sync.existing import existing_checkpoint

Reason = Callable[[Settings], str]
"""Why there is nothing to do now, '' where there is."""

UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]

NO_DATABASE = "There is no checkpoint database yet: no changeset was applied."


def _nothing_to_clean(settings: Settings) -> str:
    return "" if settings.find_database() else NO_DATABASE


def _nothing_due(settings: Settings) -> str:
    with existing_checkpoint(settings) as database:
        if database is None:
            return NO_DATABASE
        due = find_due(database, this_host(), settings.state_folder()[0] / "work")
        return "" if due.runs else due.why_none()


def _nothing_to_compare(settings: Settings) -> str:
    with existing_checkpoint(settings) as database:
        if database is None:
            return NO_DATABASE
        if stores_of(database, settings.collection):
            return ""
    return f"There is no collection {settings.collection} yet. Another one is named by ELYSIACTL_COLLECTION."


def _nowhere_to_collect(settings: Settings) -> str:
    return "" if settings.collect_folder else "No folder is set to collect changesets in: set ELYSIACTL_COLLECT_FOLDER."


def schedule_of(job_name: str, setting: str, reason: Reason, description: str) -> ScheduleDefinition:
    """A schedule of a job by a setting that holds its cron; the time zone is a setting, too."""
    settings = settings_at_load()
    cron, timezone = getattr(settings, setting), settings.timezone
    if not _is_time(timezone=timezone):
        timezone = Settings().timezone
    if not _is_time(cron=cron):
        cron = getattr(Settings(), setting)
    return ScheduleDefinition(
        name=f"{job_name}_schedule",
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone=timezone,
        default_status=DefaultScheduleStatus.STOPPED,
        description=f"{description} When: {_variable(setting)}, in the time zone {_variable('timezone')}.",
        execution_fn=partial(_tick, job_name, setting, reason),
    )


def _tick(job_name: str, setting: str, reason: Reason, context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Raises ``UsageError`` for a wrong setting, ``CheckpointError``, ``TransientError``."""
    settings = Settings.from_environment()
    _check_times(settings, setting)
    if running := context.instance.get_runs(RunsFilter(job_name=job_name, statuses=UNFINISHED), limit=1):
        return SkipReason(f"Run {running[0].run_id} of {job_name} is not at its end.")
    if why := reason(settings):
        return SkipReason(why)
    # the tick's moment: evaluated twice, it starts one run
    return RunRequest(run_key=context.scheduled_execution_time.isoformat())


def _check_times(settings: Settings, setting: str) -> None:
    cron = getattr(settings, setting)
    if not _is_time(timezone=settings.timezone):
        raise UsageError(
            f"{_variable('timezone')}={settings.timezone!r} is no time zone.",
            next_step="Set it to a name like UTC or Europe/Berlin, and reload the code location.",
        )
    if not _is_time(cron=cron):
        raise UsageError(
            f"{_variable(setting)}={cron!r} is no cron of five fields.",
            next_step="Set it to one like '30 2 * * *', and reload the code location.",
        )


def _is_time(*, cron: str = "* * * * *", timezone: str = "UTC") -> bool:
    """Whether Dagster takes them."""
    try:
        ScheduleDefinition(name="asked", job_name="asked", cron_schedule=cron, execution_timezone=timezone)
    except DagsterInvalidDefinitionError:
        return False
    return True


def _variable(setting: str) -> str:
    return next(f"ELYSIACTL_{each.metadata['variable']}" for each in fields(Settings) if each.name == setting)


def schedules() -> list[ScheduleDefinition]:
    """All of them, by the settings as they are now."""
    return [
        schedule_of(CLEANUP, "cleanup_cron", _nothing_to_clean, "Drops old runs and gives their space back."),
        schedule_of(RETRY, "retry_cron", _nothing_due, "Tries failed lines again whose time has come."),
        schedule_of(RECONCILE, "reconcile_cron", _nothing_to_compare, "Compares the collection with the ledger."),
        schedule_of(COLLECT, "collect_cron", _nowhere_to_collect, "Runs the producer command in its folder."),
    ]
