"""What Dagster loads."""

from dagster import Definitions

from elysia_dagster.defs.assets import INBOX, collection_asset
from elysia_dagster.defs.check_collection import CHECKS_OF_COLLECTION, check_collection, check_collection_hourly
from elysia_dagster.defs.dead_runs import close_dead_runs
from elysia_dagster.defs.executor import sync_executor
from elysia_dagster.defs.failed_runs import report_failed_runs
from elysia_dagster.defs.inbox_sensor import inbox_sensor
from elysia_dagster.defs.jobs import sync_changeset
from elysia_dagster.defs.keeping_jobs import KEEPING_JOBS
from elysia_dagster.defs.schedules import schedules
from elysia_dagster.defs.wiring import resources

definitions = Definitions(
    assets=[INBOX, collection_asset()],
    asset_checks=CHECKS_OF_COLLECTION,
    jobs=[sync_changeset, *KEEPING_JOBS, check_collection],
    schedules=[*schedules(), check_collection_hourly],
    sensors=[inbox_sensor(), close_dead_runs, report_failed_runs],
    resources=resources(),
    executor=sync_executor,  # of jobs that name none: their workers, too, say who they are
)
