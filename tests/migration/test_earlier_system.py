"""A database of the earlier system is upgraded where it stands: no row is lost, and people's queries still work."""

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.exc import OperationalError
from sync_world import RecordingStore, World, sha256

from elysia_dagster.checkpoint import queries, runs
from elysia_dagster.checkpoint.database import HEAD_REVISION, open_database
from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.errors import UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.settings import DATABASE_NAME
from elysia_dagster.sync.cleanup import cleanup_checkpoints
from elysia_dagster.sync.resume import resume_run


@pytest.fixture(scope="module")
def earlier() -> ModuleType:
    """The earlier system's schema and rows."""
    place = Path(__file__).with_name("earlier_system.py")
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(earlier: ModuleType, tmp_path: Path) -> Path:
    """A database of the earlier system, in a state folder."""
    place = tmp_path / "state" / DATABASE_NAME
    place.parent.mkdir()
    earlier.make(place)
    return place


@pytest.fixture
def upgraded(path: Path, tmp_path: Path) -> Iterator[World]:
    """A world on that state."""
    with World(tmp_path, store=RecordingStore()) as world:
        yield world


def test_every_row_is_there_and_every_query_answers_the_same(earlier: ModuleType, path: Path) -> None:
    before = earlier.ask(path)
    assert [len(rows) for rows in before] == [3, 5, 1, 2, 1, 2, 1]
    open_database(path).close()
    assert earlier.ask(path) == before
    open_database(path).close()
    assert earlier.ask(path) == before, "nor does a second start change anything"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD_REVISION,)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_columns_and_indexes_are_those_of_a_new_database(path: Path, tmp_path: Path) -> None:
    open_database(path).close()
    fresh = tmp_path / "fresh.db"
    open_database(fresh).close()

    def shape(database: Path) -> dict[str, object]:
        with closing(sqlite3.connect(database)) as connection:
            names = connection.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2").fetchall()
            columns = {
                name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                for kind, name, _ in names
                if kind == "table"
            }
            return {"names": names, "columns": columns}

    assert shape(path) == shape(fresh)
    assert {"sync_runs", "completed_lines", "failed_lines", "documents"} <= set(shape(path)["columns"])  # type: ignore[call-overload]


def test_the_run_left_running_is_shown_can_be_given_up_and_is_not_resumed(earlier: ModuleType, upgraded: World) -> None:
    database = upgraded.engine.database
    assert [run.run_id for run in queries.list_runs(database)].count(earlier.STOPPED) == 1
    assert queries.unfinished_runs(database) == []
    assert queries.runs_with_failures(database) == []
    with pytest.raises(UsageError):
        resume_run(upgraded.engine, earlier.STOPPED)
    with pytest.raises(UsageError, match="made by an earlier version"), upgraded.engine.work_on(earlier.STOPPED):
        pass
    assert runs.abandon_run(database, earlier.STOPPED, this_host()).status is RunStatus.CANCELED


def test_failed_lines_and_summary_count_them(earlier: ModuleType, upgraded: World) -> None:
    [row] = queries.failed_lines_of(upgraded.engine.database)
    assert (row["run_id"], row["line_number"], row["stale"]) == (earlier.FINISHED, 3, False)
    summary = queries.summarize(upgraded.engine.database)
    assert (summary["total_runs"], summary["total_success"], summary["total_errors"]) == (3, 5, 1)
    assert queries.count_outcomes(upgraded.engine.database, earlier.FINISHED) == {"unknown": 3}


def test_a_new_sync_runs_beside_the_old_rows(earlier: ModuleType, path: Path, upgraded: World) -> None:
    before = earlier.ask(path)
    run = upgraded.sync({"repo": "r1", "op": "modify", "path": "src/c.py", "content": "c = 1\n"})
    assert run.status is RunStatus.COMPLETED
    assert upgraded.held() == {"r1/src/c.py": sha256("c = 1\n")}
    after = earlier.ask(path)
    assert set(before[0]) < set(after[0])
    assert set(before[1]) < set(after[1])
    assert after[2] == before[2]


def test_cleanup_takes_old_runs_and_leaves_the_unfinished_one(earlier: ModuleType, upgraded: World) -> None:
    report = cleanup_checkpoints(upgraded.engine, keep_days=7)
    assert set(report.runs) == {earlier.FINISHED, earlier.DRY}
    assert (report.completed_lines, report.failed_lines) == (3, 1)
    assert [run.run_id for run in queries.list_runs(upgraded.engine.database)] == [earlier.STOPPED]


def test_an_upgrade_that_fails_leaves_everything_as_it_was(earlier: ModuleType, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE dagster_steps (somebody TEXT)")  # the last table of the last migration
    before = earlier.ask(path)
    with pytest.raises(OperationalError, match="dagster_steps already exists"):
        open_database(path)
    assert earlier.ask(path) == before
    with closing(sqlite3.connect(path)) as connection, connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {"sync_runs", "completed_lines", "failed_lines", "dagster_steps"}
        connection.execute("DROP TABLE dagster_steps")
    open_database(path).close()
    assert earlier.ask(path) == before
