"""The third stage: by batch, looks at every change's content, skips what is unchanged, chunks and embeds the rest."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from elysia_dagster.checkpoint import ledger, lines
from elysia_dagster.checkpoint.folders import RemovedFolders, load_removed_folders
from elysia_dagster.checkpoint.records import DocumentRow
from elysia_dagster.embedders.taken import Taken, embed_taken
from elysia_dagster.errors import LineError
from elysia_dagster.exhaustion import check_memory_for_thread
from elysia_dagster.models import Chunk, DocumentState, Outcome
from elysia_dagster.sync.batch import Action, EmbeddedBatch, PreparedChange, write_hash
from elysia_dagster.sync.batchfile import batch_path, load_batch, save_batch
from elysia_dagster.sync.chunk import CHUNKER_ID, chunk_text
from elysia_dagster.sync.content import Content, Skipped, resolve_content
from elysia_dagster.sync.decode import BinaryContent, decode_text
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.parse import parse_record
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.spool import read_span, span_reader
from elysia_dagster.sync.winners import REMOVALS

Read = Callable[[int, int], bytes]
"""Gives a line of the spool by its offset and length."""


class BatchMaker:
    """Makes the batches of a run, in order, those with unsettled lines only. Close it."""

    def __init__(self, work: Work, plan: RunPlan) -> None:
        options = work.run.options
        assert options is not None
        self._work = work
        self._plan = plan
        self._locator = Locator([Path(root) for root in options.roots], options.repo, plan.folders)
        self._removed = _removed_folders(work, plan)
        self._spool = os.open(work.spool, os.O_RDONLY | os.O_CLOEXEC)
        self._settled = (
            bytearray(work.run.total_lines + 2)
            if work.run.dry_run
            else lines.settled_lines_bitmap(work.engine.database, work.run.run_id, work.run.total_lines)
        )

    def close(self) -> None:
        """Closes the spool and the folders."""
        os.close(self._spool)
        self._locator.close()

    def __enter__(self) -> "BatchMaker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batches(self) -> Iterator[EmbeddedBatch]:
        """Every batch that has an unsettled line; the next ones are made by threads while one is worked on.

        Raises ``EmbedderUnavailable``, ``ResourceExhausted``, ``LeaseLost``, ``Interrupted``.
        """
        threads = self._work.engine.settings.embed_threads
        with ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
            ahead: deque[Future[EmbeddedBatch]] = deque()
            try:
                for number in self._unsettled():
                    self._work.pause_point()
                    check_memory_for_thread()
                    ahead.append(pool.submit(self.make, number))
                    if len(ahead) > threads:
                        yield ahead.popleft().result()
                while ahead:
                    self._work.pause_point()
                    yield ahead.popleft().result()
            finally:
                for each in ahead:
                    each.cancel()

    def _unsettled(self) -> Iterator[int]:
        settled = np.frombuffer(self._settled, dtype=np.uint8)
        for number in range(self._plan.batches):
            if settled[self._plan.lines(number)].all():
                batch_path(self._work.folder, number).unlink(missing_ok=True)
            else:
                yield number

    def make(self, number: int, *, anew: bool = False) -> EmbeddedBatch:
        """One batch, from its file where that is whole (unless ``anew``), else prepared, embedded and saved.

        ``anew`` looks at every change again; what the file holds of them is not embedded again.
        """
        planned = [change for change in self._plan.changes(number) if not self._settled[change.line]]
        path = batch_path(self._work.folder, number)
        embedder = self._work.embedder
        saved = None
        if not self._work.run.dry_run:
            saved = load_batch(path, planned, model_id=embedder.model_id, chunker=CHUNKER_ID)
            if saved is not None and not anew:
                return self._as_of_now(saved)
        prepared = self.prepare(planned)
        if self._work.run.dry_run:
            return _without_vectors(number, prepared)
        paid = dict(zip(texts_of(saved), saved.vectors, strict=True)) if saved is not None else {}
        changes, vectors = self._embed(prepared, paid)
        chunks = ((change, chunk) for change in changes for chunk in change.chunks)
        hashes = tuple(
            write_hash(
                chunk.text,
                vector,
                model_id=embedder.model_id,
                chunker=CHUNKER_ID,
                content_hash=change.content_hash,
            )
            for (change, chunk), vector in zip(chunks, vectors, strict=True)
        )
        batch = EmbeddedBatch(
            number=number,
            changes=changes,
            vectors=vectors,
            write_hashes=hashes,
            embedded=sum(chunk.text not in paid for change in changes for chunk in change.chunks),
        )
        if len(vectors):
            self._work.engine.faults("before-batch-saved")
            save_batch(path, batch, model_id=embedder.model_id, chunker=CHUNKER_ID)
            self._work.engine.faults("batch-saved")
        return batch

    def _as_of_now(self, batch: EmbeddedBatch) -> EmbeddedBatch:
        """What has happened since the batch was saved: what failed may be mended, or superseded by another run.

        Only what the ledger's own rows do not tell when the batch is intended: failures, and removed folders. Where one
        is mended the batch is made anew, without embedding again what was saved.
        """
        failures = self.prepare([change.planned for change in batch.changes if change.action is Action.FAIL])
        if any(each.action not in (Action.FAIL, Action.SUPERSEDED) for each in failures):
            return self.make(batch.number, anew=True)
        now = {id(each.planned): each for each in failures if each.action is Action.SUPERSEDED}
        for change in batch.changes:
            planned = change.planned
            if self._is_below_removed(planned):
                now[id(planned)] = _superseded(planned)
        if not now:
            return batch
        return replace(batch, changes=tuple(now.get(id(each.planned), each) for each in batch.changes))

    def _is_below_removed(self, change: PlannedChange) -> bool:
        """Whether a newer change has removed a folder above the document, and the document with it.

        A later line of this run does not ask again for what an earlier one removes: that removal is still to be made.
        """
        newest, own = self._removed.newest_above(change.repository, change.path), self._version(change)
        return newest > own and not (newest[0] == own[0] and change.kind in REMOVALS)

    def _version(self, change: PlannedChange) -> tuple[int, int]:
        return (self._work.lease.sequence, change.line)

    def prepare(self, planned: list[PlannedChange]) -> list[PreparedChange]:
        """Looks at content and ledger: what is to become of every change."""
        known: dict[ledger.Key, DocumentRow] = {}
        collection = self._work.collection
        if collection is not None:
            keys = [(change.repository, change.path) for change in planned]
            known = ledger.fetch_documents(self._work.engine.database, collection.collection_id, keys)
        spans = [(each.offset, each.length) for each in planned if each.is_record and not each.is_expanded]
        read = span_reader(self._spool, spans)
        return [self._prepare(change, known.get((change.repository, change.path)), read) for change in planned]

    def _prepare(self, change: PlannedChange, row: DocumentRow | None, read: Read) -> PreparedChange:
        version = self._version(change)
        is_overtaken = row is not None and row.version > version
        if is_overtaken or self._is_below_removed(change):
            return _superseded(change)
        if change.kind in REMOVALS:
            return PreparedChange(planned=change, action=Action.REMOVE, outcome=Outcome.DELETED)
        try:
            return self._prepare_write(change, row, read)
        except LineError as error:
            if change.is_contested and self._is_gone(change):
                return PreparedChange(
                    planned=change, action=Action.REMOVE, outcome=Outcome.DELETED, reason="renamed on"
                )
            return PreparedChange(planned=change, action=Action.FAIL, reason=str(error), permanent=error.permanent)

    def _is_gone(self, change: PlannedChange) -> bool:
        folder = self._locator.folder(change.repository)
        return folder is not None and folder.kind_of(change.path)[0] == "missing"

    def _prepare_write(self, change: PlannedChange, row: DocumentRow | None, read: Read) -> PreparedChange:
        if ".git/" in change.path and ".git" in change.path.split("/"):
            return _skip(change, "inside .git")
        content = self._content(change, read)
        if isinstance(content, Skipped):
            return _skip(change, content.reason)
        content_hash = hashlib.sha256(content.data).hexdigest()
        if self._is_unchanged(row, content_hash):
            assert row is not None
            outcome = Outcome.UNCHANGED
            if row.version == (self._work.lease.sequence, change.line):
                outcome = Outcome(row.outcome)  # this very change, settled before the process died
            return PreparedChange(planned=change, action=Action.KEEP, outcome=outcome, content_hash=content_hash)
        try:
            text = decode_text(content.data)
        except BinaryContent:
            return _skip(change, "binary", content_hash)
        chunks = tuple(chunk_text(text, change.path))
        if not chunks:
            return _skip(change, "empty", content_hash)
        return PreparedChange(
            planned=change,
            action=Action.WRITE,
            outcome=Outcome.INDEXED,
            content_hash=content_hash,
            size_bytes=len(content.data),
            line_count=text.count("\n") + (not text.endswith("\n")),
            modified_at=content.modified_at,
            chunks=chunks,
        )

    def _content(self, change: PlannedChange, read: Read) -> Content | Skipped:
        record: dict[str, Any] | None = None
        if change.is_record and not change.is_expanded:
            record = _record(read(change.offset, change.length))
        return resolve_content(
            record,
            path=change.path,
            folder=self._locator.folder(change.repository),
            roots=self._locator.roots,
            max_document_bytes=self._work.engine.settings.max_document_bytes,
        )

    def _is_unchanged(self, row: DocumentRow | None, content_hash: str) -> bool:
        if row is None or row.state is not DocumentState.PRESENT or row.content_hash != content_hash:
            return False
        options = self._work.run.options
        is_forced = options is not None and options.force and row.version[0] != self._work.lease.sequence
        return row.chunker == CHUNKER_ID and not is_forced

    def _embed(
        self, prepared: list[PreparedChange], paid: dict[str, np.ndarray]
    ) -> tuple[tuple[PreparedChange, ...], np.ndarray]:
        """Vectors of all chunks; a document of which a text is refused fails, and the others go on.

        ``paid`` are the vectors that are there already, by text.
        """
        taken = self._embed_rest([chunk.text for change in prepared for chunk in change.chunks], paid)
        changes: list[PreparedChange] = []
        kept = np.ones(len(taken.vectors), dtype=bool)
        first = row = 0
        for change in prepared:
            end = first + len(change.chunks)
            refused = min(taken.refused.keys() & range(first, end), default=None) if taken.refused else None
            if refused is not None:
                kept[first:end] = False
                changes.append(_refused(change, change.chunks[refused - first], taken.refused[refused]))
            elif change.chunks:
                changes.append(change._replace(rows=(row, row + len(change.chunks))))
                row += len(change.chunks)
            else:
                changes.append(change)
            first = end
        return tuple(changes), taken.vectors[kept] if taken.refused else taken.vectors

    def _embed_rest(self, texts: list[str], paid: dict[str, np.ndarray]) -> Taken:
        embedder = self._work.embedder
        if not paid:
            return embed_taken(embedder, texts)
        places = [place for place, text in enumerate(texts) if text not in paid]
        taken = embed_taken(embedder, [texts[place] for place in places])
        vectors = np.zeros((len(texts), embedder.dimensions), dtype=np.float32)
        vectors[places] = taken.vectors
        for place, text in enumerate(texts):
            if text in paid:
                vectors[place] = paid[text]
        return Taken(vectors=vectors, refused={places[row]: error for row, error in taken.refused.items()})

    def raw_line(self, change: PlannedChange) -> bytes:
        """The line of a change as it stands in the spool."""
        return read_span(self._spool, change.offset, change.length)


def _record(raw: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = parse_record(raw)
        assert parsed.record is not None
        record = parsed.record
    return record


def _refused(change: PreparedChange, chunk: Chunk, error: LineError) -> PreparedChange:
    where = f"Lines {chunk.start_line} to {chunk.end_line}: " if len(change.chunks) > 1 else ""
    return PreparedChange(
        planned=change.planned, action=Action.FAIL, reason=f"{where}{error}", permanent=error.permanent
    )


def _superseded(change: PlannedChange) -> PreparedChange:
    return PreparedChange(planned=change, action=Action.SUPERSEDED, outcome=Outcome.SUPERSEDED)


def _removed_folders(work: Work, plan: RunPlan) -> RemovedFolders:
    if work.collection is None:
        return RemovedFolders(())
    return load_removed_folders(work.engine.database, work.collection.collection_id, plan.repositories)


def _skip(change: PlannedChange, reason: str, content_hash: str | None = None) -> PreparedChange:
    return PreparedChange(
        planned=change, action=Action.REMOVE, outcome=Outcome.SKIPPED, reason=reason, content_hash=content_hash
    )


def _without_vectors(number: int, prepared: list[PreparedChange]) -> EmbeddedBatch:
    empty = np.zeros((0, 0), dtype=np.float32)
    return EmbeddedBatch(number=number, changes=tuple(prepared), vectors=empty, write_hashes=(), embedded=0)


def texts_of(batch: EmbeddedBatch) -> list[str]:
    """The chunk texts of a batch, in order."""
    chunks: list[Chunk] = [chunk for change in batch.changes for chunk in change.chunks]
    return [chunk.text for chunk in chunks]
