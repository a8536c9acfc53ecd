"""A folder of LanceDB tables: handles that see other processes' commits, one writer per table, writes that last."""

import logging
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import lancedb
import pyarrow as pa
from lancedb.table import Table

from elysia_dagster.errors import StoreUnavailable, UsageError
from elysia_dagster.stores import lancedb_maintenance as maintenance
from elysia_dagster.stores.file_lock import HeldLock, exclusive_lock
from elysia_dagster.stores.lancedb_durability import FileSyncer, sync_folder
from elysia_dagster.stores.lancedb_errors import missing_collection, retrying, translating
from elysia_dagster.stores.lancedb_recovery import mend_torn

LOCK_WAIT_S = 150.0
"""Seconds to wait for another writer; longer than the compaction that a writer may do (``COMPACTION_LIMIT_S``)."""

COMPACTION_LIMIT_S = 120.0
"""Seconds that compaction may take inside a write; what takes longer is left to ``maintain``."""

CACHE_BYTES = 32_000_000
"""LanceDB's caches of indexes and of metadata, each; its own defaults are 6 GB and 1 GB, and writes do fill them."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class TableFolder:
    """The tables of one folder, each with its lock file ``<table>.lock`` beside it. Threads may share it.

    Every method raises ``CollectionMismatch`` for a table that is not there, ``StoreUnavailable`` where others stay in
    the way, ``ResourceExhausted`` on a full disk, ``UsageError`` for a name that no table can have.
    """

    def __init__(self, folder: Path, url: str) -> None:
        """Opens nothing yet; ``url`` is for messages."""
        self.folder = folder
        self.url = url
        self._guard = threading.RLock()
        self._connection: lancedb.DBConnection | None = None
        self._tables: dict[str, Table] = {}
        self._syncers: dict[str, FileSyncer] = {}

    def read(self, collection: str, read: Callable[[Table], _Result]) -> _Result:
        """What ``read`` makes of the newest version of a table; it may be called several times."""
        with self.translating(collection):
            return retrying(lambda: read(self._open(collection)), refresh=lambda: self._forget(collection))

    def create(self, collection: str, schema: pa.Schema) -> bool:
        """Makes an empty table; False where there is one already, in whoever's hand it was made."""
        self._check_name(collection)
        with self.translating(collection):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # a parent that takes no folder, such as /proc
                raise StoreUnavailable(
                    f"The folder {self.folder} cannot be made: {error.strerror}.",
                    next_step="Name another one with --store lancedb:<folder>.",
                    collection=collection,
                    store=self.url,
                ) from error
        with self._locked(collection):
            try:
                self._connect().create_table(collection, schema=schema)
            except ValueError as error:
                if "already exists" in str(error):
                    return False
                raise
            self._sync(collection)
            sync_folder(self.folder)
        return True

    def drop(self, collection: str) -> None:
        """Removes a table and what an interrupted removal of it has left; none that is there is no error."""
        aside = f".{collection}.dropped-"
        if not self.folder.is_dir():
            return
        with self._locked(collection):
            if self._table_folder(collection).is_dir():  # out of the way at once: half a table can be read by nobody
                self._table_folder(collection).rename(self.folder / f"{aside}{secrets.token_hex(4)}")
                sync_folder(self.folder)
            with self._guard:
                self._tables.pop(collection, None)
                self._syncers.pop(collection, None)
            for each in self.folder.glob(f"{aside}*"):
                shutil.rmtree(each, ignore_errors=True)

    def write(self, collection: str, write: Callable[[Table, int], None]) -> None:
        """Runs ``write(table, uncovered_writes)`` under the table's lock, brings it to the disk, and sees to the index.

        ``write`` commits at most once and may be called several times; ``uncovered_writes`` is how many commits, and so
        fragments at most, the index on ``id`` does not cover.
        """
        with self._locked(collection) as lock:

            def attempt() -> None:
                table = self._open(collection)
                write(table, _uncovered_writes(table, lock))

            retrying(attempt, refresh=lambda: self._forget(collection))
            self._sync(collection)
            self._look_after(collection, lock)

    def run_step(self, collection: str, step: maintenance.Step, *, unless: Callable[[Table], bool]) -> None:
        """Runs one step of maintenance under the lock, ``unless`` the table turns out not to need it."""
        with self._locked(collection) as lock:
            if not unless(self._open(collection)):
                self._run_step(collection, step, lock, limit_s=maintenance.STEP_LIMIT_S)

    def close(self) -> None:
        """Forgets connection and handles; the next call opens them again."""
        with self._guard:
            self._tables.clear()
            self._syncers.clear()
            self._connection = None

    def translating(self, collection: str) -> AbstractContextManager[None]:
        """Turns LanceDB's errors of the body into the project's."""
        return translating(collection=collection, url=self.url)

    @contextmanager
    def _locked(self, collection: str) -> Iterator[HeldLock]:
        self._check_name(collection)
        if not self.folder.is_dir():
            raise missing_collection(collection, self.url)
        lock_file = self.folder / f"{collection}.lock"
        with self.translating(collection), exclusive_lock(lock_file, wait_s=LOCK_WAIT_S) as lock:
            yield lock

    def _look_after(self, collection: str, lock: HeldLock) -> None:
        """After a write: every 50 writes or more, of whatever process, the index or the fragments are seen to."""
        uncovered = _uncovered_writes(self._open(collection), lock)
        if uncovered < maintenance.writes_between_looks(0):
            return
        shape = maintenance.shape_of(self._open(collection))
        if uncovered < maintenance.writes_between_looks(shape.rows):
            return
        step = maintenance.due_step(shape)
        try:
            if step is not None:
                self._run_step(collection, step, lock, limit_s=COMPACTION_LIMIT_S)
        except (RuntimeError, StoreUnavailable) as error:
            # The rows are written and synced: what failed makes later writes slower, not this one wrong.
            _log.warning("Maintenance (%s) of %s in %s failed: %s", step, collection, self.url, error)
        lock.write_number(self._open(collection).version)

    def _run_step(self, collection: str, step: maintenance.Step, lock: HeldLock, *, limit_s: float) -> None:
        def run() -> None:
            maintenance.run_step(self.folder, collection, self._open(collection), step, lock, limit_s=limit_s)

        retrying(run, refresh=lambda: self._forget(collection))
        self._forget(collection)
        self._sync(collection)
        if step is not maintenance.Step.INDEX_TEXT:
            lock.write_number(self._open(collection).version)

    def _sync(self, collection: str) -> None:
        with self._guard:
            syncer = self._syncers.setdefault(collection, FileSyncer(self._table_folder(collection)))
        syncer.sync()

    def _open(self, collection: str) -> Table:
        """A handle that sees every commit of other processes (consistency interval 0), also a table made anew."""
        self._check_name(collection)
        with self._guard:
            # A handle of a dropped table goes on answering from memory, so the folder is asked.
            if not self._table_folder(collection).is_dir():
                self._tables.pop(collection, None)
                raise missing_collection(collection, self.url)
            if collection not in self._tables:
                mend_torn(self.folder, collection)
                self._tables[collection] = self._connect().open_table(collection)
            return self._tables[collection]

    def _forget(self, collection: str) -> None:
        with self._guard:
            self._tables.pop(collection, None)

    def _connect(self) -> lancedb.DBConnection:
        # Only where the folder exists already: connecting makes it.
        with self._guard:
            if self._connection is None:
                session = lancedb.Session(index_cache_size_bytes=CACHE_BYTES, metadata_cache_size_bytes=CACHE_BYTES)
                self._connection = lancedb.connect(
                    os.fspath(self.folder), read_consistency_interval=timedelta(0), session=session
                )
            return self._connection

    def _table_folder(self, collection: str) -> Path:
        return self.folder / f"{collection}.lance"

    def _check_name(self, collection: str) -> None:
        if not _NAME.fullmatch(collection):
            raise UsageError(
                f"{collection!r} cannot be the name of a collection.",
                next_step="Use ASCII letters, digits, underscores, hyphens and periods.",
            )


def _uncovered_writes(table: Table, lock: HeldLock) -> int:
    # The lock file notes the version at which the index last covered the table; a table made anew starts below it.
    version = table.version
    noted = lock.read_number()
    return version - noted if noted <= version else version
