"""A temporary SQLite file for what a comparison of store and ledger cannot hold in memory: objects, and differences.

Objects are kept in slices that are sorted before they are written, and read back as one sorted row by merging the
slices: nothing but a slice is ever in memory, and no sort leaves files elsewhere.
"""

import heapq
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

from elysia_dagster.errors import ResourceExhausted

SpilledObject = tuple[str, str, int, str, str, bool]
"""Repository, path, chunk, write hash, content hash, and whether there is a vector."""

SLICE = 30_000
"""Objects in a slice: about 15 MB of memory."""

_KEY = itemgetter(0, 1, 2)

_SCHEMA = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA cache_size=-8000;
CREATE TABLE objects (
    repository TEXT, path TEXT, chunk INTEGER, write_hash TEXT, content_hash TEXT, has_vector INTEGER
);
CREATE TABLE foreign_objects (id TEXT, repository TEXT, path TEXT);
CREATE TABLE findings (repository TEXT, body TEXT);
CREATE INDEX findings_by_repository ON findings (repository);
BEGIN;
"""


class Spill:
    """The file, in a new ``folder`` that goes with it. A context manager; every method raises ``ResourceExhausted``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ends: list[int] = []

    def __enter__(self) -> "Spill":
        with _disk_full_named(self.folder):
            self.folder.mkdir(parents=True)
            self._connection = sqlite3.connect(self.folder / "spill.db", isolation_level=None, check_same_thread=False)
            self._connection.executescript(_SCHEMA)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_slice(self, objects: list[SpilledObject]) -> None:
        """Writes ``SLICE`` objects or so, which are sorted in place."""
        objects.sort(key=_KEY)
        with _disk_full_named(self.folder):
            self._connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?)", objects)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(objects))

    def objects(self) -> Iterator[SpilledObject]:
        """Every object by repository, path and chunk, in the order of their bytes; one that is there twice, twice."""
        starts = [0, *self._ends]
        slices = [
            self._connection.execute(
                "SELECT repository, path, chunk, write_hash, content_hash, has_vector FROM objects "
                "WHERE rowid > ? AND rowid <= ? ORDER BY rowid",
                (start, end),
            )
            for start, end in zip(starts, self._ends, strict=False)
        ]
        return iter(heapq.merge(*slices, key=_KEY))

    def forget_objects(self) -> None:
        """They are compared: their space is used again."""
        self._connection.execute("DELETE FROM objects")
        self._ends.clear()

    def add_foreign(self, objects: Sequence[tuple[str, str, str]]) -> None:
        """Ids, repositories and paths of objects that are not ours."""
        with _disk_full_named(self.folder):
            self._connection.executemany("INSERT INTO foreign_objects VALUES (?, ?, ?)", objects)

    def foreign(self, *, limit: int) -> list[tuple[str, str, str]]:
        """The first of them."""
        return self._connection.execute("SELECT * FROM foreign_objects ORDER BY rowid LIMIT ?", (limit,)).fetchall()

    def foreign_ids(self, at_once: int) -> Iterator[list[str]]:
        """All their ids, in slices."""
        after = 0
        while rows := self._connection.execute(
            "SELECT rowid, id FROM foreign_objects WHERE rowid > ? ORDER BY rowid LIMIT ?", (after, at_once)
        ).fetchall():
            after = rows[-1][0]
            yield [row[1] for row in rows]

    def add_findings(self, findings: Iterable[tuple[str, str]]) -> None:
        """Repository and body of what differs, in an order that is kept."""
        with _disk_full_named(self.folder):
            self._connection.executemany("INSERT INTO findings VALUES (?, ?)", findings)

    def repositories(self) -> list[str]:
        """Those of the findings, sorted."""
        return [row[0] for row in self._connection.execute("SELECT DISTINCT repository FROM findings ORDER BY 1")]

    def findings(self, repository: str | None = None, *, at_once: int = 1000) -> Iterator[str]:
        """The bodies, of one repository or of all."""
        after = 0
        where = "rowid > ?" if repository is None else "rowid > ? AND repository = ?"
        while rows := self._connection.execute(
            f"SELECT rowid, body FROM findings WHERE {where} ORDER BY rowid LIMIT ?",
            (after, *([] if repository is None else [repository]), at_once),
        ).fetchall():
            after = rows[-1][0]
            yield from (row[1] for row in rows)


@contextmanager
def _disk_full_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise ResourceExhausted(
            f"What the comparison keeps in {folder} cannot be written: {error}.",
            next_step="Free some disk space, then give the same command again.",
        ) from error
