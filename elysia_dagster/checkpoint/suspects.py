"""Documents of which nobody can say what the store holds: in ``writing``, or ``suspect`` until they are compared."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, TextClause, case, func, or_, select, tuple_, update

from elysia_dagster.checkpoint.claims import Lease, check_token
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.ledger import Key, document_of
from elysia_dagster.checkpoint.records import DocumentRow
from elysia_dagster.checkpoint.schema import IS_UNSETTLED, documents, repository_claims
from elysia_dagster.models import DocumentState

_PLACE = (documents.c.version_sequence, documents.c.repository, documents.c.path)
"""Tells a document, in order of its version."""


def mark_documents_suspect(database: Database, lease: Lease, most_chunks: dict[Key, int]) -> None:
    """After a refused settle: what was sent may stand over what the run's new owner wrote. Needs no token.

    ``most_chunks`` gives by document the number of chunks that may now exist.
    """
    with database.write(durable=True) as connection:
        for (repository, path), most in most_chunks.items():
            connection.execute(
                update(documents)
                .where(
                    documents.c.collection_id == lease.collection_id,
                    documents.c.repository == repository,
                    documents.c.path == path,
                )
                .values(
                    state=DocumentState.SUSPECT.value,
                    max_chunks=case((documents.c.max_chunks < most, most), else_=documents.c.max_chunks),
                )
            )


def unsettled_documents(database: Database, collection_id: int, *, limit: int = 1000) -> list[DocumentRow]:
    """Documents in ``writing`` or ``suspect``, the oldest version first."""
    return _oldest(database, [documents.c.collection_id == collection_id, IS_UNSETTLED], limit)


def comparable_suspects(
    database: Database, collection_id: int, run_id: str, *, after: DocumentRow | None = None, limit: int = 1000
) -> list[DocumentRow]:
    """Suspects in the repositories that the run has claimed of which the ledger knows what the store should hold.

    The oldest version first, those behind ``after``. Those of a collection that was taken over are none, and there may
    be very many.
    """
    claimed = select(repository_claims.c.repository).where(repository_claims.c.run_id == run_id)
    where: list[ColumnElement[bool] | TextClause] = [
        documents.c.collection_id == collection_id,
        IS_UNSETTLED,
        documents.c.state == DocumentState.SUSPECT.value,
        documents.c.repository.concat("").in_(claimed),  # no bare column, as in ``count_unsettled``
        or_(documents.c.chunks == 0, documents.c.write_hash.is_not(None)),
    ]
    if after is not None:
        where.append(tuple_(*_PLACE) > tuple_(after.version[0], after.repository, after.path))
    return _oldest(database, where, limit)


def _oldest(database: Database, where: Sequence[ColumnElement[bool] | TextClause], limit: int) -> list[DocumentRow]:
    with database.read() as connection:
        rows = connection.execute(select(documents).where(*where).order_by(*_PLACE).limit(limit))
        return [document_of(row) for row in rows]


def count_unsettled(database: Database, collection_id: int, repository: str) -> int:
    """Documents of a repository in ``writing`` or ``suspect``."""
    with database.read() as connection:
        found: int = connection.execute(
            select(func.count()).where(
                documents.c.collection_id == collection_id,
                # a range over the index, and no bare column: else the primary key would seem better than its few rows
                documents.c.version_sequence >= 0,
                documents.c.repository.concat("") == repository,
                IS_UNSETTLED,
            )
        ).scalar_one()
    return found


def clear_suspicion(database: Database, lease: Lease, rows: Sequence[DocumentRow]) -> None:
    """Suspects that were compared with the store and found to be what the ledger says are present, or absent, again."""
    with database.write() as connection:
        check_token(connection, lease)
        for row in rows:
            connection.execute(
                update(documents)
                .where(
                    documents.c.collection_id == lease.collection_id,
                    documents.c.repository == row.repository,
                    documents.c.path == row.path,
                    documents.c.state == DocumentState.SUSPECT.value,
                    documents.c.version_sequence == row.version[0],
                    documents.c.version_line == row.version[1],
                )
                .values(
                    state=(DocumentState.PRESENT if row.chunks else DocumentState.ABSENT).value, max_chunks=row.chunks
                )
            )
