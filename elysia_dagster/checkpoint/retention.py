"""What is dropped, and when: old runs, tombstones of removed documents, a collection that is given up."""

from sqlalchemy import Connection, and_, bindparam, delete, func, literal_column, or_, select, true, update

from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.runs import cancel_run
from elysia_dagster.checkpoint.schema import (
    collections,
    completed_lines,
    dagster_steps,
    documents,
    failed_lines,
    removed_folders,
    repository_changesets,
    repository_claims,
    run_repositories,
    sync_runs,
)
from elysia_dagster.errors import RepositoriesHeld, UsageError
from elysia_dagster.models import DocumentState, RunStatus

_FINISHED = (RunStatus.COMPLETED.value, RunStatus.FAILED.value, RunStatus.CANCELED.value)

TOMBSTONE_SLICE = 5_000
"""Tombstones that one transaction removes."""


def expired_runs(database: Database, before: str) -> list[str]:
    """Finished runs that ended before a stored moment, oldest first."""
    with database.read() as connection:
        return list(
            connection.execute(
                select(sync_runs.c.run_id)
                .where(sync_runs.c.status.in_(_FINISHED), sync_runs.c.completed_at < before)
                .order_by(sync_runs.c.completed_at)
            ).scalars()
        )


def known_runs(database: Database) -> frozenset[str]:
    """The names of all runs."""
    with database.read() as connection:
        return frozenset(connection.execute(select(sync_runs.c.run_id)).scalars())


def drop_run(database: Database, run_id: str, host: Host) -> tuple[int, int] | None:
    """Removes a finished run with its lines; (completed, failed) lines, or None where it was reopened meanwhile."""
    with database.write() as connection:
        row = connection.execute(select(sync_runs).where(sync_runs.c.run_id == run_id)).mappings().one_or_none()
        if row is None:
            return None
        run = RunRecord.from_row(row)
        if run.status is RunStatus.RUNNING or live_holder(run, host):
            return None
        failed = connection.execute(delete(failed_lines).where(failed_lines.c.run_id == run_id)).rowcount
        completed = connection.execute(delete(completed_lines).where(completed_lines.c.run_id == run_id)).rowcount
        for table in (run_repositories, repository_claims, dagster_steps, sync_runs):
            connection.execute(delete(table).where(table.c.run_id == run_id))
    return completed, failed


def drop_tombstones(database: Database) -> int:
    """Removes ``absent`` rows that no older run can write any more: none is unfinished, none has failed lines.

    Nor has the run that removed the document: a failed folder line of its own would come after its later lines. In
    slices, so that other writers come in between.
    """
    with database.read() as connection:
        known = connection.execute(select(collections.c.collection_id).order_by(collections.c.collection_id)).scalars()
        every = list(known)
    removed = 0
    for collection_id in every:
        while dropped := _drop_slice(database, collection_id):
            removed += dropped
    return removed


def _drop_slice(database: Database, collection_id: int) -> int:
    """Removes some of a collection's tombstones. A run that was opened since the last slice holds back its own."""
    with database.write() as connection:
        oldest = _oldest_writer(connection, collection_id)
        keys = connection.execute(
            select(documents.c.repository, documents.c.path)
            .where(documents.c.collection_id == collection_id, _IS_ABSENT)
            .where(true() if oldest is None else documents.c.version_sequence < oldest)
            .order_by(documents.c.version_sequence)
            .limit(TOMBSTONE_SLICE)
        ).all()
        if keys:
            # one by one by the primary key: a server without statistics compares every key of an IN with every row
            connection.execute(_DROP, [{"c": collection_id, "r": repository, "p": path} for repository, path in keys])
    return len(keys)


_DROP = delete(documents).where(
    documents.c.collection_id == bindparam("c"),
    documents.c.repository == bindparam("r"),
    documents.c.path == bindparam("p"),
)

_IS_ABSENT = documents.c.state == literal_column(f"'{DocumentState.ABSENT.value}'")
"""With the value in the statement's text: SQLite uses a partial index for no parameter."""


def _oldest_writer(connection: Connection, collection_id: int) -> int | None:
    """The sequence of the oldest run of a collection that can still write a document: unfinished, or to be retried."""
    oldest: int | None = connection.execute(
        select(func.min(sync_runs.c.sequence))
        .join(
            collections,
            and_(collections.c.store == sync_runs.c.store, collections.c.name == sync_runs.c.collection_name),
        )
        .where(
            collections.c.collection_id == collection_id,
            # not those of a forgotten collection of the same name
            sync_runs.c.identity.is_not(None),
            or_(
                sync_runs.c.status == RunStatus.RUNNING.value,
                and_(sync_runs.c.status == RunStatus.FAILED.value, sync_runs.c.error_count > 0),
            ),
        )
    ).scalar_one()
    return oldest


def forget_collection(database: Database, store: str, name: str, host: Host) -> int:
    """Makes the ledger forget a collection that was dropped in the store; how many documents it had.

    Raises ``UsageError`` where it is not known, ``RepositoriesHeld`` while a run works on it. Its unfinished runs are
    given up, and of its finished ones no line can be tried again: resumed into a collection made anew they would fill
    it with a part of their changeset. Nor does one of them count as the same changeset's any more.
    """
    with database.write() as connection:
        found = connection.execute(
            select(collections.c.collection_id).where(collections.c.store == store, collections.c.name == name)
        ).scalar_one_or_none()
        if found is None:
            raise UsageError(
                f"The checkpoint knows no collection {name} in {store}.",
                next_step="See: elysiactl index status --summary",
            )
        rows = connection.execute(
            select(sync_runs).where(
                sync_runs.c.store == store,
                sync_runs.c.collection_name == name,
                sync_runs.c.status == RunStatus.RUNNING.value,
            )
        ).mappings()
        unfinished = list(map(RunRecord.from_row, rows))
        for run in unfinished:
            if holder := live_holder(run, host):
                raise RepositoriesHeld(
                    f"Run {run.run_id} works on {name} ({holder}).", next_step="Stop that process first."
                )
        for run in unfinished:
            cancel_run(connection, run)
        held = forget_contents(connection, found, store, name)
        for other in (collections.c.rebuilt_from, collections.c.replaced_by):  # its number may be given again
            connection.execute(update(collections).where(other == found).values({other.name: None}))
        connection.execute(delete(collections).where(collections.c.collection_id == found))
    return held


def forget_contents(connection: Connection, collection_id: int, store: str, name: str) -> int:
    """Removes all that the ledger knows is in a collection, in the caller's transaction; how many documents it had.

    None of its finished runs counts, or is tried again, from then on.
    """
    let_go_of_runs(connection, store, name)
    held = connection.execute(
        select(func.count()).where(
            documents.c.collection_id == collection_id, documents.c.state != DocumentState.ABSENT.value
        )
    ).scalar_one()
    for table in (documents, removed_folders, repository_changesets, repository_claims, run_repositories):
        connection.execute(delete(table).where(table.c.collection_id == collection_id))
    return int(held)


def let_go_of_runs(connection: Connection, store: str, name: str) -> None:
    """No run of a collection so far counts, or is tried again, from now on; in the caller's transaction."""
    its_runs = and_(sync_runs.c.store == store, sync_runs.c.collection_name == name)
    connection.execute(update(sync_runs).where(its_runs).values(identity=None))
    connection.execute(
        update(failed_lines)
        .where(failed_lines.c.run_id.in_(select(sync_runs.c.run_id).where(its_runs)))
        .values(next_retry_at=None)
    )


def forget_untrue_commits(connection: Connection, source: int, target: int) -> None:
    """A repository that stands at no true commit in collection ``source`` stands at none in ``target``, its rebuild.

    What ``target`` has of it, an earlier pass has carried over, or it was there before ``source`` took its place: since
    then documents have moved on. In the caller's transaction.
    """
    stands = repository_changesets.c
    true_ones = select(stands.repository).where(stands.collection_id == source, stands.incomplete.is_(False))
    connection.execute(
        delete(repository_changesets).where(stands.collection_id == target, stands.repository.not_in(true_ones))
    )


def give_back_space(database: Database) -> None:
    """Shrinks the file of a SQLite database; a server does so by itself."""
    if database.engine.dialect.name == "sqlite":
        with database.without_transaction() as connection:
            connection.exec_driver_sql("VACUUM")
            # the smaller database is in the write-ahead log until it is copied back
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
