"""Versions of the schema: a newer one is refused untouched, the migrated one is the declared one, many may open."""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from elysia_dagster.checkpoint import database as database_module
from elysia_dagster.checkpoint import migrations
from elysia_dagster.checkpoint.database import HEAD_REVISION, open_database
from elysia_dagster.checkpoint.schema import metadata
from elysia_dagster.errors import CheckpointError, TransientError, UsageError

OPEN = """
import sys, time
from pathlib import Path
from elysia_dagster.checkpoint.database import open_database
target, ready, go = sys.argv[1:]
Path(ready).touch()
while not Path(go).exists():
    time.sleep(0.005)
database = open_database(target if "://" in target else Path(target))
with database.read() as connection:
    print(connection.exec_driver_sql("SELECT COUNT(*) FROM sync_runs").scalar_one())
database.close()
"""


def test_the_newest_migration_is_the_one_this_program_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(migrations.__path__)))))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD_REVISION]
    revisions = [each.revision for each in script.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True), "they compare as text: a newer database is told by it"


@pytest.mark.parametrize("is_new", [True, False], ids=["created", "migrated"])
def test_the_migrated_schema_is_the_declared_one(
    target: Path | str, is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_is_new", lambda _connection: is_new)
    database = open_database(target)
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            there = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert there == [column.name for column in table.primary_key.columns]
    database.close()


def test_a_newer_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "sync_checkpoints.db"
    open_database(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("CREATE TABLE of_the_future (x)")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"made by a newer version \(schema 9999.*Upgrade elysia_dagster"):
        open_database(path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_opened_by_several_processes_at_once_it_is_made_once(target: Path | str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    ready = [tmp_path / f"ready-{number}" for number in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(target), str(each), str(go)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in ready
    ]
    while not all(each.exists() for each in ready):
        assert all(process.poll() is None for process in processes)
    go.touch()
    told = [process.communicate(timeout=120) for process in processes]
    for process, (out, err) in zip(processes, told, strict=True):
        assert (process.returncode, out.strip()) == (0, "0"), err


def test_a_database_that_another_process_makes_just_now_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not wait by itself where it has to change the mode of a file that somebody is about to write."""
    path = tmp_path / "sync_checkpoints.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError, match="was held by another writer for too long"):
        open_database(path, timeout_s=0.1)
    threading.Timer(0.3, other.execute, ["COMMIT"]).start()
    database = open_database(path, timeout_s=60.0)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()
    other.close()


def test_a_new_database_is_nobody_elses_to_read(tmp_path: Path) -> None:
    path = tmp_path / "sync_checkpoints.db"
    database = open_database(path)
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO sequences VALUES ('x', 1)")
        for each in tmp_path.iterdir():
            assert each.stat().st_mode & 0o777 == 0o600, each.name
    database.close()


def test_connections_are_set_as_the_promises_need(tmp_path: Path) -> None:
    database = open_database(tmp_path / "sync_checkpoints.db", timeout_s=12.5)
    with database.read() as connection:

        def pragma(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 1
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == 12_500
    database.close()


def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path, why in ((tmp_path / "folder", "Is a directory"), (tmp_path / "missing" / "x.db", "No such file")):
        with pytest.raises(CheckpointError, match=f"{path} cannot be opened: {why}"):
            open_database(path)
    (tmp_path / "other.db").write_bytes(os.urandom(8192))
    with pytest.raises(CheckpointError, match="cannot be read: file is not a database"):
        open_database(tmp_path / "other.db")


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/name"])
def test_a_url_that_names_no_driver_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="ELYSIACTL_CHECKPOINT_DB_URL"):
        open_database(url)


@pytest.mark.parametrize("url", ["me:pw@host:port/name", "me:pw@host:99999/name", "me:a@b:word@host/name"])
def test_a_url_with_a_bad_port_is_a_usage_error_that_tells_no_password(url: str) -> None:
    with pytest.raises(UsageError, match="has a port that is no number") as wrong:
        open_database(f"postgresql+psycopg://{url}")
    assert not any(secret in str(wrong.value) for secret in ("pw", "word@"))


@pytest.mark.parametrize("place", ["nosuch.invalid", "127.0.0.1:1"])
def test_a_server_that_is_not_there_may_be_there_later(place: str) -> None:
    with pytest.raises(TransientError, match="does not answer") as away:
        open_database(f"postgresql+psycopg://me:pw@{place}/name")
    assert away.value.exit_code == 3
    assert "pw" not in str(away.value)
