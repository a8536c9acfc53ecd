"""What the ledger knows of collections, and where each repository stands in them."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.claims import Lease, check_token
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import CollectionRecord
from elysia_dagster.checkpoint.schema import (
    collections,
    documents,
    failed_lines,
    repository_changesets,
    run_repositories,
    sync_runs,
)
from elysia_dagster.models import DocumentState


def find_collection(database: Database, store: str, name: str) -> CollectionRecord | None:
    """The collection that the ledger knows under a store's URL and a name."""
    with database.read() as connection:
        row = (
            connection.execute(select(collections).where(collections.c.store == store, collections.c.name == name))
            .mappings()
            .one_or_none()
        )
    return None if row is None else record_of(row)


def load_collection(database: Database, collection_id: int) -> CollectionRecord:
    """The collection of that number, which is one that the ledger knows."""
    with database.read() as connection:
        row = connection.execute(select(collections).where(collections.c.collection_id == collection_id)).mappings()
        return record_of(row.one())


def record_of(row: RowMapping) -> CollectionRecord:
    """A whole row of the table."""
    return CollectionRecord(**{key: value for key, value in row.items() if key != "created_at"})


def stores_of(database: Database, name: str) -> list[str]:
    """The URLs of the stores that have, as far as the ledger knows, a collection of this name."""
    with database.read() as connection:
        return list(
            connection.execute(
                select(collections.c.store).where(collections.c.name == name).order_by(collections.c.store)
            ).scalars()
        )


def register_collection(
    database: Database, *, store: str, name: str, incarnation: str, model: str, dimensions: int, chunker: str
) -> CollectionRecord:
    """Makes the ledger know a collection before it is created in the store; one known already is returned as it is."""
    with database.write(durable=True) as connection:
        known = connection.execute(
            select(collections.c.collection_id).where(collections.c.store == store, collections.c.name == name)
        ).first()
        if known is None:
            connection.execute(
                insert(collections).values(
                    store=store,
                    name=name,
                    incarnation=incarnation,
                    model=model,
                    dimensions=dimensions,
                    chunker=chunker,
                    created_at=clock.stamp(),
                )
            )
    found = find_collection(database, store, name)
    assert found is not None
    return found


def register_anew(
    database: Database, known: CollectionRecord, *, incarnation: str, model: str, dimensions: int
) -> CollectionRecord:
    """Gives a collection that was registered and never created another model, under another incarnation.

    Where another process has done so meanwhile, what that one has written stays.
    """
    with database.write(durable=True) as connection:
        connection.execute(
            update(collections)
            .where(
                collections.c.collection_id == known.collection_id,
                collections.c.incarnation == known.incarnation,
            )
            .values(incarnation=incarnation, model=model, dimensions=dimensions)
        )
    found = find_collection(database, known.store, known.name)
    assert found is not None
    return found


def move_commit(database: Database, lease: Lease, repository: str, record: Mapping[str, Any]) -> str | None:
    """Records that a repository's lines up to ``record`` (a ``new_changeset``) are all in the collection.

    Only forward in sequence. Returns the gap, where ``parent`` is given and is not the commit stored before.
    """
    assert lease.collection_id is not None
    with database.write() as connection:
        check_token(connection, lease)
        return move_commit_of(connection, lease.collection_id, lease.run_id, lease.sequence, repository, record)


def move_commit_of(
    connection: Connection,
    collection_id: int,
    run_id: str,
    sequence: int,
    repository: str,
    record: Mapping[str, Any],
) -> str | None:
    """``move_commit`` for any run, in the caller's transaction."""
    before = connection.execute(
        select(repository_changesets).where(
            repository_changesets.c.collection_id == collection_id,
            repository_changesets.c.repository == repository,
        )
    ).one_or_none()
    if before is not None and before.sequence > sequence:
        return None
    if before is not None and before.run_id == run_id and before.commit_id == record.get("commit"):
        # moved already, by a process that was killed before the run's end
        known: str | None = before.gap
        return known
    gap = None
    parent = record.get("parent")
    if parent and before is not None and before.commit_id not in (parent, record.get("commit")):
        gap = f"{repository}: the changeset follows {parent}, the collection stands at {before.commit_id}"
    values = {
        "collection_id": collection_id,
        "repository": repository,
        "commit_id": record.get("commit"),
        "parent": parent,
        "branch": record.get("branch"),
        "record": json.dumps(record, sort_keys=True),
        "run_id": run_id,
        "sequence": sequence,
        "incomplete": False,
        "gap": gap,
        "moved_at": clock.stamp(),
    }
    insert_ = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(
        insert_(repository_changesets)
        .values(**values)
        .on_conflict_do_update(index_elements=["collection_id", "repository"], set_=values)
    )
    return gap


def mark_incomplete(database: Database, collection_id: int) -> None:
    """Sets ``incomplete`` of every repository's commit to whether a run up to it has a failed line there.

    An unreadable line may be of any repository of its run, so it counts for each of them.
    """
    with database.write() as connection:
        oldest = _oldest_failures(connection, collection_id)
        stands = connection.execute(
            select(
                repository_changesets.c.repository,
                repository_changesets.c.sequence,
                repository_changesets.c.incomplete,
            ).where(repository_changesets.c.collection_id == collection_id)
        ).all()
        changed = [
            {"b_collection": collection_id, "b_repository": repository, "b_incomplete": not incomplete}
            for repository, sequence, incomplete in stands
            if (oldest.get(repository, sequence + 1) <= sequence) != bool(incomplete)
        ]
        if changed:
            connection.execute(_SET_INCOMPLETE, changed)


_SET_INCOMPLETE = (
    update(repository_changesets)
    .where(
        repository_changesets.c.collection_id == bindparam("b_collection"),
        repository_changesets.c.repository == bindparam("b_repository"),
    )
    .values(incomplete=bindparam("b_incomplete"))
)


def _oldest_failures(connection: Connection, collection_id: int) -> dict[str, int]:
    """By repository the sequence of the oldest run that has a failed line there, or one that may be of it.

    Read once for all repositories: each failed line compared with each of them would hold other writers up.
    """
    is_of_collection = (
        collections.c.collection_id == collection_id,
        collections.c.store == sync_runs.c.store,
        collections.c.name == sync_runs.c.collection_name,
        sync_runs.c.identity.is_not(None),  # not those of a forgotten collection of the same name
    )
    named = (
        select(failed_lines.c.repository, func.min(sync_runs.c.sequence))
        .join(sync_runs, sync_runs.c.run_id == failed_lines.c.run_id)
        .join(collections, and_(*is_of_collection))
        .where(failed_lines.c.repository != "")
        .group_by(failed_lines.c.repository)
    )
    with_unreadable = select(failed_lines.c.run_id).where(failed_lines.c.repository == "").distinct()
    unreadable = (
        select(run_repositories.c.repository, func.min(sync_runs.c.sequence))
        .join(sync_runs, sync_runs.c.run_id == run_repositories.c.run_id)
        .join(collections, and_(*is_of_collection))
        .where(run_repositories.c.run_id.in_(with_unreadable))
        .group_by(run_repositories.c.repository)
    )
    oldest: dict[str, int] = {}
    for statement in (named, unreadable):
        for repository, sequence in connection.execute(statement):
            oldest[repository] = min(sequence, oldest.get(repository, sequence))
    return oldest


def repositories_with_failures(database: Database, run_id: str) -> frozenset[str]:
    """Repositories of a run that have a failed line in it."""
    with database.read() as connection:
        return frozenset(
            connection.execute(
                select(failed_lines.c.repository).where(failed_lines.c.run_id == run_id).distinct()
            ).scalars()
        )


def holds_chunks(database: Database, collection_id: int) -> bool:
    """Whether the ledger says that the collection holds an object, for certain."""
    with database.read() as connection:
        found = connection.execute(
            select(documents.c.path)
            .where(
                documents.c.collection_id == collection_id,
                documents.c.state == DocumentState.PRESENT.value,
                documents.c.chunks > 0,
            )
            .limit(1)
        ).first()
    return found is not None


def holds_documents(database: Database, collection_id: int) -> bool:
    """Whether the ledger says that the collection holds, or may hold, anything."""
    with database.read() as connection:
        found = connection.execute(
            select(documents.c.path)
            .where(documents.c.collection_id == collection_id, documents.c.state != DocumentState.ABSENT.value)
            .limit(1)
        ).first()
    return found is not None
