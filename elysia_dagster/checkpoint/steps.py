"""Which sync run a step of a Dagster run worked on: all that a re-execution knows is the earlier Dagster run's id."""

from collections.abc import Sequence

from sqlalchemy import and_, delete, insert, select, text

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import dagster_steps, sync_runs


def record_step(database: Database, *, dagster_run_id: str, step_key: str, run_id: str) -> None:
    """Remembers that the step handed on what belongs to the sync run; a retried step says so again."""
    with database.write() as connection:
        connection.execute(
            delete(dagster_steps).where(
                dagster_steps.c.dagster_run_id == dagster_run_id, dagster_steps.c.step_key == step_key
            )
        )
        connection.execute(
            insert(dagster_steps).values(
                dagster_run_id=dagster_run_id, step_key=step_key, run_id=run_id, recorded_at=clock.stamp()
            )
        )


def find_step(database: Database, *, dagster_run_id: str, step_key: str) -> str | None:
    """The sync run that the step handed on, or None where the step is not known here."""
    with database.read() as connection:
        return connection.execute(
            select(dagster_steps.c.run_id).where(
                dagster_steps.c.dagster_run_id == dagster_run_id, dagster_steps.c.step_key == step_key
            )
        ).scalar_one_or_none()


def sync_run_of(database: Database, dagster_run_ids: Sequence[str]) -> RunRecord | None:
    """The sync run that a Dagster run worked on; ``dagster_run_ids``: its own id, then those it was re-executed from.

    A run that was killed in its first step has recorded none, but may hold a lease; a re-execution that was killed in
    its first step works on what its parent worked on.
    """
    with database.read() as connection:
        for dagster_run_id in dagster_run_ids:
            its_steps = (
                select(dagster_steps.c.run_id)
                .where(dagster_steps.c.dagster_run_id == dagster_run_id)
                .order_by(dagster_steps.c.recorded_at.desc())
                .limit(1)
            )
            for condition in (
                sync_runs.c.run_id == its_steps.scalar_subquery(),
                # an unfinished one, by their index: who ends a run takes its lease away
                and_(sync_runs.c.status == text("'running'"), sync_runs.c.lease_label == dagster_run_id),
            ):
                row = connection.execute(select(sync_runs).where(condition)).mappings().first()
                if row is not None:
                    return RunRecord.from_row(row)
    return None
