"""What a rebuild has still to carry over from one collection into another, as the lines of a changeset.

The two ledgers are compared; a line carries its document's whole content, which its SHA-256 has told to be what the old
ledger says. So no file is read when the line is applied: what a working tree holds by then is for a sync of the old
collection to say. What was not to be had is listed.
"""

import base64
import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, BinaryIO

import orjson

from elysia_dagster.checkpoint import rebuilding
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.ledger import fetch_documents
from elysia_dagster.checkpoint.rebuilding import Pair
from elysia_dagster.checkpoint.records import CollectionRecord, DocumentRow
from elysia_dagster.errors import Interrupted, UsageError
from elysia_dagster.models import DocumentState, Outcome
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.content import Content
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.gitquote import quote
from elysia_dagster.sync.origin import Origins
from elysia_dagster.sync.parse import make_line

WINDOW = 2_000
"""Documents that are put into the order of the changesets that brought them, in which they are found fastest."""

CHUNKS_AT_ONCE = 1_000
"""Chunks of documents whose content is looked for together: bounds memory."""

_UNSURE = frozenset({DocumentState.WRITING, DocumentState.SUSPECT})


class Verdict(Enum):
    """What is to become of a document in the new collection."""

    AGREES = "agrees"  # it holds what the old ledger says
    WRITE = "write"  # its content is to be written
    DELETE = "delete"  # the old collection holds it no more
    UNSURE = "unsure"  # the old ledger does not know what the old collection holds


def judge(old: DocumentRow | None, new: DocumentRow | None) -> Verdict:
    """Compares what the two ledgers say of a document."""
    if old is not None and old.state in _UNSURE:
        return Verdict.UNSURE
    if old is None or old.state is DocumentState.ABSENT or not old.chunks:
        return Verdict.AGREES if new is None or new.state is DocumentState.ABSENT else Verdict.DELETE
    if new is None or new.content_hash != old.content_hash:
        return Verdict.WRITE
    if new.state is DocumentState.PRESENT and new.chunker == CHUNKER_ID:
        return Verdict.AGREES
    # an earlier version took it for text, this one does not
    is_skipped = new.state is DocumentState.ABSENT and new.outcome == Outcome.SKIPPED.value
    return Verdict.AGREES if is_skipped else Verdict.WRITE


@dataclass(kw_only=True)
class Standing:
    """How far two collections agree, in documents. ``behind`` are to be written or deleted in the new one.

    ``commits`` are repositories whose commit is to be moved, where nothing else differs there.
    """

    agreeing: int = 0
    behind: int = 0
    unsure: int = 0
    first_unsure: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the new collection holds all that the old one does, and nothing else."""
        return not (self.behind or self.unsure or self.commits)


FIRST_UNSURE = 20
"""Documents in doubt that a report names."""


def standing(engine: Engine, source: CollectionRecord, target: CollectionRecord) -> Standing:
    """Compares the two ledgers, in bounded memory."""
    found = Standing()
    database, numbers = engine.database, (source.collection_id, target.collection_id)
    old_commits, new_commits = _commits(database, numbers)
    for repository in rebuilding.repositories_of_both(database, *numbers):
        agrees = True
        for pair in rebuilding.pairs(database, *numbers, repository):
            verdict = judge(pair.old, pair.new)
            if verdict is Verdict.AGREES:
                found.agreeing += pair.old is not None and pair.old.state is DocumentState.PRESENT
                continue
            agrees = False
            if verdict is Verdict.UNSURE:
                found.unsure += 1
                if len(found.first_unsure) < FIRST_UNSURE:
                    found.first_unsure.append(f"{repository}/{pair.key[1]}")
            else:
                found.behind += 1
        wanted = old_commits.get(repository)
        if agrees and wanted is not None and wanted != new_commits.get(repository):
            found.commits.append(repository)
    return found


@dataclass(kw_only=True)
class Missing:
    """Documents whose content was not to be had, as lines of a changeset for the old collection."""

    lines: BinaryIO
    count: int = 0

    def add(self, row: DocumentRow, *, is_gone: bool) -> None:
        """One more; ``is_gone``: its repository is there, and it is not."""
        self.lines.write(make_line(row.repository, row.path, is_gone=is_gone))
        self.count += 1


class Carrier:
    """Gives what is behind in the new collection, repository by repository. Close it."""

    def __init__(self, engine: Engine, source: CollectionRecord, target: CollectionRecord, missing: Missing) -> None:
        self._engine = engine
        self._numbers = (source.collection_id, target.collection_id)
        self._missing = missing
        self.origins = Origins(engine, source)
        self._target = target
        self._old_commits, self._new_commits = _commits(engine.database, self._numbers)
        self._repositories = deque(rebuilding.repositories_of_both(engine.database, *self._numbers))

    def close(self) -> None:
        """Closes what is open."""
        self.origins.close()

    def lines(self, most_bytes: int) -> Iterator[bytes]:
        """Lines of whole repositories, until they have more than ``most_bytes``; asked again, those of the next ones.

        Raises ``ResourceExhausted``, ``Interrupted``, ``UsageError`` for a document that no line may hold.
        """
        given = 0
        while self._repositories and given < most_bytes:
            for line in self._lines_of(self._repositories.popleft()):
                given += len(line)
                yield line

    def _lines_of(self, repository: str) -> Iterator[bytes]:
        is_whole = True
        with closing(rebuilding.pairs(self._engine.database, *self._numbers, repository)) as pairs:
            for window in _windows(pairs):
                is_whole = is_whole and not any(verdict is Verdict.UNSURE for verdict, _ in window)
                for verdict, pair in window:
                    if verdict is Verdict.DELETE:
                        yield _line(repository, pair.key[1], op="delete")
                rows = [pair.old for verdict, pair in window if verdict is Verdict.WRITE and pair.old is not None]
                for some in _slices(sorted(rows, key=lambda row: row.version)):
                    if self._engine.stop_requested():
                        raise Interrupted("Interrupted; what is carried over stays.", next_step="Give it again.")
                    found = self._origins_of(some)
                    is_whole = is_whole and len(found) == len(some)
                    for row in some:
                        if content := found.get((row.repository, row.path)):
                            yield self._checked(row, _line(repository, row.path, op="add", **_carried(content)))
        yield from self._gone_meanwhile(repository)
        wanted = self._old_commits.get(repository)
        if is_whole and wanted is not None and wanted != self._new_commits.get(repository):
            yield orjson.dumps({"repo": repository, "new_changeset": wanted}) + b"\n"

    def _gone_meanwhile(self, repository: str) -> Iterator[bytes]:
        """Lines that settle what had failed in the new collection, and what the old one holds no more.

        The two agree in it, but the failed line would make the new one's commit untrue for ever.
        """
        for path in rebuilding.failed_paths(self._engine.database, self._target, repository):
            key = (repository, path)
            old, new = (fetch_documents(self._engine.database, each, [key]).get(key) for each in self._numbers)
            is_gone = old is None or old.state is DocumentState.ABSENT or not old.chunks
            if is_gone and judge(old, new) is Verdict.AGREES:
                yield _line(repository, path, op="delete")

    def _checked(self, row: DocumentRow, line: bytes) -> bytes:
        """A line that is too long would be no document's when it fails, and so of every repository's."""
        if len(line) > self._engine.settings.max_line_bytes:
            raise UsageError(
                f"{row.repository}/{row.path} takes a line of {len(line):,} bytes, over the limit for a line.",
                next_step=f"Set ELYSIACTL_MAX_LINE_BYTES={len(line)} or more, then give the same command again.",
            )
        return line

    def _origins_of(self, rows: list[DocumentRow]) -> dict[tuple[str, str], Content]:
        found = self.origins.find(rows)
        for row in rows:
            if (row.repository, row.path) not in found:
                self._missing.add(row, is_gone=self.origins.is_gone(row))
        return found


def _commits(database: Database, numbers: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the repositories of both stand. Of the new one whatever a failed line says: its documents are compared."""
    old, new = numbers
    return (
        dict(rebuilding.commit_records(database, old)),
        dict(rebuilding.commit_records(database, new, incomplete=True)),
    )


def _windows(pairs: Iterable[Pair]) -> Iterator[list[tuple[Verdict, Pair]]]:
    window: list[tuple[Verdict, Pair]] = []
    for pair in pairs:
        verdict = judge(pair.old, pair.new)
        if verdict is not Verdict.AGREES:
            window.append((verdict, pair))
        if len(window) >= WINDOW:
            yield window
            window = []
    yield window


def _slices(rows: list[DocumentRow]) -> Iterator[list[DocumentRow]]:
    some: list[DocumentRow] = []
    chunks = 0
    for row in rows:
        if some and chunks + row.chunks > CHUNKS_AT_ONCE:
            yield some
            some, chunks = [], 0
        some.append(row)
        chunks += row.chunks
    if some:
        yield some


def _carried(content: Content) -> dict[str, Any]:
    carried: dict[str, Any] = {"content_base64": base64.b64encode(content.data).decode()}
    return carried if content.modified_at is None else {**carried, "modified_at": float(content.modified_at)}


def _line(repository: str, path: str, **fields: Any) -> bytes:
    return orjson.dumps({"repo": repository, "path": quote(path), **fields}) + b"\n"


class LineStream(io.RawIOBase):
    """Lines as they are made, for whoever reads bytes."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some bytes, 0 at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._lines, b""))
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)
