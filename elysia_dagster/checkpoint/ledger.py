"""The ledger: what the collection holds, by document, and the two transitions of a batch, intend and settle."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Row,
    Text,
    bindparam,
    case,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from elysia_dagster.checkpoint.bulk import BulkStatement, Of
from elysia_dagster.checkpoint.claims import Lease, check_token, lease_lost
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.lines import answer_older_failures, settle_lines
from elysia_dagster.checkpoint.records import CompletedLine, DocumentRow, FailedLine, Intent, Settlement, Verdict
from elysia_dagster.checkpoint.schema import documents
from elysia_dagster.models import DocumentState

Key = tuple[str, str]
"""(repository, path): a document within its collection."""


class StaleBatch(Exception):
    """A document of the batch has changed since it was prepared: prepare the batch again."""


def fetch_documents(database: Database, collection_id: int, keys: Iterable[Key]) -> dict[Key, DocumentRow]:
    """The ledger's rows of some documents; those it has never seen are not in the answer."""
    with database.read() as connection:
        return _fetch(connection, collection_id, keys)


def _fetch(connection: Connection, collection_id: int, keys: Iterable[Key]) -> dict[Key, DocumentRow]:
    paths: dict[str, list[str]] = {}
    for repository, path in keys:
        paths.setdefault(repository, []).append(path)
    found: dict[Key, DocumentRow] = {}
    for repository, some in paths.items():
        is_sqlite = connection.dialect.name == "sqlite"
        rows = connection.execute(
            _FETCH_SQLITE if is_sqlite else _FETCH,
            {
                "collection": collection_id,
                "in_repository": repository,
                "paths": json.dumps(some, ensure_ascii=False) if is_sqlite else some,
            },
        )
        for row in rows.all():
            document = document_of(row)
            found[repository, document.path] = document
    return found


_FETCH = select(documents).where(
    documents.c.collection_id == bindparam("collection"),
    documents.c.repository == bindparam("in_repository"),
    documents.c.path.in_(bindparam("paths", expanding=True)),
)

# one parameter instead of hundreds, which SQLAlchemy would handle one by one
_FETCH_SQLITE = select(documents).where(
    documents.c.collection_id == bindparam("collection"),
    documents.c.repository == bindparam("in_repository"),
    documents.c.path.in_(select(column("value")).select_from(func.json_each(bindparam("paths", type_=Text)))),
)


_STATES = {state.value: state for state in DocumentState}


def document_of(row: Row[Any]) -> DocumentRow:
    """A whole row of ``documents``."""
    values: Sequence[Any] = row
    _, repository, path, state, sequence, line, content_hash, write_hash, chunker, chunks, max_chunks, outcome = values
    return DocumentRow(
        repository,
        path,
        _STATES[state],
        (sequence, line),
        content_hash,
        write_hash,
        chunker,
        chunks,
        max_chunks,
        outcome,
    )


def documents_below(database: Database, collection_id: int, repository: str, folder: str) -> list[str]:
    """Paths of the documents that the ledger holds, or may hold, below ``folder/`` ('' for the whole repository)."""
    where = [
        documents.c.collection_id == collection_id,
        documents.c.repository == repository,
        documents.c.state != DocumentState.ABSENT.value,
    ]
    if folder:
        # a range instead of LIKE: the primary key serves it, and no character of a path needs escaping
        where += [documents.c.path >= folder + "/", documents.c.path < folder + "0"]
    with database.read() as connection:
        return list(connection.execute(select(documents.c.path).where(*where).order_by(documents.c.path)).scalars())


def intend_batch(database: Database, lease: Lease, intents: Sequence[Intent]) -> dict[Key, Verdict | None]:
    """Says, before anything is sent, what the store may hold from now on.

    Returns None for a document of which a newer version stands: that change is superseded and sends nothing. Raises
    ``LeaseLost``.
    """
    assert lease.collection_id is not None
    verdicts: dict[Key, Verdict | None] = {}
    rows: list[tuple[Any, ...]] = []
    with database.write() as connection:
        check_token(connection, lease)
        known = _fetch(connection, lease.collection_id, [(each.repository, each.path) for each in intents])
        for each in intents:
            key = (each.repository, each.path)
            before = known.get(key)
            if before is not None and before.version > (lease.sequence, each.line):
                verdicts[key] = None
                continue
            most = max(each.chunks, before.max_chunks if before else 0)
            verdicts[key] = Verdict(most=most, before=before.state if before else None)
            rows.append(
                (
                    lease.collection_id,
                    each.repository,
                    each.path,
                    DocumentState.WRITING.value,
                    lease.sequence,
                    each.line,
                    each.content_hash,
                    each.chunks,
                    most,
                )
            )
        if rows:
            _INTEND.execute(connection, rows)
    return verdicts


_INTEND_NAMES = (
    "collection_id",
    "repository",
    "path",
    "state",
    "version_sequence",
    "version_line",
    "content_hash",
    "chunks",
    "max_chunks",
)


def _intend_statement(dialect: str, _of: Of) -> Executable:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement: Any = insert(documents).values({name: bindparam(name) for name in _INTEND_NAMES})
    new: Executable = statement.on_conflict_do_update(
        index_elements=_INTEND_NAMES[:3],
        set_={name: statement.excluded[name] for name in _INTEND_NAMES[3:]} | {"write_hash": null()},
    )
    return new


_INTEND = BulkStatement(_INTEND_NAMES, _intend_statement)


def settle_batch(
    database: Database,
    lease: Lease,
    *,
    settlements: Sequence[Settlement] = (),
    suspects: Sequence[Key] = (),
    completed: Sequence[CompletedLine] = (),
    failed: Sequence[FailedLine] = (),
    answers_older_failures: bool = False,
) -> None:
    """The outcome of a batch, in one transaction: documents, lines, counters.

    ``suspects`` are documents of which the store holds an unknown mixture (an object was rejected). With
    ``answers_older_failures`` failed lines of older runs that ask one thing of these documents become completed as
    superseded. Raises ``LeaseLost``, and ``StaleBatch`` where an unchanged document is no longer what it was.
    """
    with database.write() as connection:
        written = [each for each in settlements if each.is_written]
        unsent = [each for each in settlements if not each.is_written]
        settle_lines(connection, lease, completed=completed, failed=failed)
        if written:
            moved = _SETTLE_WRITTEN.execute(connection, [_values(lease, each) for each in written])
            if moved != len(written):
                raise lease_lost(lease)
        if unsent:
            moved = _SETTLE_UNCHANGED.execute(connection, [_values(lease, each) for each in unsent])
            if moved != len(unsent):
                raise StaleBatch
        if suspects:
            _suspect(connection, lease, suspects)
        if answers_older_failures and settlements:
            answer_older_failures(connection, lease, [(each.repository, each.path) for each in settlements])


_SETTLE_NAMES = (
    "b_collection",
    "b_repository",
    "b_path",
    "b_sequence",
    "b_line",
    "b_state",
    "b_content_hash",
    "b_outcome",
    # what an unchanged document keeps
    "b_write_hash",
    "b_chunker",
    "b_chunks",
    "b_max_chunks",
)


def _of_document(of: Of) -> tuple[ColumnElement[bool], ...]:
    return (
        documents.c.collection_id == of("b_collection"),
        documents.c.repository == of("b_repository"),
        documents.c.path == of("b_path"),
    )


def _settle_written(_dialect: str, of: Of) -> Executable:
    return (
        update(documents)
        .where(
            *_of_document(of),
            documents.c.state == literal_column(f"'{DocumentState.WRITING.value}'"),
            documents.c.version_sequence == of("b_sequence"),
            documents.c.version_line == of("b_line"),
        )
        .values(
            state=of("b_state"),
            content_hash=of("b_content_hash"),
            write_hash=of("b_write_hash"),
            chunker=of("b_chunker"),
            chunks=of("b_chunks"),
            max_chunks=of("b_max_chunks"),
            outcome=of("b_outcome"),
        )
    )


def _settle_unchanged(_dialect: str, of: Of) -> Executable:
    return (
        update(documents)
        .where(
            *_of_document(of),
            documents.c.state == of("b_state"),
            documents.c.content_hash.is_not_distinct_from(of("b_content_hash")),
            or_(
                documents.c.version_sequence < of("b_sequence"),
                (documents.c.version_sequence == of("b_sequence")) & (documents.c.version_line <= of("b_line")),
            ),
        )
        .values(
            version_sequence=of("b_sequence"),
            version_line=of("b_line"),
            # replayed within its own run, a document keeps saying that it was indexed
            outcome=case(
                (documents.c.version_sequence == of("b_sequence"), documents.c.outcome),
                else_=of("b_outcome"),
            ),
        )
    )


_SETTLE_WRITTEN = BulkStatement(_SETTLE_NAMES, _settle_written)
_SETTLE_UNCHANGED = BulkStatement(_SETTLE_NAMES[:8], _settle_unchanged)


def _values(lease: Lease, each: Settlement) -> tuple[Any, ...]:
    return (
        lease.collection_id,
        each.repository,
        each.path,
        lease.sequence,
        each.line,
        each.state.value,
        each.content_hash,
        each.outcome.value,
        *((each.write_hash, each.chunker, each.chunks, each.max_chunks) if each.is_written else ()),
    )


def _suspect(connection: Connection, lease: Lease, keys: Sequence[Key]) -> None:
    connection.execute(
        update(documents).where(*_of_document(bindparam)).values(state=DocumentState.SUSPECT.value),
        [
            {"b_collection": lease.collection_id, "b_repository": repository, "b_path": path}
            for repository, path in keys
        ],
    )


def count_chunks(database: Database, collection_id: int, repository: str) -> int:
    """Objects that the store should hold of a repository, by the ledger."""
    with database.read() as connection:
        chunks: int = connection.execute(
            select(func.coalesce(func.sum(documents.c.chunks), 0)).where(
                documents.c.collection_id == collection_id,
                documents.c.repository == repository,
                documents.c.state == DocumentState.PRESENT.value,
            )
        ).scalar_one()
    return chunks
