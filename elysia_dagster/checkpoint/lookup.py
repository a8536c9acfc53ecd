"""Runs as they are found: by their name, by what makes two starts the same run, by who came after them."""

from sqlalchemy import Connection, and_, select

from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import documents, repository_changesets, run_repositories, sync_runs
from elysia_dagster.errors import UsageError
from elysia_dagster.models import RunStatus


def load_run(database: Database, run_id: str) -> RunRecord:
    """The run of that name. Raises ``UsageError`` where there is none."""
    with database.read() as connection:
        return load_within(connection, run_id)


def load_within(connection: Connection, run_id: str) -> RunRecord:
    """``load_run`` in the caller's transaction."""
    row = connection.execute(select(sync_runs).where(sync_runs.c.run_id == run_id)).mappings().one_or_none()
    if row is None:
        raise UsageError(f"There is no run {run_id}.", next_step="See the runs: elysiactl index status", run_id=run_id)
    return RunRecord.from_row(row)


def find_unfinished(database: Database, identity: str) -> RunRecord | None:
    """The one unfinished run of an identity."""
    with database.read() as connection:
        row = connection.execute(
            select(sync_runs).where(sync_runs.c.identity == identity, sync_runs.c.status == RunStatus.RUNNING.value)
        ).mappings()
        return next(map(RunRecord.from_row, row), None)


def find_finished(database: Database, identity: str) -> RunRecord | None:
    """The latest finished run of an identity, not counting those that were given up."""
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs)
            .where(
                sync_runs.c.identity == identity,
                sync_runs.c.status.in_([RunStatus.COMPLETED.value, RunStatus.FAILED.value]),
            )
            .order_by(sync_runs.c.sequence.desc())
            .limit(1)
        ).mappings()
        return next(map(RunRecord.from_row, rows), None)


def touched_since(database: Database, run: RunRecord) -> bool:
    """Whether a run that began later has claimed one of this run's repositories, or changed something there.

    A later run that was cleaned up has left no claim, but its sequence where it moved a commit or a document.
    """
    mine = run_repositories.alias("mine")
    later = run_repositories.alias("later")
    with database.read() as connection:
        for table, sequence in (
            (later, later.c.sequence),
            (repository_changesets, repository_changesets.c.sequence),
            (documents, documents.c.version_sequence),
        ):
            found = connection.execute(
                select(table.c.repository)
                .select_from(mine)
                .join(
                    table,
                    and_(
                        table.c.collection_id == mine.c.collection_id,
                        table.c.repository == mine.c.repository,
                        sequence > mine.c.sequence,
                    ),
                )
                .where(mine.c.run_id == run.run_id)
                .limit(1)
            ).first()
            if found is not None:
                return True
    return False
