"""The ledger as a comparison with the store reads it, and the transitions of a repair.

A repair is a run without lines: its claims keep others from the repositories that it mends, its lease is taken over
when it is killed. It moves no version, since it changes nothing that a changeset has asked for: what an older run still
has to say of a document counts as before. What it is about to write is ``suspect`` until it is read back.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, literal_column, null, select, update

from elysia_dagster.checkpoint import clock, lookup, runs
from elysia_dagster.checkpoint.claims import Lease, check_token, lease_lost, live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.ledger import Key, document_of
from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.checkpoint.queries import REPAIR_IDENTITY, is_repair
from elysia_dagster.checkpoint.records import CollectionRecord, DocumentRow, RunOptions, RunRecord, Settlement
from elysia_dagster.checkpoint.schema import documents, repository_changesets, repository_claims, sync_runs
from elysia_dagster.models import DocumentState, RunStatus

ROWS_AT_ONCE = 2_000
"""Rows of the ledger in one transaction: a long one would keep SQLite's write-ahead log from being copied back."""


def all_documents(database: Database, collection_id: int, repository: str | None = None) -> Iterator[DocumentRow]:
    """Every row of a collection, or of one repository of it, by repository and path in the order of their bytes.

    Read in slices, so that writers go on; a row that is added meanwhile may be missed.
    """
    for name in repositories_in_ledger(database, collection_id) if repository is None else [repository]:
        after: str | None = None
        while True:
            where = [documents.c.collection_id == collection_id, documents.c.repository == name]
            if after is not None:
                where.append(documents.c.path > after)
            with database.read() as connection:
                rows = connection.execute(
                    select(documents).where(*where).order_by(documents.c.path).limit(ROWS_AT_ONCE)
                ).all()
            yield from map(document_of, rows)
            if len(rows) < ROWS_AT_ONCE:
                break
            after = rows[-1].path


def repositories_in_ledger(database: Database, collection_id: int) -> list[str]:
    """Every repository that a collection has a row of, in the order of their bytes."""
    # sorted here: a server may sort names in another way
    with database.read() as connection:
        found = connection.execute(
            select(documents.c.repository).where(documents.c.collection_id == collection_id).distinct()
        )
        return sorted(found.scalars())


@dataclass(frozen=True, kw_only=True)
class Writers:
    """Who could write a collection at a moment: the lease's token of every unfinished run by its sequence, and those
    that a process works on; ``repaired`` are the repositories that a repair holds."""

    moment: str
    tokens: Mapping[int, int]
    live: frozenset[int]
    repaired: frozenset[str]

    def is_writing(self, row: DocumentRow | None) -> bool:
        """Whether a process is at work on a document, so that nobody can say what the store holds."""
        if row is None:
            return False
        if row.state is DocumentState.SUSPECT:
            return row.repository in self.repaired
        return row.state is DocumentState.WRITING and row.version[0] in self.live


def look_at_writers(database: Database, known: CollectionRecord, host: Host) -> Writers:
    """As it is now."""
    moment = clock.stamp()
    with database.read() as connection:
        found = _runs_of(connection, known, [RunStatus.RUNNING.value])
        live = [run for run in found if live_holder(run, host)]
        repairs = [run.run_id for run in live if is_repair(run)]
        claimed = select(repository_claims.c.repository).where(repository_claims.c.run_id.in_(repairs))
        repaired = frozenset(connection.execute(claimed).scalars() if repairs else ())
    return Writers(
        moment=moment,
        tokens={run.sequence or 0: run.lease_token for run in found},
        live=frozenset(run.sequence or 0 for run in live),
        repaired=repaired,
    )


@dataclass(frozen=True, kw_only=True)
class Meanwhile:
    """What may have moved since a moment: documents whose version is of one of ``sequences``; any, if ``is_repaired``,
    since a repair moves no version."""

    sequences: frozenset[int]
    is_repaired: bool

    def has_moved(self, row: DocumentRow | None) -> bool:
        """Whether a document may be another one than at that moment."""
        return self.is_repaired or (row is not None and row.version[0] in self.sequences)


def moved_since(database: Database, known: CollectionRecord, before: Writers, host: Host) -> Meanwhile:
    """Which runs could have written since ``before``."""
    with database.read() as connection:
        running = _runs_of(connection, known, [RunStatus.RUNNING.value])
        finished = [each.value for each in RunStatus if each is not RunStatus.RUNNING]
        ended = _runs_of(connection, known, finished, before.moment)
    moved = ended + [
        run
        for run in running
        if run.sequence in before.live
        or live_holder(run, host)
        or before.tokens.get(run.sequence or 0) != run.lease_token
    ]
    return Meanwhile(sequences=frozenset(run.sequence or 0 for run in moved), is_repaired=any(map(is_repair, moved)))


def _runs_of(
    connection: Connection, known: CollectionRecord, statuses: Iterable[str], ended_since: str = ""
) -> list[RunRecord]:
    rows = connection.execute(
        select(sync_runs).where(
            sync_runs.c.store == known.store,
            sync_runs.c.collection_name == known.name,
            sync_runs.c.status.in_(list(statuses)),
            sync_runs.c.dry_run.is_(False),
            *([sync_runs.c.completed_at >= ended_since] if ended_since else []),
        )
    ).mappings()
    return [RunRecord.from_row(row) for row in rows]


def latest_options(database: Database, known: CollectionRecord) -> RunOptions | None:
    """What the latest run into a collection was started with."""
    with database.read() as connection:
        row = (
            connection.execute(
                select(sync_runs)
                .where(
                    sync_runs.c.store == known.store,
                    sync_runs.c.collection_name == known.name,
                    sync_runs.c.options.is_not(None),
                )
                .order_by(sync_runs.c.sequence.desc())
                .limit(1)
            )
            .mappings()
            .first()
        )
    return RunRecord.from_row(row).options if row is not None else None


def runs_of_sequences(database: Database, sequences: Iterable[int]) -> dict[int, RunRecord]:
    """The runs of these sequences that are still known."""
    with database.read() as connection:
        rows = connection.execute(select(sync_runs).where(sync_runs.c.sequence.in_(list(sequences)))).mappings()
        return {run.sequence or 0: run for run in map(RunRecord.from_row, rows)}


def commits_of(database: Database, collection_id: int) -> dict[str, str]:
    """The commit of every repository of a collection that stands at one."""
    with database.read() as connection:
        rows = connection.execute(
            select(repository_changesets.c.repository, repository_changesets.c.commit_id).where(
                repository_changesets.c.collection_id == collection_id,
                repository_changesets.c.commit_id.is_not(None),
            )
        )
        return {row.repository: row.commit_id for row in rows}


def unfinished_repair(database: Database, known: CollectionRecord) -> RunRecord | None:
    """The repair of a collection that is under way, or that a killed process has left."""
    return lookup.find_unfinished(database, _identity(known))


def _identity(known: CollectionRecord) -> str:
    return f"{REPAIR_IDENTITY}{known.collection_id}"


def start_repair(database: Database, known: CollectionRecord, *, source: str, options: RunOptions) -> RunRecord:
    """Opens the repair of a collection, or gives the one that a killed process has left."""
    run, _ = runs.start_run(
        database,
        run_id=f"reconcile-{clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
        identity=_identity(known),
        digest="",
        input_source=source,
        total_lines=0,
        store=known.store,
        collection=known.name,
        dry_run=False,
        options=options,
    )
    return run


def intend_repairs(
    database: Database,
    lease: Lease,
    repairs: Mapping[Key, tuple[DocumentRow, int]],
    *,
    stays_comparable: bool = False,
) -> None:
    """Documents that are about to be mended, each as its row was found and with the most chunks that may then exist.

    They are suspect, and nothing can be compared with them (unless ``stays_comparable``), until they are settled:
    killed meanwhile, a document is written anew by its next change or the next repair. Raises ``LeaseLost``, also where
    a row is no longer as found.
    """
    suspect = _SUSPECT if stays_comparable else _INCOMPARABLE
    with database.write(durable=True) as connection:
        check_token(connection, lease)
        for (repository, path), (row, most) in repairs.items():
            moved = connection.execute(
                suspect,
                {
                    "b_collection": lease.collection_id,
                    "b_repository": repository,
                    "b_path": path,
                    "b_state": row.state.value,
                    "b_sequence": row.version[0],
                    "b_line": row.version[1],
                    "b_most": most,
                },
            ).rowcount
            if moved != 1:
                raise lease_lost(lease)


_OF_ROW = (
    documents.c.collection_id == bindparam("b_collection"),
    documents.c.repository == bindparam("b_repository"),
    documents.c.path == bindparam("b_path"),
    documents.c.version_sequence == bindparam("b_sequence"),
    documents.c.version_line == bindparam("b_line"),
)

_SUSPECT = (
    update(documents)
    .where(*_OF_ROW, documents.c.state == bindparam("b_state"))
    .values(
        state=DocumentState.SUSPECT.value,
        max_chunks=case(
            (documents.c.max_chunks < bindparam("b_most"), bindparam("b_most")), else_=documents.c.max_chunks
        ),
    )
)
_INCOMPARABLE = _SUSPECT.values(write_hash=null())

_SETTLE = (
    update(documents)
    .where(*_OF_ROW, documents.c.state == literal_column(f"'{DocumentState.SUSPECT.value}'"))
    .values(
        state=bindparam("b_state"),
        write_hash=bindparam("b_write_hash"),
        chunker=bindparam("b_chunker"),
        chunks=bindparam("b_chunks"),
        max_chunks=bindparam("b_chunks"),
        outcome=bindparam("b_outcome"),
    )
)


def settle_repairs(database: Database, lease: Lease, settlements: Iterable[tuple[DocumentRow, Settlement]]) -> None:
    """Documents that were mended and read back hold what the ledger says, of the version that they had.

    Raises ``LeaseLost``, also where a row is no longer as it was intended.
    """
    with database.write() as connection:
        check_token(connection, lease)
        for row, settlement in settlements:
            values: dict[str, Any] = {
                "b_collection": lease.collection_id,
                "b_repository": row.repository,
                "b_path": row.path,
                "b_sequence": row.version[0],
                "b_line": row.version[1],
                "b_state": settlement.state.value,
                "b_write_hash": settlement.write_hash,
                "b_chunker": settlement.chunker,
                "b_chunks": settlement.chunks,
                "b_outcome": settlement.outcome.value,
            }
            if connection.execute(_SETTLE, values).rowcount != 1:
                raise lease_lost(lease)
