"""Mends documents that differ, some at a time and under the claim of their repository.

remove what is left over - clear what was only suspected - intend (transaction) - delete - insert - read back - settle
(transaction). Objects are deleted before they are written anew, since an identical write mends no missing vector and no
index: for that moment there is a hole. Killed anywhere, what was intended is suspect, and nothing passes for unchanged.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from elysia_dagster.checkpoint import reconciling, suspects
from elysia_dagster.checkpoint.ledger import Key
from elysia_dagster.checkpoint.records import DocumentRow, Settlement
from elysia_dagster.errors import LineError, StoreUnavailable
from elysia_dagster.models import DocumentState, Outcome, StoreObject, object_id
from elysia_dagster.sync.batch import Action, EmbeddedBatch, PreparedChange, document_write_hash, write_hash
from elysia_dagster.sync.chunk import CHUNKER_ID, chunk_text
from elysia_dagster.sync.content import Content
from elysia_dagster.sync.decode import BinaryContent, decode_text
from elysia_dagster.sync.difference import Finding, HeldDocument, compare
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.objects import objects_of
from elysia_dagster.sync.origin import Origins
from elysia_dagster.sync.overtaken import is_overtaken
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.reconcile import as_found, look
from elysia_dagster.sync.sending import LEASE_MARGIN_S
from elysia_dagster.sync.winners import ChangeKind

MENDED_CHUNKS = 1_000
"""Objects that are written together, or those of one document: bounds memory."""


@dataclass(kw_only=True)
class Mended:
    """What was done, in documents but ``removed`` (objects that were left over) and ``holes`` (objects that no sync
    would mend, of documents of the rest). ``right`` do not differ any more.

    ``rest`` are the documents that could not be mended: to be sent again as ``modify``, or (True) ``delete``.
    ``reasons`` says by document why, where the store or the embedder refused it.
    """

    right: int = 0
    cleared: int = 0
    rewritten: int = 0
    removed: int = 0
    holes: int = 0
    rest: dict[Key, bool] = field(default_factory=dict)
    reasons: dict[Key, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Rewrite:
    """A document and what is to be of it; no objects where nothing of it is to be there."""

    row: DocumentRow
    held: HeldDocument
    objects: list[StoreObject] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return self.row.repository, self.row.path

    @property
    def most(self) -> int:
        """Chunks that may exist from the moment it is intended until it is settled."""
        return max(len(self.objects), self.row.chunks, self.row.max_chunks, *(each + 1 for each in self.held.hashes), 0)


class Mender:
    """Mends findings under the claims of ``work``.

    ``stays_comparable``: killed in the middle, a document is compared again by its write hash. For findings that this
    hash tells, not for what only a scan does (a missing vector, an object twice).
    """

    def __init__(self, work: Work, origins: Origins, *, stays_comparable: bool = False) -> None:
        assert work.collection is not None
        self._work = work
        self._known = work.collection
        self._database = work.engine.database
        self._faults = work.engine.faults
        self._origins = origins
        self._stays_comparable = stays_comparable
        self._trusts_hashes = work.store.rewrites_identical  # else what is there may lack its place in an index

    def mend(self, findings: Sequence[Finding]) -> Mended:
        """Those that still differ. Raises ``StoreUnavailable``, ``EmbedderUnavailable``, ``LeaseLost``,
        ``CollectionMismatch``, ``ResourceExhausted``."""
        done = Mended()
        left_over: list[str] = []
        cleared: list[DocumentRow] = []
        rewrites: list[_Rewrite] = []
        removals: list[_Rewrite] = []
        for finding, (held, row) in zip(findings, look(self._work.engine, self._known, findings), strict=True):
            if row == finding.row:
                held = as_found(held, finding)  # noqa: PLW2901
            again = compare(held, row)
            if again is None:
                done.right += 1
            elif row is None or row.state is DocumentState.ABSENT or again.is_left_over_only:
                first = 0 if row is None or row.state is DocumentState.ABSENT else row.chunks
                left_over += self._ids(held, (each for each in held.hashes if each >= first))
                done.right += 1
            elif again.is_right and (self._trusts_hashes or not row.chunks):
                cleared.append(row)
            elif not row.chunks:
                removals.append(_Rewrite(row=row, held=held))
            else:
                rewrites.append(_Rewrite(row=row, held=held))
        if left_over:
            self._delete(left_over)
            done.removed += len(left_over)
            self._faults("reconcile-removed")
        if cleared:
            suspects.clear_suspicion(self._database, self._work.lease, cleared)
            done.cleared += len(cleared)
            self._faults("reconcile-cleared")
        if removals:
            self._write(removals, done)
        for some in _slices(rewrites):
            self._rewrite(some, done)
        done.right += done.cleared + done.rewritten
        return done

    def _rewrite(self, rewrites: list[_Rewrite], done: Mended) -> None:
        contents = self._origins.find([each.row for each in rewrites])
        self._make_objects([each for each in rewrites if each.key in contents], contents, done)
        self._write([each for each in rewrites if each.objects], done)
        self._leave([each for each in rewrites if not each.objects], done)

    def _make_objects(self, rewrites: list[_Rewrite], contents: dict[Key, Content], done: Mended) -> None:
        """Gives its objects to every document whose content is text that the embedder takes."""
        embedder = self._work.embedder
        for each in rewrites:
            content = contents[each.key]
            try:
                text = decode_text(content.data)
                chunks = tuple(chunk_text(text, each.row.path))
                vectors = embedder.embed([chunk.text for chunk in chunks])
            except BinaryContent:
                continue
            except LineError as error:
                done.reasons[each.key] = str(error)
                continue
            if not chunks:
                continue
            change = PreparedChange(
                planned=_planned(each.row),
                action=Action.WRITE,
                outcome=Outcome.INDEXED,
                content_hash=each.row.content_hash,
                size_bytes=len(content.data),
                line_count=text.count("\n") + (not text.endswith("\n")),
                modified_at=content.modified_at,
                chunks=chunks,
                rows=(0, len(chunks)),
            )
            each.objects = self._objects(change, vectors)

    def _objects(self, change: PreparedChange, vectors: np.ndarray) -> list[StoreObject]:
        model = self._work.embedder.model_id
        hashes = tuple(
            write_hash(chunk.text, vector, model_id=model, chunker=CHUNKER_ID, content_hash=change.content_hash)
            for chunk, vector in zip(change.chunks, vectors, strict=True)
        )
        batch = EmbeddedBatch(
            number=0, changes=(change,), vectors=vectors, write_hashes=hashes, embedded=len(change.chunks)
        )
        commit = self._origins.commit_of(change.planned.repository)
        return objects_of(batch, change, collection=self._known.name, commit=commit)

    def _write(self, rewrites: list[_Rewrite], done: Mended) -> None:
        if not rewrites:
            return
        intended = {each.key: (each.row, each.most) for each in rewrites}
        reconciling.intend_repairs(self._database, self._work.lease, intended, stays_comparable=self._stays_comparable)
        self._faults("reconcile-intended")
        try:
            self._delete([id_ for each in rewrites for id_ in self._ids(each.held, range(each.most))])
            self._faults("reconcile-deleted")
            rejected = self._insert(rewrites)
            self._faults("reconcile-inserted")
            self._read_back([each for each in rewrites if each.key not in rejected])
            self._work.check_incarnation()
            written = [each for each in rewrites if each.key not in rejected]
            reconciling.settle_repairs(
                self._database, self._work.lease, [(each.row, _settlement(each)) for each in written]
            )
        except Exception as error:
            if is_overtaken(self._database, self._work.lease, error):
                # what was sent may stand over what somebody else has written since
                most = {key: most for key, (_, most) in intended.items()}
                suspects.mark_documents_suspect(self._database, self._work.lease, most)
            raise
        self._faults("reconcile-settled")
        done.rewritten += len(written)
        done.reasons |= rejected
        done.rest |= dict.fromkeys(rejected, False)

    def _insert(self, rewrites: list[_Rewrite]) -> dict[Key, str]:
        """Why a document was rejected."""
        rejected: dict[Key, str] = {}
        store = self._work.store
        sent = [(each.key, item) for each in rewrites for item in each.objects]
        most = self._work.engine.settings.request_objects
        for first in range(0, len(sent), most):
            some = sent[first : first + most]
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
            reasons = store.upsert(self._known.name, [item for _, item in some])
            for (key, _), reason in zip(some, reasons, strict=True):
                if reason is not None:
                    rejected.setdefault(key, reason)
        return rejected

    def _read_back(self, rewrites: list[_Rewrite]) -> None:
        wanted = {item.id: item.write_hash for each in rewrites for item in each.objects}
        held = self._work.store.fetch_hashes(self._known.name, list(wanted), wanted)
        if held != wanted:
            raise StoreUnavailable(
                f"The store acknowledged {len(wanted)} objects and does not hold them all.",
                next_step="Check the store's health, then give the same command again.",
            )

    def _leave(self, rewrites: list[_Rewrite], done: Mended) -> None:
        """What cannot be mended here is suspect, so that the next change of the document rewrites it; what that would
        not mend goes: objects that are there twice, or without a vector."""
        if not rewrites:
            return
        known = [each for each in rewrites if each.row.state is DocumentState.PRESENT]
        intended = {each.key: (each.row, each.most) for each in known}
        if intended:
            reconciling.intend_repairs(self._database, self._work.lease, intended)
            self._faults("reconcile-marked")
        unmendable = []
        for each in rewrites:
            chunks = {*each.held.doubled, *each.held.without_vector}
            chunks |= {chunk for chunk in each.held.hashes if chunk >= max(each.row.chunks, each.row.max_chunks)}
            unmendable += self._ids(each.held, chunks)
            done.rest[each.key] = self._origins.is_gone(each.row)
        if unmendable:
            self._delete(unmendable)
            done.holes += len(unmendable)
            self._faults("reconcile-hole-made")

    def _ids(self, held: HeldDocument, chunks: Iterable[int]) -> list[str]:
        return [object_id(self._known.name, held.repository, held.path, each) for each in chunks]

    def _delete(self, ids: Sequence[str]) -> None:
        store = self._work.store
        for first in range(0, len(ids), MENDED_CHUNKS):
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
            store.delete_objects(self._known.name, ids[first : first + MENDED_CHUNKS])


def _slices(rewrites: list[_Rewrite]) -> Iterator[list[_Rewrite]]:
    some: list[_Rewrite] = []
    chunks = 0
    for each in rewrites:
        if some and chunks + each.row.chunks > MENDED_CHUNKS:
            yield some
            some, chunks = [], 0
        some.append(each)
        chunks += each.row.chunks
    if some:
        yield some


def _planned(row: DocumentRow) -> PlannedChange:
    """A change as the later stages know it, of no line."""
    return PlannedChange(
        line=row.version[1],
        offset=0,
        length=0,
        repository=row.repository,
        path=row.path,
        kind=ChangeKind.MODIFY,
        is_record=False,
        is_expanded=False,
        is_last=True,
        is_single=True,
        is_contested=False,
    )


def _settlement(each: _Rewrite) -> Settlement:
    """As the row is to stand; one that was never settled gets an outcome, others keep theirs."""
    row, objects = each.row, each.objects
    outcome = Outcome.DELETED if row.content_hash is None else Outcome.SKIPPED
    if objects:
        is_kept = row.state is DocumentState.PRESENT and row.outcome
        outcome = Outcome(row.outcome) if is_kept else Outcome.INDEXED
    return Settlement(
        repository=row.repository,
        path=row.path,
        line=row.version[1],
        state=DocumentState.PRESENT if objects else DocumentState.ABSENT,
        outcome=outcome,
        is_written=True,
        content_hash=row.content_hash,
        write_hash=document_write_hash([item.write_hash for item in objects]) if objects else None,
        chunker=CHUNKER_ID if objects else None,
        chunks=len(objects),
        max_chunks=len(objects),
    )
