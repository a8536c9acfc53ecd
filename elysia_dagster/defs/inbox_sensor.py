"""The sensor that sees new changesets: one run for each file of the inbox, in order of name within a repository."""

from collections.abc import Callable
from functools import partial

from dagster import (
    AssetMaterialization,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)

from elysia_dagster.checkpoint.inbox import InboxFile
from elysia_dagster.defs.asked_runs import KEY_TAG, asked_runs
from elysia_dagster.defs.assets import INBOX_KEY
from elysia_dagster.defs.at_load import settings_at_load
from elysia_dagster.defs.jobs import sync_changeset
from elysia_dagster.inbox.tick import InboxWatcher, Tick
from elysia_dagster.settings import Settings
from elysia_dagster.sync.engine import Engine, no_fault

_SHOWN_REPOSITORIES = 10


def inbox_sensor(faults: Callable[[str], None] = no_fault) -> SensorDefinition:
    """The sensor. ``faults`` is called between two side effects of a tick; a test kills the process there."""

    @sensor(
        name="inbox",
        job_name=sync_changeset.name,  # by its name: a job that is given anew at load warns of what we do not use
        minimum_interval_seconds=settings_at_load().inbox_interval_s,
        default_status=DefaultSensorStatus.RUNNING,
        description="Asks for one run for each changeset that lies in the inbox (ELYSIACTL_INBOX), in order of name "
        "within each repository; moves what is settled to done/ or failed/.",
    )
    def inbox(context: SensorEvaluationContext) -> SensorResult:
        settings = Settings.from_environment()
        folder = settings.inbox_folder()
        if not settings.inbox and not folder.is_dir():
            return SensorResult(skip_reason=f"There is no inbox yet: mkdir -p {folder}, or set ELYSIACTL_INBOX.")
        engine = Engine.open(settings, say=context.log.info)
        try:
            watcher = InboxWatcher(engine.database, settings, partial(asked_runs, context.instance), faults=faults)
            tick = watcher.look()
        finally:
            engine.close()
        for report in tick.reports:
            context.log.error(report)
        return _result(tick, settings, watcher)

    return inbox


def _result(tick: Tick, settings: Settings, watcher: InboxWatcher) -> SensorResult:
    requests = [_request(key, file, settings, watcher) for key, file in tick.requests.items()]
    return SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "\n".join([*tick.reports, tick.summary()]),
        asset_events=[_arrival(file) for file in tick.arrived],
    )


def _request(key: str, file: InboxFile, settings: Settings, watcher: InboxWatcher) -> RunRequest:
    repositories = file.repositories or ()
    shown = ", ".join(repositories[:_SHOWN_REPOSITORIES])
    more = len(repositories) - _SHOWN_REPOSITORIES
    return RunRequest(
        run_key=key,
        run_config={
            "ops": {
                "read_changeset": {
                    "config": {"changeset": str(watcher.folder.path / file.name), "digest": file.digest or ""}
                },
                "finalize_run": {"config": {"fail_on_failed_lines": settings.inbox_failed_lines == "FAIL"}},
            }
        },
        tags={
            KEY_TAG: key,
            "elysiactl/inbox_file": file.name,
            "elysiactl/collection": settings.collection,
            "elysiactl/repositories": f"{shown} and {more} more" if more > 0 else shown,
            "elysiactl/digest": file.digest or "",
            "dagster/max_retries": "0",  # this sensor asks again, with a backoff: Dagster's own retries stay out
        },
    )


def _arrival(file: InboxFile) -> AssetMaterialization:
    return AssetMaterialization(
        asset_key=INBOX_KEY,
        description=f"{file.name} has arrived.",
        metadata={
            "file": file.name,
            "lines": file.line_count or 0,
            "bytes": file.size_bytes,
            "repositories": len(file.repositories or ()),
            "SHA-256": file.digest or "",
        },
    )
