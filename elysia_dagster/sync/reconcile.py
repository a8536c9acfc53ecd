"""Compares a collection with the ledger, both ways, by one scan of each and in bounded memory.

scan, spilled to a temporary file - merge with the ledger by key - look again, by id, at what differs. Beside running
syncs nothing false is reported: a document counts as it is between two equal looks at its row, and what a scan alone
tells (a missing vector, an object twice) counts where nobody can have written the document since the scan began.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from elysia_dagster.checkpoint import collections, ledger, reconciling
from elysia_dagster.checkpoint.reconciling import Meanwhile, Writers
from elysia_dagster.checkpoint.records import CollectionRecord, DocumentRow
from elysia_dagster.checkpoint.spill import SLICE, Spill, SpilledObject
from elysia_dagster.errors import CollectionMismatch, Interrupted, UsageError
from elysia_dagster.models import DocumentState, object_id
from elysia_dagster.stores.base import VectorStore
from elysia_dagster.sync.adopt import is_ours
from elysia_dagster.sync.collection import dropped
from elysia_dagster.sync.difference import Difference, Finding, HeldDocument, compare
from elysia_dagster.sync.engine import Engine

LOOKED_AT_ONCE = 100
"""Documents that are looked at again together."""

LOOKS = 3
"""Looks at a document whose row moves under them; then it counts as being written."""

FIRST_FOUND = 1_000
"""Differing documents, and objects that are not ours, that a report names."""


@dataclass(kw_only=True)
class Comparison:
    """What was found. Counts are of documents but ``objects``, ``foreign`` and ``objects_by_difference``.

    ``being_written`` had a difference that a running sync was making, or may have mended; they are no damage.
    """

    engine: Engine
    known: CollectionRecord
    repository: str | None
    spill: Spill
    objects: int = 0
    documents: int = 0
    differing: int = 0
    being_written: int = 0
    foreign: int = 0
    documents_by_difference: Counter[Difference] = field(default_factory=Counter)
    objects_by_difference: Counter[Difference] = field(default_factory=Counter)

    @property
    def store(self) -> VectorStore:
        """The collection's store."""
        return self.engine.store(self.known.store)

    def first_findings(self, limit: int = FIRST_FOUND) -> list[Finding]:
        """The first documents that differ, by repository and path."""
        found = self.spill.findings(at_once=limit)
        return [Finding.from_json(body) for body, _ in zip(found, range(limit), strict=False)]

    def first_foreign(self, limit: int = FIRST_FOUND) -> list[tuple[str, str, str]]:
        """Id, repository and path, as they say it, of the first objects that are not ours."""
        return self.spill.foreign(limit=limit)


@contextmanager
def compared(
    engine: Engine, collection: str, *, store: str = "", repository: str | None = None
) -> Iterator[Comparison]:
    """The comparison of a collection, or of one repository of it; what it found is there for the block.

    Changes nothing. Raises ``CollectionMismatch`` for a collection that is not the ledger's, ``StoreUnavailable``,
    ``ResourceExhausted``, ``Interrupted``.
    """
    known = known_collection(engine, collection, engine.store_url(store))
    with Spill(engine.run_folder(f"reconcile-{secrets.token_hex(8)}")) as spill:
        comparison = Comparison(engine=engine, known=known, repository=repository, spill=spill)
        before = reconciling.look_at_writers(engine.database, known, engine.host)
        _scan(comparison)
        engine.faults("reconcile-scanned")
        _compare(comparison, before)
        spill.forget_objects()
        known_collection(engine, collection, known.store)  # it may have been dropped meanwhile
        engine.faults("reconcile-compared")
        yield comparison


def known_collection(engine: Engine, name: str, store: str) -> CollectionRecord:
    """The ledger's collection of that name, which the store holds as it is known. Raises ``CollectionMismatch``."""
    known = collections.find_collection(engine.database, store, name)
    there = engine.store(store).describe(name)
    if known is None and there is None:
        raise UsageError(
            f"There is no collection {name} in {store}.", next_step="See: elysiactl index status --summary"
        )
    if known is None:
        raise CollectionMismatch(
            f"Collection {name} in {store} was not made by this checkpoint.",
            next_step="Take it over as it is with: elysiactl index sync --adopt",
        )
    if there is None or there.incarnation != known.incarnation:
        raise dropped(name, store, is_there=there is not None)
    return known


def _scan(comparison: Comparison) -> None:
    name, spill = comparison.known.name, comparison.spill
    ours: list[SpilledObject] = []
    foreign: list[tuple[str, str, str]] = []

    def write() -> None:
        comparison.objects += len(ours)
        comparison.foreign += len(foreign)
        if ours:
            spill.add_slice(ours)
        if foreign:
            spill.add_foreign(foreign)
        ours.clear()
        foreign.clear()
        if comparison.engine.stop_requested():
            raise Interrupted("The comparison was interrupted; it changes nothing.", next_step="Give it again.")

    for each in comparison.store.scan(name, repository=comparison.repository):
        if is_ours(name, each):
            ours.append(
                (
                    each.repository,
                    each.relative_path,
                    each.chunk_index,
                    each.write_hash or "",
                    each.content_hash or "",
                    each.has_vector,
                )
            )
        else:
            foreign.append((each.id, each.repository or "", each.relative_path or ""))
        if len(ours) + len(foreign) >= SLICE:
            write()
    write()


def _compare(comparison: Comparison, before: Writers) -> None:
    engine, known = comparison.engine, comparison.known
    rows = reconciling.all_documents(engine.database, known.collection_id, comparison.repository)
    differing: list[Finding] = []

    def look_again() -> None:
        comparison.spill.add_findings(
            (each.held.repository, each.to_json()) for each in _looked_at_again(comparison, before, differing)
        )
        differing.clear()

    # where the store makes the vectors, an object may rightly have none
    helds = _held_documents(comparison.spill.objects(), have_vectors=known.dimensions > 0)
    for number, (held, row) in enumerate(_pairs(helds, rows), start=1):
        if row is not None and row.state is not DocumentState.ABSENT:
            comparison.documents += 1
        finding = compare(held, row)
        if finding is not None:
            differing.append(finding)
            if len(differing) >= LOOKED_AT_ONCE:
                look_again()
        if not number % SLICE and engine.stop_requested():
            raise Interrupted("The comparison was interrupted; it changes nothing.", next_step="Give it again.")
    look_again()


def _held_documents(objects: Iterator[SpilledObject], *, have_vectors: bool) -> Iterator[HeldDocument]:
    for (repository, path), some in groupby(objects, key=itemgetter(0, 1)):
        held = HeldDocument(repository=repository, path=path)
        doubled: list[int] = []
        without_vector: list[int] = []
        for _, _, chunk, write_hash, content_hash, has_vector in some:
            if chunk in held.hashes:
                doubled.append(chunk)
            held.hashes[chunk] = write_hash
            held.contents[chunk] = content_hash
            if have_vectors and not has_vector:
                without_vector.append(chunk)
        if doubled:
            held.doubled = frozenset(doubled)
        if without_vector:
            held.without_vector = frozenset(without_vector)
        yield held


def _pairs(
    helds: Iterator[HeldDocument], rows: Iterator[DocumentRow]
) -> Iterator[tuple[HeldDocument, DocumentRow | None]]:
    """Every document that either has, with what it is to the other; both come by repository and path."""
    held, row = next(helds, None), next(rows, None)
    while held is not None or row is not None:
        if held is not None and (row is None or (held.repository, held.path) < (row.repository, row.path)):
            yield held, None
            held = next(helds, None)
        elif row is not None and (held is None or (row.repository, row.path) < (held.repository, held.path)):
            yield HeldDocument(repository=row.repository, path=row.path), row
            row = next(rows, None)
        elif held is not None:
            yield held, row
            held, row = next(helds, None), next(rows, None)


def _looked_at_again(comparison: Comparison, before: Writers, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Those that still differ, counted."""
    engine, known = comparison.engine, comparison.known
    pending = list(findings)
    for _ in range(LOOKS):
        if not pending:
            return
        looked = look(engine, known, pending)
        writers = reconciling.look_at_writers(engine.database, known, engine.host)
        meanwhile = reconciling.moved_since(engine.database, known, before, engine.host)
        keys = [(each.held.repository, each.held.path) for each in pending]
        after = ledger.fetch_documents(engine.database, known.collection_id, keys)
        moving = []
        for finding, (held, row) in zip(pending, looked, strict=True):
            key = (held.repository, held.path)
            if after.get(key) != row:
                moving.append(finding)
                continue
            if writers.is_writing(row):
                comparison.being_written += 1
                continue
            again = compare(_as_scanned(held, finding, row, meanwhile), row)
            if again is None:
                comparison.being_written += _was_written(finding, row, meanwhile)
                continue
            comparison.differing += 1
            comparison.documents_by_difference.update(again.differences.keys())
            comparison.objects_by_difference.update(again.differences)
            yield again
        pending = moving
    comparison.being_written += len(pending)


def _was_written(finding: Finding, row: DocumentRow | None, meanwhile: Meanwhile) -> bool:
    return row != finding.row or meanwhile.has_moved(row)


def _as_scanned(held: HeldDocument, finding: Finding, row: DocumentRow | None, meanwhile: Meanwhile) -> HeldDocument:
    """With what the scan alone tells, where nobody can have written the document since."""
    return as_found(held, finding) if row == finding.row and not meanwhile.has_moved(row) else held


def as_found(held: HeldDocument, finding: Finding) -> HeldDocument:
    """What the store holds of a document that nobody has written since it was found to differ.

    An object that is there by its id and that a scan passed by counts as missing: it says that it is another
    document's, or an index lacks it. One that a scan saw is there, though the index of ids may lack it.
    """
    held.hashes = {chunk: held.hashes.get(chunk, scanned) for chunk, scanned in finding.held.hashes.items()}
    held.contents = finding.held.contents
    held.doubled = finding.held.doubled
    held.without_vector = finding.held.without_vector
    return held


def look(
    engine: Engine, known: CollectionRecord, findings: Iterable[Finding]
) -> list[tuple[HeldDocument, DocumentRow | None]]:
    """What the ledger says of the documents now, then what the store holds of them, asked by id."""
    findings = list(findings)
    keys = [(each.held.repository, each.held.path) for each in findings]
    rows = ledger.fetch_documents(engine.database, known.collection_id, keys)
    chunks = []
    for finding, key in zip(findings, keys, strict=True):
        most = max((max(each.chunks, each.max_chunks) for each in (rows.get(key), finding.row) if each), default=0)
        chunks.append(sorted({*range(most), *finding.held.hashes}))
    ids = [[object_id(known.name, *key, chunk) for chunk in some] for key, some in zip(keys, chunks, strict=True)]
    held = engine.store(known.store).fetch_hashes(known.name, [each for some in ids for each in some])
    looked = []
    for key, some, its_ids in zip(keys, chunks, ids, strict=True):
        hashes = {chunk: held[each] or "" for chunk, each in zip(some, its_ids, strict=True) if each in held}
        looked.append((HeldDocument(repository=key[0], path=key[1], hashes=hashes), rows.get(key)))
    return looked
