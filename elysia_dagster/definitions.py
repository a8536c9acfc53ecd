"""What Dagster loads."""

from dagster import Definitions

from elysia_dagster.defs.inbox_sensor import inbox_sensor
from elysia_dagster.defs.jobs import sync_changeset
from elysia_dagster.defs.keeping_jobs import KEEPING_JOBS
from elysia_dagster.defs.schedules import schedules
from elysia_dagster.defs.wiring import resources

definitions = Definitions(
    jobs=[sync_changeset, *KEEPING_JOBS],
    sensors=[inbox_sensor()],
    schedules=schedules(),
    resources=resources(),
)
