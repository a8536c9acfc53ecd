"""The job that asks every check of the collection, and the schedule that launches it, off by default."""

from dagster import AssetSelection, DefaultScheduleStatus, ScheduleDefinition, define_asset_job

from elysia_dagster.defs.checks import collection_checks

CHECKS_OF_COLLECTION = collection_checks()

check_collection = define_asset_job(
    "check_collection",
    selection=AssetSelection.checks(*CHECKS_OF_COLLECTION),
    description="Executes every check of the collection: lines settled, counters, ledger and store, failed lines, "
    "freshness. Changes nothing.",
)

check_collection_hourly = ScheduleDefinition(
    name="check_collection_hourly",
    job=check_collection,
    cron_schedule="0 * * * *",
    default_status=DefaultScheduleStatus.STOPPED,
    description="Executes the checks of the collection every hour.",
)
