"""What Dagster loads."""

from dagster import Definitions

from elysia_dagster.defs.inbox_sensor import inbox_sensor
from elysia_dagster.defs.jobs import sync_changeset
from elysia_dagster.defs.wiring import resources

definitions = Definitions(jobs=[sync_changeset], sensors=[inbox_sensor()], resources=resources())
