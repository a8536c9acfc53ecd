"""Opening the checkpoint database: connection settings, upgrades, and the two kinds of transaction.

SQLite by default (WAL, ``synchronous=NORMAL``: a power loss may take the last transactions, never the database's shape,
and none that the content of a store rests on, since these are synced; every write in ``BEGIN IMMEDIATE``, so that a
transaction never has to be upgraded half way), PostgreSQL by URL. There too one writer at a time: a transition looks
before it writes, and what it saw must still be so.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from elysia_dagster.checkpoint.schema import metadata
from elysia_dagster.errors import CheckpointError, ResourceExhausted, TransientError, UsageError
from elysia_dagster.exhaustion import exhausted, handles_are_left

HEAD_REVISION = "0004"
"""The migration that this program's schema stands at; a test compares it with the migrations folder."""


_WRITER_LOCK = 0x656C7973
"""The advisory lock of a PostgreSQL database that every write transaction holds."""


class Database:
    """An open checkpoint database. Safe to share between threads, not between processes."""

    def __init__(self, engine: Engine, name: str, timeout_s: float) -> None:
        self.engine = engine
        self.name = name
        self._timeout_s = timeout_s

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """One write transaction; rolled back whole when the block raises.

        ``durable``: it is on the disk when the block has ended, and all that was committed before; for what is said
        before a store is written, which outlives the power of this machine. Else a power loss may take it.

        Raises ``ResourceExhausted`` (disk full) and ``TransientError`` (another writer held it past the time-out).
        """
        with self._translated(), self._writing(durable) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(
                    f"SELECT set_config('lock_timeout', '{int(self._timeout_s * 1000)}', true), "
                    f"pg_advisory_xact_lock({_WRITER_LOCK})"
                )
            yield connection

    def _writing(self, durable: bool) -> Connection:
        return self.engine.connect().execution_options(write=True, durable=durable)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read transaction: a consistent view that holds no writer up."""
        with self._translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def without_transaction(self) -> Iterator[Connection]:
        """A connection for the statements of SQLite that refuse to run inside a transaction."""
        with self._translated(), self.engine.connect().execution_options(no_begin=True) as connection:
            yield connection

    def close(self) -> None:
        """Closes every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise translate(error, self.name) from error


_UNREACHABLE = (
    "connection failed",
    "could not connect",
    "Connection refused",
    "failed to resolve host",
    "could not translate host name",
)
"""What the drivers of PostgreSQL say of a server that is not there, or whose name nobody knows at the moment."""


def translate(error: DBAPIError, name: str) -> Exception:
    """The project's error for a driver's, by its type and message; the error itself where it is none of the known."""
    said = str(error.orig)
    if "database or disk is full" in said or "No space left" in said or "disk I/O error" in said:
        return ResourceExhausted(
            f"The checkpoint database {name} cannot grow: {said}.",
            next_step="Free some disk space, then give the same command again.",
        )
    if "database is locked" in said or "database table is locked" in said or "lock timeout" in said:
        return TransientError(
            f"The checkpoint database {name} was held by another writer for too long.",
            next_step="Give the same command again, or raise ELYSIACTL_SQLITE_TIMEOUT.",
        )
    if "unable to open database file" in said and not handles_are_left():
        return ResourceExhausted(
            f"The checkpoint database {name} cannot be opened: no file handle is left.",
            next_step="Raise the limit (ulimit -n), then give the same command again.",
        )
    if "unable to open database file" in said or "readonly database" in said:
        return CheckpointError(
            f"The checkpoint database {name} cannot be opened for writing: {said}.",
            next_step="Check the folder's owner and mode, or set ELYSIACTL_CHECKPOINT_DB_DIR.",
        )
    if "file is not a database" in said or "disk image is malformed" in said:
        return CheckpointError(
            f"The checkpoint database {name} cannot be read: {said}.",
            next_step="Put back a copy of it, or set ELYSIACTL_CHECKPOINT_DB_DIR to another state.",
        )
    if error.connection_invalidated or any(words in said for words in _UNREACHABLE):
        return TransientError(
            f"The checkpoint database {name} does not answer.", next_step="Start it, then give the same command again."
        )
    return error


def open_database(target: Path | str, *, timeout_s: float = 30.0) -> Database:
    """Opens the database file (``Path``) or server (URL), makes or upgrades its schema, and returns it.

    Raises ``CheckpointError`` for a database that a newer version made, which is left untouched, and ``UsageError`` for
    a URL that names no driver.
    """
    if isinstance(target, Path):
        _make_private(target)
        engine = create_engine(f"sqlite:///{target}", connect_args={"timeout": timeout_s})
        _prepare_sqlite(engine, timeout_s)
        name = str(target)
    else:
        try:
            if not 0 <= (make_url(target).port or 0) <= 65_535:
                raise ValueError
            engine = create_engine(target, pool_pre_ping=True)
        except ValueError:  # says what it took for the port, which may be a part of an unquoted password
            raise UsageError(
                "The database URL of the checkpoint has a port that is no number up to 65535.",
                next_step="Mend ELYSIACTL_CHECKPOINT_DB_URL; an @, : or / in its password is written %40, %3A, %2F.",
            ) from None
        except (ArgumentError, ModuleNotFoundError) as error:  # neither names the password
            raise UsageError(
                f"The database URL of the checkpoint cannot be used: {error}.",
                next_step="Mend ELYSIACTL_CHECKPOINT_DB_URL (postgresql+psycopg://user:password@host/name; "
                "pip install 'elysia_dagster[postgres]').",
            ) from error
        name = make_url(target).render_as_string(hide_password=True)
    database = Database(engine, name, timeout_s)
    try:
        _upgrade(database)
    except BaseException:
        database.close()
        raise
    return database


def _make_private(path: Path) -> None:
    """The file is made with mode 0600 before SQLite opens it; SQLite gives its WAL files the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if known := exhausted(error):
            raise known from error
        raise CheckpointError(
            f"The checkpoint database {path} cannot be opened: {error.strerror}.",
            next_step="Check the folder's owner and mode, or set ELYSIACTL_CHECKPOINT_DB_DIR.",
        ) from error


def _write_ahead(cursor: sqlite3.Cursor, timeout_s: float) -> None:
    """Sees that the database is in WAL mode. Of processes that open a new one at once, one changes it and the others
    are told at once that it is locked: for that change the busy timeout does not hold."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _prepare_sqlite(engine: Engine, timeout_s: float) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction by itself
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(timeout_s * 1000)}")
        _write_ahead(cursor, timeout_s)
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-16000")
        # 16 MB of WAL between checkpoints: a page that every batch changes is copied back a quarter as often
        cursor.execute("PRAGMA wal_autocheckpoint=4000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("no_begin"):
            level = "FULL" if options.get("durable") else "NORMAL"
            if connection.info.setdefault("synchronous", "NORMAL") != level:
                connection.exec_driver_sql(f"PRAGMA synchronous={level}")  # of the connection, which others use again
                connection.info["synchronous"] = level
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("write") else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def _upgrade(database: Database) -> None:
    with database.read() as connection:
        revision = _revision(connection)
    if revision == HEAD_REVISION:
        return
    if revision is not None and revision > HEAD_REVISION:
        raise CheckpointError(
            f"The checkpoint database {database.name} was made by a newer version (schema {revision}; this program "
            f"knows {HEAD_REVISION}). It is untouched.",
            next_step="Upgrade elysia_dagster.",
        )
    with database.write() as connection:
        if _revision(connection) == HEAD_REVISION:
            return  # another process has upgraded it meanwhile
        if _is_new(connection):
            _create(connection)
            return
        from elysia_dagster.checkpoint.migrations.upgrade import upgrade_schema

        upgrade_schema(connection)


def _is_new(connection: Connection) -> bool:
    """Whether there is nothing to migrate."""
    return not set(inspect(connection).get_table_names()) & {"alembic_version", *metadata.tables}


def _create(connection: Connection) -> None:
    """The declared schema in a new database, as the migrations leave an old one (a test compares the two): Alembic
    alone would cost a first sync half a second."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD_REVISION})
