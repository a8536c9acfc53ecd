"""A collection that is made anew from another, and takes its place: the transitions of that, and what it compares.

``begin_rebuild``    the new one names the old one in ``rebuilt_from``: nothing but the rebuild writes it from then on
``begin_switch``     the old one names the new one in ``replaced_by``: no changeset is applied to it any more
``take_back_switch`` it is as before, since the two do not agree
``finish_switch``    the new one takes changesets; the old one stays as it is, and takes none
``retire``           the old one was dropped: its row stays, so that nobody begins it anew by mistake
"""

import heapq
import json
import uuid
from collections.abc import Generator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, insert, select, update

from elysia_dagster.checkpoint import clock, reconciling
from elysia_dagster.checkpoint.collections import record_of
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.ledger import Key
from elysia_dagster.checkpoint.queries import REBUILD_IDENTITY
from elysia_dagster.checkpoint.records import CollectionRecord, DocumentRow, RunRecord
from elysia_dagster.checkpoint.retention import forget_contents, forget_untrue_commits, let_go_of_runs
from elysia_dagster.checkpoint.schema import (
    IS_UNSETTLED,
    collections,
    documents,
    failed_lines,
    repository_changesets,
    sync_runs,
)
from elysia_dagster.errors import RepositoriesHeld, UsageError
from elysia_dagster.models import DocumentState, RunStatus


def begin_rebuild(
    database: Database, source: CollectionRecord, *, store: str, name: str, model: str, dimensions: int, chunker: str
) -> CollectionRecord:
    """Makes the ledger know a new collection as one that is being made from ``source``; one that is so already stays.

    A collection that ``source`` has replaced may be made from it in turn: that is the way back. Raises ``UsageError``
    for one that is a collection of its own, and where ``source`` is itself being made, or was replaced.
    """
    with database.write(durable=True) as connection:
        source = _load(connection, source.collection_id)
        known = _find(connection, store, name)
        if source.rebuilt_from is not None:
            raise UsageError(
                f"Collection {source.name} is itself being rebuilt from another one.",
                next_step="Finish that first; see: elysiactl index status --summary",
            )
        if source.replaced_by is not None and (known is None or source.replaced_by != known.collection_id):
            other = _load(connection, source.replaced_by)
            raise UsageError(
                f"Collection {source.name} was rebuilt as {other.name}, which has taken its place.",
                next_step=f"Rebuild that one: --collection {other.name}",
            )
        if known is None:
            connection.execute(
                insert(collections).values(
                    store=store,
                    name=name,
                    incarnation=str(uuid.uuid4()),
                    model=model,
                    dimensions=dimensions,
                    chunker=chunker,
                    rebuilt_from=source.collection_id,
                    created_at=clock.stamp(),
                )
            )
        elif known.replaced_by == source.collection_id and source.replaced_by is None:
            _check_finished(connection, known)
            let_go_of_runs(connection, known.store, known.name)  # its ledger knows nothing of what went meanwhile
            _set(connection, known.collection_id, rebuilt_from=source.collection_id, replaced_by=None)
        elif known.rebuilt_from != source.collection_id:
            raise UsageError(
                f"Collection {name} in {store} is no rebuild of {source.name}.",
                next_step="Choose another name with --into.",
            )
        found = _find(connection, store, name)
        assert found is not None
        return found


def begin_switch(database: Database, source: CollectionRecord, target: CollectionRecord) -> CollectionRecord:
    """Closes the old collection for changesets, so that the two can be compared for good; the old one as it is then.

    Raises ``RepositoriesHeld`` while a run of it is unfinished: what that has still to say would reach no collection.
    One that came when it was closed already was refused, and keeps nobody from going on with the switch.
    """
    with database.write(durable=True) as connection:
        _check_pair(connection, source, target)
        if _load(connection, source.collection_id).replaced_by is None:
            _check_finished(connection, source)
        _set(connection, source.collection_id, replaced_by=target.collection_id)
        return _load(connection, source.collection_id)


def take_back_switch(database: Database, source: CollectionRecord, target: CollectionRecord) -> CollectionRecord:
    """Opens the old collection for changesets again, unless the switch is made; the old one as it is then."""
    with database.write() as connection:
        if _load(connection, target.collection_id).rebuilt_from == source.collection_id:
            _set(connection, source.collection_id, replaced_by=None)
        return _load(connection, source.collection_id)


def finish_switch(
    database: Database, source: CollectionRecord, target: CollectionRecord, *, compared: tuple[int, int]
) -> tuple[CollectionRecord, CollectionRecord]:
    """Opens the new collection for changesets; both as they are then. It shows no commit that the old one does not.

    ``compared`` are the ``leases_taken`` before they were found to agree: a run that another process has taken since
    then may have written either. Raises ``RepositoriesHeld`` then.
    """
    with database.write(durable=True) as connection:
        _check_pair(connection, source, target)
        if _load(connection, source.collection_id).replaced_by != target.collection_id:
            raise _meanwhile(target)
        _check_finished(connection, target)
        for known, before in zip((source, target), compared, strict=True):
            if _leases_taken(connection, known) != before:
                raise _meanwhile(known)
        forget_untrue_commits(connection, source.collection_id, target.collection_id)
        _set(connection, target.collection_id, rebuilt_from=None)
        return _load(connection, source.collection_id), _load(connection, target.collection_id)


def retire(database: Database, source: CollectionRecord) -> int:
    """Forgets what a replaced collection held, which was dropped in the store; how many documents that were."""
    with database.write(durable=True) as connection:
        if _load(connection, source.collection_id).replaced_by is None:
            raise _meanwhile(source)
        return forget_contents(connection, source.collection_id, source.store, source.name)


def leases_taken(database: Database, source: CollectionRecord, target: CollectionRecord) -> tuple[int, int]:
    """How often a run into each of the two was taken by a process: nobody writes, or has written, without that.

    So runs that are refused, and dry ones, do not count; repairs, and older runs that are retried, do.
    """
    with database.read() as connection:
        return _leases_taken(connection, source), _leases_taken(connection, target)


def unfinished_rebuilds(database: Database, target: CollectionRecord) -> list[RunRecord]:
    """Runs that carry documents over into a collection and were not brought to their end, oldest first."""
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs)
            .where(*_unfinished(target), sync_runs.c.identity.like(f"{REBUILD_IDENTITY}%"))
            .order_by(sync_runs.c.sequence)
        ).mappings()
        return [RunRecord.from_row(row) for row in rows]


def count_contents(database: Database, collection_id: int) -> tuple[int, int]:
    """Objects that the store should hold of a collection, and documents of which the ledger is not sure."""
    with database.read() as connection:
        chunks, unsure = connection.execute(
            select(
                func.coalesce(func.sum(documents.c.chunks).filter(documents.c.state == DocumentState.PRESENT.value), 0),
                func.count().filter(IS_UNSETTLED),
            ).where(documents.c.collection_id == collection_id)
        ).one()
    return int(chunks), int(unsure)


class Pair(NamedTuple):
    """What the two ledgers say of one document."""

    key: Key
    old: DocumentRow | None
    new: DocumentRow | None


def pairs(database: Database, source: int, target: int, repository: str) -> Generator[Pair, None, None]:
    """Every document of a repository that either collection has a row of, by path."""
    merged = heapq.merge(
        ((row.path, False, row) for row in reconciling.all_documents(database, source, repository)),
        ((row.path, True, row) for row in reconciling.all_documents(database, target, repository)),
    )
    for path, rows in groupby(merged, key=lambda each: each[0]):
        found = {is_new: row for _, is_new, row in rows}
        yield Pair(key=(repository, path), old=found.get(False), new=found.get(True))


def repositories_of_both(database: Database, source: int, target: int) -> list[str]:
    """Every repository that either collection knows a document of, or where it stands, sorted."""
    found = {name for each in (source, target) for name in reconciling.repositories_in_ledger(database, each)}
    return sorted(found | set(commit_records(database, source)))


def failed_paths(database: Database, known: CollectionRecord, repository: str) -> list[str]:
    """Documents of a repository that a failed line of a run into the collection asks one thing of, sorted."""
    with database.read() as connection:
        found = connection.execute(
            select(failed_lines.c.file_path)
            .join(sync_runs, sync_runs.c.run_id == failed_lines.c.run_id)
            .where(
                sync_runs.c.store == known.store,
                sync_runs.c.collection_name == known.name,
                sync_runs.c.identity.is_not(None),  # not those of a forgotten collection of the same name
                failed_lines.c.repository == repository,
                failed_lines.c.single_document.is_(True),
            )
            .distinct()
        )
        return sorted(found.scalars())


def commit_records(database: Database, collection_id: int, *, incomplete: bool = False) -> dict[str, Mapping[str, Any]]:
    """By repository the changeset record where it stands, without ``parent``, where no failed line makes it untrue.

    What came before it is another collection's history. ``incomplete``: those that a failed line makes untrue, too.
    """
    where = [repository_changesets.c.collection_id == collection_id]
    if not incomplete:
        where.append(repository_changesets.c.incomplete.is_(False))
    with database.read() as connection:
        rows = connection.execute(
            select(repository_changesets.c.repository, repository_changesets.c.record).where(*where)
        )
        return {
            row.repository: {name: value for name, value in json.loads(row.record).items() if name != "parent"}
            for row in rows
        }


def _find(connection: Connection, store: str, name: str) -> CollectionRecord | None:
    where = (collections.c.store == store, collections.c.name == name)
    row = connection.execute(select(collections).where(*where)).mappings().one_or_none()
    return None if row is None else record_of(row)


def _load(connection: Connection, collection_id: int) -> CollectionRecord:
    rows = connection.execute(select(collections).where(collections.c.collection_id == collection_id)).mappings()
    return record_of(rows.one())


def _set(connection: Connection, collection_id: int, **values: int | None) -> None:
    connection.execute(update(collections).where(collections.c.collection_id == collection_id).values(**values))


def _check_pair(connection: Connection, source: CollectionRecord, target: CollectionRecord) -> None:
    old, new = _load(connection, source.collection_id), _load(connection, target.collection_id)
    if new.rebuilt_from != old.collection_id or old.replaced_by not in (None, new.collection_id):
        raise _meanwhile(target)


def _unfinished(known: CollectionRecord) -> tuple[ColumnElement[bool], ...]:
    return (
        sync_runs.c.store == known.store,
        sync_runs.c.collection_name == known.name,
        sync_runs.c.status == RunStatus.RUNNING.value,
        sync_runs.c.dry_run.is_(False),
        sync_runs.c.identity.is_not(None),
    )


def _check_finished(connection: Connection, known: CollectionRecord) -> None:
    rows = connection.execute(select(sync_runs.c.run_id).where(*_unfinished(known)).order_by(sync_runs.c.sequence))
    if run_id := next(iter(rows.scalars()), None):
        raise RepositoriesHeld(
            f"Run {run_id} of collection {known.name} is not finished: no other takes its place before that.",
            next_step=f"See: elysiactl index status --run-id {run_id} ; then give the same command again.",
            run_id=run_id,
        )


def _leases_taken(connection: Connection, known: CollectionRecord) -> int:
    is_of_it = (sync_runs.c.store == known.store, sync_runs.c.collection_name == known.name)
    # giving a run up moves its token, too
    leases = sync_runs.c.lease_token - case((sync_runs.c.status == RunStatus.CANCELED.value, 1), else_=0)
    return int(
        connection.execute(
            select(func.coalesce(func.sum(leases), 0)).where(*is_of_it, sync_runs.c.dry_run.is_(False))
        ).scalar_one()
    )


def _meanwhile(known: CollectionRecord) -> RepositoriesHeld:
    return RepositoriesHeld(
        f"Another process has worked on collection {known.name} meanwhile.",
        next_step="Give the same command again.",
    )
