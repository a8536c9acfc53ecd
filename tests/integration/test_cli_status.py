"""``index status`` and ``failed``, ``abandon``, ``cleanup``, ``forget`` and ``where``: what people ask, and keep."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elysia_dagster import settings
from elysia_dagster.checkpoint.schema import failed_lines, sync_runs

HEAVY = (
    "dagster",
    "lancedb",
    "lance",
    "weaviate",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "numpy",
    "alembic",
    "tree_sitter",
)


def sync_some(shell: Any) -> str:
    """A run with a completed line, two failed ones and a changeset record; its id."""
    shell.write(read_py="def read():\n    return 1\n")
    record = b'{"repo": "demo", "new_changeset": {"commit": "0123456789abcdef", "branch": "main"}}\n'
    assert shell.call("sync", "--stdin", stdin=b"read.py\nlate.py\n{broken\n" + record).code == 1
    return str(shell.query("SELECT run_id FROM sync_runs")[0][0])


def test_without_a_database_nothing_is_made(shell: Any) -> None:
    for arguments in (["status"], ["status", "--summary"], ["status", "--failed"], ["failed"]):
        done = shell.call(*arguments)
        assert done.code == 0
        assert done.out.startswith(f"No runs yet in {shell.state}."), "a folder that was not meant can be seen"
    assert json.loads(shell.call("status", "--json").out) == []
    assert shell.call("status", "--run-id", "sync-1").code == 2
    assert not shell.state.exists()


def test_status_imports_no_store_and_no_dagster(shell: Any) -> None:
    sync_some(shell)
    script = (
        "import sys; from elysia_dagster.cli import run; "
        "codes = [run(['index', 'status', *more]) for more in ([], ['--summary'], ['--failed'])]; "
        f"print(codes, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[0, 0, 0] []"


def test_the_table_of_runs(shell: Any) -> None:
    run_id = sync_some(shell)
    header, _, row = shell.call("status").out.splitlines()
    for name in ("run", "started (UTC)", "status", "collection", "lines", "ok", "failed", "source"):
        assert name in header
    cells = row.split()
    assert [cells[0], cells[1], *cells[4:]] == [run_id, "failed", "Demo", "4/4", "2", "2", "<stdin>"]


def test_one_run_in_full(shell: Any) -> None:
    run_id = sync_some(shell)
    shown = shell.call("status", "--run-id", run_id).out
    for words in (
        "4 of 4 settled: 2 completed, 2 failed",
        "1 changeset, 1 indexed",
        "late.py",
        "demo",
        str(shell.state),
    ):
        assert words in shown
    assert f"next         elysiactl index retry --run-id {run_id}\n" in shown
    stored = json.loads(shell.call("status", "--run-id", run_id, "--json").out)
    assert stored["outcomes"] == {"indexed": 1, "changeset": 1}
    assert stored["repositories"] == ["demo"]
    assert [row["line_number"] for row in stored["failures"]] == [2, 3]
    assert stored["next_command"] == f"elysiactl index retry --run-id {run_id}"


def test_json_gives_the_stored_columns(shell: Any) -> None:
    run_id = sync_some(shell)
    (run,) = json.loads(shell.call("status", "--json").out)
    assert set(run) == {*sync_runs.columns.keys(), "holder"}
    assert (run["run_id"], run["status"], run["success_count"], run["error_count"]) == (run_id, "failed", 2, 2)
    for arguments in (["failed"], ["status", "--failed"], ["failed", "--run-id", run_id]):
        rows = json.loads(shell.call(*arguments, "--json").out)
        assert [row["error_kind"] for row in rows] == ["retryable", "permanent"]
        assert set(rows[0]) == {*failed_lines.columns.keys(), "stale"}


def test_the_failed_lines(shell: Any) -> None:
    run_id = sync_some(shell)
    shown = shell.call("failed")
    header, _, first, second = shown.out.splitlines()
    for name in ("line", "path", "reason", "kind", "retries", "next try (UTC)", "stale"):
        assert name in header
    assert "demo/late.py" in first
    assert "retryable" in first
    assert "permanent" in second
    assert "elysiactl index retry" in shown.err
    assert shell.call("status", "--failed", "--run-id", run_id).code == 0


def test_a_document_whose_newest_change_failed_is_stale(shell: Any) -> None:
    sync_some(shell)
    (shell.repository / "read.py").unlink()
    shell.call("sync", "--stdin", stdin=b"read.py\n")
    rows = json.loads(shell.call("failed", "--json").out)
    assert [(row["file_path"], row["stale"]) for row in rows if row["file_path"] == "read.py"] == [("read.py", True)]


def test_the_summary(shell: Any) -> None:
    sync_some(shell)
    shown = shell.call("status", "--summary").out
    assert "1 run: 0 running, 0 completed, 1 failed, 0 canceled" in shown
    assert "2 lines completed, 2 failed" in shown
    assert "hashing-" in shown
    stored = json.loads(shell.call("status", "--summary", "--json").out)
    assert stored["total_runs"] == 1
    (collection,) = stored["collections"]
    assert (collection["name"], collection["documents"]) == ("Demo", 1)
    assert stored["repositories"] == [], "a commit waits until its repository's lines are all completed"
    shell.write(late_py="x = 1\n")
    shell.call("sync", "--stdin", stdin=b'{"repo": "demo", "new_changeset": {"commit": "0123456789abcdef"}}\n')
    shown = shell.call("status", "--summary").out
    assert "0123456789ab" in shown
    assert "incomplete" in shown


def test_the_database_answers_sqlite3_as_typed(shell: Any) -> None:
    run_id = sync_some(shell)
    database = "sync_checkpoints.db"
    by_repository = "SELECT repository, COUNT(*) FROM completed_lines GROUP BY repository;"
    changesets = "SELECT run_id, changeset_info FROM sync_runs WHERE changeset_info IS NOT NULL;"
    assert shell.query(by_repository) == [("demo", 2)]
    ((found, info),) = shell.query(changesets)
    assert found == run_id
    assert json.loads(info)["demo"]["commit"] == "0123456789abcdef"
    tables = {name for (name,) in shell.query("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables >= {"sync_runs", "completed_lines", "failed_lines", "collections", "documents"}
    if program := shutil.which("sqlite3"):
        for command in (by_repository, changesets, ".tables"):
            done = subprocess.run(
                [program, database, command], cwd=shell.state, check=True, capture_output=True, text=True
            )
            assert "demo" in done.stdout or "sync_runs" in done.stdout


def test_status_while_another_process_writes(shell: Any) -> None:
    sync_some(shell)
    writer = sqlite3.connect(shell.state / "sync_checkpoints.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE sync_runs SET status = 'canceled'")
    try:
        assert json.loads(shell.call("status", "--json").out)[0]["status"] == "failed"
    finally:
        writer.execute("ROLLBACK")
        writer.close()


def unfinished_run(shell: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that was opened and then could not be worked on; its id."""
    from elysia_dagster.embedders.hashing import HashingEmbedder
    from elysia_dagster.errors import EmbedderUnavailable

    def away(_self: HashingEmbedder) -> None:
        raise EmbedderUnavailable("The embedder is away.")

    with monkeypatch.context() as patch:
        patch.setattr(HashingEmbedder, "check", away)
        assert shell.call("sync", "--stdin", stdin=b"read.py\n").code == 3
    return str(shell.query("SELECT run_id FROM sync_runs WHERE status = 'running'")[0][0])


def test_abandon(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write(read_py="x = 1\n")
    run_id = unfinished_run(shell, monkeypatch)
    done = shell.call("abandon", "--run-id", run_id)
    assert done.code == 0
    assert done.out == f"Run {run_id} is given up; 0 of its 1 lines were settled.\n"
    assert shell.query("SELECT status FROM sync_runs") == [("canceled",)]
    assert list((shell.state / "work").iterdir()) == []
    assert shell.call("abandon", "--run-id", run_id).code == 2
    assert shell.call("retry", "--run-id", run_id).code == 0
    assert shell.call("resume", "--run-id", run_id).code == 2
    assert shell.call("sync", "--stdin", stdin=b"read.py\n").out.startswith("Run sync-"), "the same bytes begin anew"


def test_cleanup_drops_old_finished_runs_only(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = sync_some(shell)
    waiting = unfinished_run(shell, monkeypatch)
    assert shell.call("cleanup").out.startswith("Dropped 0 runs that ended more than 7 days ago")
    done = shell.call("cleanup", "--keep-days", "0", "--verbose")
    assert done.code == 0
    assert "Dropped 1 run that ended more than 0 days ago, with 2 completed lines and 2 failed lines" in done.out
    assert finished in done.err
    assert shell.query("SELECT run_id FROM sync_runs") == [(waiting,)]
    assert [path.name for path in (shell.state / "work").iterdir()] == [waiting]
    assert shell.query("SELECT COUNT(*) FROM documents") == [(1,)]


@pytest.mark.parametrize("days", ["nan", "inf", "-1", "36501", "1e12", "week"])
def test_a_time_that_never_was_is_a_usage_error(days: str, shell: Any) -> None:
    done = shell.call("cleanup", "--keep-days", days)
    assert done.code == 2
    assert "--keep-days" in done.err


def test_a_forgotten_collection_begins_anew(shell: Any) -> None:
    shell.write(read_py="x = 1\n")
    shell.call("sync", "--stdin", stdin=b"read.py\n")
    shutil.rmtree(shell.state / "vectors")
    lost = shell.call("sync", "--stdin", stdin=b"read.py\n")
    assert lost.code == 2
    assert "elysiactl index forget --collection Demo" in lost.err
    forgot = shell.call("forget", "--collection", "Demo", "--yes")
    assert (forgot.code, forgot.err) == (0, "")
    assert json.loads(shell.call("sync", "--stdin", "--json", stdin=b"read.py\n").out)["outcomes"] == {"indexed": 1}


def test_where_tells_the_inbox_and_makes_none(shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ELYSIACTL_INBOX", raising=False)
    assert shell.call("where", "--inbox").out == f"{shell.state / 'inbox'}\n"
    monkeypatch.setenv("ELYSIACTL_INBOX", str(tmp_path / "drops"))
    assert shell.call("where", "--inbox").out == f"{tmp_path / 'drops'}\n"
    assert not (shell.state / "inbox").exists()
    assert not (tmp_path / "drops").exists()


def test_where_falls_back_and_says_so(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell.call("where").out == f"{shell.state}\n"
    monkeypatch.delenv("ELYSIACTL_CHECKPOINT_DB_DIR")
    monkeypatch.setattr(settings, "SYSTEM_STATE_FOLDER", tmp_path / "missing" / "elysiactl")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert shell.call("status").out.startswith("No runs yet")
    assert not (tmp_path / "home").exists()
    done = shell.call("where")
    assert done.out == f"{tmp_path / 'home' / '.local' / 'state' / 'elysiactl'}\n"
    assert "cannot be written" in done.err
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    shell.write(read_py="x = 1\n")
    synced = shell.call("sync", "--stdin", stdin=b"read.py\n")
    assert synced.code == 0
    assert f"State is kept in {tmp_path / 'xdg' / 'elysiactl'}, since " in synced.err
    assert "completed" in shell.call("status").out, "status looks where sync keeps"
    (tmp_path / "missing").mkdir()
    assert shell.call("where").out == f"{tmp_path / 'missing' / 'elysiactl'}\n", "made where it can be made"
