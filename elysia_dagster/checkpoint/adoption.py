"""A collection that is taken over: the transitions that make the ledger know what somebody else has written."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, case, delete, func, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.bulk import BulkStatement, Of
from elysia_dagster.checkpoint.claims import Lease, check_token, live_holder
from elysia_dagster.checkpoint.collections import find_collection
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.ledger import Key
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.checkpoint.schema import IS_UNSETTLED, collections, documents, repository_changesets, sync_runs
from elysia_dagster.errors import RepositoriesHeld
from elysia_dagster.models import DocumentState, RunStatus


def check_alone(database: Database, lease: Lease, run: RunRecord) -> None:
    """Raises ``RepositoriesHeld`` while another run than ``run`` is worked on in its collection, and ``LeaseLost``."""
    with database.read() as connection:
        _check_alone(connection, lease, run)


def _check_alone(connection: Connection, lease: Lease, run: RunRecord) -> None:
    check_token(connection, lease)
    others = connection.execute(
        select(sync_runs).where(
            sync_runs.c.store == run.store,
            sync_runs.c.collection_name == run.collection_name,
            sync_runs.c.status == RunStatus.RUNNING.value,
            sync_runs.c.dry_run.is_(False),
            sync_runs.c.run_id != run.run_id,
        )
    ).mappings()
    for other in map(RunRecord.from_row, others):
        if holder := live_holder(other, lease.owner.host):
            raise RepositoriesHeld(
                f"Run {other.run_id} works on {run.collection_name} ({holder}) since {other.lease_since}: it cannot be "
                "taken over meanwhile.",
                next_step="Wait for it, or stop that process; then run this with --adopt again.",
                run_id=run.run_id,
                holder=other.run_id,
            )


def register_adopted(
    database: Database, lease: Lease, run: RunRecord, *, incarnation: str, model: str, dimensions: int, chunker: str
) -> CollectionRecord:
    """Makes the ledger know the run's collection under another incarnation, and believe nothing of what it knew of it.

    Documents become suspect without chunks or hashes, until the store is found to hold some; where its repositories
    stood is forgotten, and no earlier run counts as applied. Raises ``RepositoriesHeld`` while another run works on
    the collection, and ``LeaseLost``.
    """
    assert run.store is not None
    values = {
        "incarnation": incarnation,
        "model": model,
        "dimensions": dimensions,
        "chunker": chunker,
        "adopted_sequence": lease.sequence,
    }
    with database.write(durable=True) as connection:
        _check_alone(connection, lease, run)
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(
            insert(collections)
            .values(store=run.store, name=run.collection_name, created_at=clock.stamp(), **values)
            .on_conflict_do_update(index_elements=["store", "name"], set_=values)
        )
        its_id = (
            select(collections.c.collection_id)
            .where(collections.c.store == run.store, collections.c.name == run.collection_name)
            .scalar_subquery()
        )
        connection.execute(
            update(documents)
            .where(documents.c.collection_id == its_id, documents.c.state != DocumentState.ABSENT.value)
            .values(state=DocumentState.SUSPECT.value, chunks=0, content_hash=None, write_hash=None)
        )
        connection.execute(delete(repository_changesets).where(repository_changesets.c.collection_id == its_id))
    found = find_collection(database, run.store, run.collection_name)
    assert found is not None
    return found


def note_documents(database: Database, lease: Lease, collection_id: int, found: Mapping[Key, int]) -> None:
    """The store holds objects of these documents, numbered below the given number: each is suspect.

    A document may be noted again, in any order of its objects. Raises ``LeaseLost``.
    """
    with database.write(durable=True) as connection:
        check_token(connection, lease)
        _NOTE.execute(
            connection,
            [
                (collection_id, repository, path, DocumentState.SUSPECT.value, 0, 0, chunks, chunks)
                for (repository, path), chunks in found.items()
            ],
        )


_NOTE_NAMES = (
    "collection_id",
    "repository",
    "path",
    "state",
    # older than any run
    "version_sequence",
    "version_line",
    "chunks",
    "max_chunks",
)


def _note_statement(dialect: str, _of: Of) -> Executable:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement: Any = insert(documents).values({name: bindparam(name) for name in _NOTE_NAMES})
    new = statement.excluded
    noted: Executable = statement.on_conflict_do_update(
        index_elements=_NOTE_NAMES[:3],
        set_={
            "state": new.state,  # the version stays: what is older than it may not come back
            "content_hash": null(),
            "write_hash": null(),
            "chunks": case((documents.c.chunks < new.chunks, new.chunks), else_=documents.c.chunks),
            "max_chunks": case((documents.c.max_chunks < new.max_chunks, new.max_chunks), else_=documents.c.max_chunks),
        },
    )
    return noted


_NOTE = BulkStatement(_NOTE_NAMES, _note_statement)


def close_adoption(database: Database, lease: Lease, collection_id: int) -> int:
    """The store was looked at whole: what it holds nothing of is absent. How many documents it holds, all suspect.

    An absent one keeps its ``max_chunks``, in case a write was under way that the look at the store did not see.
    """
    is_suspect = (
        documents.c.collection_id == collection_id,
        IS_UNSETTLED,
        documents.c.state == DocumentState.SUSPECT.value,
    )
    with database.write(durable=True) as connection:
        check_token(connection, lease)
        connection.execute(
            update(documents).where(*is_suspect, documents.c.chunks == 0).values(state=DocumentState.ABSENT.value)
        )
        return int(connection.execute(select(func.count()).select_from(documents).where(*is_suspect)).scalar_one())
