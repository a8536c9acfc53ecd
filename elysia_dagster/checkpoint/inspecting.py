"""What the checks of a collection ask the checkpoint. Reads only, each question one statement: as of one moment."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, or_, select

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.checkpoint.queries import REPAIR_IDENTITY
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.checkpoint.schema import (
    IS_UNSETTLED,
    completed_lines,
    documents,
    failed_lines,
    repository_claims,
    sync_runs,
)
from elysia_dagster.models import DocumentState, RunStatus


class Counters(NamedTuple):
    """A run's counters, and the rows that they should be the numbers of."""

    run_id: str
    success_count: int
    error_count: int
    processed_lines: int
    completed: int
    failed: int


def _of_collection(store: str, name: str) -> list[ColumnElement[bool]]:
    """Real runs into a collection, but those of the earlier system."""
    return [
        sync_runs.c.store == store,
        sync_runs.c.collection_name == name,
        sync_runs.c.dry_run.is_(False),
        sync_runs.c.sequence.is_not(None),
    ]


def untrue_counters(database: Database, store: str, name: str, *, run_id: str | None = None) -> list[Counters]:
    """Runs whose counters are not their tables' numbers of rows; of all runs of a collection, or of one."""
    completed = select(func.count()).where(completed_lines.c.run_id == sync_runs.c.run_id).scalar_subquery()
    failed = select(func.count()).where(failed_lines.c.run_id == sync_runs.c.run_id).scalar_subquery()
    runs = select(
        sync_runs.c.run_id,
        sync_runs.c.success_count,
        sync_runs.c.error_count,
        sync_runs.c.processed_lines,
        completed.label("completed"),
        failed.label("failed"),
    ).where(*_of_collection(store, name))
    if run_id is not None:
        runs = runs.where(sync_runs.c.run_id == run_id)
    with database.read() as connection:
        found = [Counters(*row) for row in connection.execute(runs.order_by(sync_runs.c.sequence))]
    return [each for each in found if each[1:4] != (each.completed, each.failed, each.completed + each.failed)]


def runs_of(database: Database, store: str, name: str, statuses: Iterable[RunStatus]) -> list[RunRecord]:
    """Runs of these statuses into a collection, oldest first; no repairs, which have no lines."""
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs)
            .where(
                *_of_collection(store, name),
                sync_runs.c.status.in_([each.value for each in statuses]),
                or_(sync_runs.c.identity.is_(None), sync_runs.c.identity.not_like(f"{REPAIR_IDENTITY}%")),
            )
            .order_by(sync_runs.c.sequence)
        ).mappings()
        return [RunRecord.from_row(row) for row in rows]


def due_lines(database: Database, runs: Iterable[RunRecord]) -> dict[str, int]:
    """By run, how many of its failed lines are due for another try and have one left; only of runs that have any."""
    due: dict[str, int] = {}
    moment = clock.stamp()
    with database.read() as connection:
        for run in runs:
            found = connection.execute(
                select(func.count()).where(
                    failed_lines.c.run_id == run.run_id,
                    failed_lines.c.next_retry_at <= moment,
                    failed_lines.c.retry_count < (run.options.max_retries if run.options else 0),
                )
            ).scalar_one()
            if found:
                due[run.run_id] = found
    return due


def last_completed(database: Database, store: str, name: str) -> str | None:
    """When the newest completed run of a collection ended, as it is stored; None where there is none."""
    with database.read() as connection:
        found: str | None = connection.execute(
            select(func.max(sync_runs.c.completed_at)).where(
                *_of_collection(store, name),
                sync_runs.c.status == RunStatus.COMPLETED.value,
                or_(sync_runs.c.identity.is_(None), sync_runs.c.identity.not_like(f"{REPAIR_IDENTITY}%")),
            )
        ).scalar_one()
    return found


class Holding(NamedTuple):
    """What the store should hold of a repository: ``chunks`` objects, but for ``unsure`` documents."""

    chunks: int
    unsure: int


def holdings(database: Database, collection_id: int) -> dict[str, Holding]:
    """By repository what the ledger says of it, in one pass over the collection's documents."""
    is_present = documents.c.state == DocumentState.PRESENT.value
    statement: Any = (
        select(
            documents.c.repository,
            func.coalesce(func.sum(case((is_present, documents.c.chunks), else_=0)), 0),
            func.count(case((IS_UNSETTLED, 1))),
        )
        .where(documents.c.collection_id == collection_id)
        .group_by(documents.c.repository)
    )
    with database.read() as connection:
        return {name: Holding(int(chunks), unsure) for name, chunks, unsure in connection.execute(statement)}


def held_repositories(database: Database, known: CollectionRecord, host: Host) -> set[str]:
    """Repositories that a process may be writing at this moment."""
    with database.read() as connection:
        claims = connection.execute(
            select(repository_claims.c.repository, repository_claims.c.run_id).where(
                repository_claims.c.collection_id == known.collection_id
            )
        ).all()
        claiming = select(sync_runs).where(sync_runs.c.run_id.in_({each.run_id for each in claims}))
        runs = [RunRecord.from_row(row) for row in connection.execute(claiming).mappings()]
    live = {run.run_id for run in runs if live_holder(run, host)}
    return {each.repository for each in claims if each.run_id in live}
