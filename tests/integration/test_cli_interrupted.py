"""SIGINT and SIGTERM: what is settled stays settled, and the run goes on from there."""

import io
import json
import os
import pty
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest

from elysia_dagster.errors import Interrupted
from elysia_dagster.settings import Settings
from elysia_dagster.sync.drive import carry_out, sync
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.request import SyncRequest

LINES = 1_500


def wait_for(stream: IO[str], words: str) -> str:
    """Everything up to the first line that holds ``words``."""
    seen = ""
    for line in stream:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} never came: {seen}")


def changeset(folder: Path) -> Path:
    path = folder / "changes.jsonl"
    with open(path, "w") as file:
        for number in range(LINES):
            record = {
                "repo": f"service-{number % 3}",
                "path": f"m{number}.py",
                "content": f"value_{number} = {number}\n",
            }
            file.write(json.dumps({**record, "op": "modify"}) + "\n")
    return path


def interrupt_after_a_batch(shell: Any, path: Path, number: signal.Signals) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = shell.start("sync", str(path), "--batch-size", "50", "--verbose")
    wait_for(process.stderr, "batch 1:")
    process.send_signal(signal.SIGSTOP)
    assert "running" in shell.call("status").out, "status works while a run writes"
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_is_interrupted_between_batches_and_resumed(shell: Any, tmp_path: Path, number: signal.Signals) -> None:
    path = changeset(tmp_path)
    process = interrupt_after_a_batch(shell, path, number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert "Stopping after the batch in hand" in err
    ((run_id, status, settled),) = shell.query("SELECT run_id, status, processed_lines FROM sync_runs")
    assert f"elysiactl index resume --run-id {run_id}" in err
    assert status == "running"
    assert 0 < settled < LINES
    assert shell.query("SELECT COUNT(*) FROM completed_lines") == [(settled,)]
    assert "waits to be resumed" in shell.call("status").out
    shown = shell.call("status", "--run-id", run_id).out
    assert "was interrupted" in shown
    assert f"elysiactl index resume --run-id {run_id}" in shown
    path.unlink()
    resumed = shell.call("resume", "--json")
    assert resumed.code == 0, resumed.err
    (report,) = json.loads(resumed.out)["runs"]
    assert (report["run_id"], report["resumed"], report["objects"]) == (run_id, True, LINES)
    assert shell.query("SELECT status, success_count FROM sync_runs") == [("completed", LINES)]
    nothing = shell.call("resume")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no unfinished run" in nothing.err


def test_the_same_command_again_resumes(shell: Any, tmp_path: Path) -> None:
    path = changeset(tmp_path)
    interrupt_after_a_batch(shell, path, signal.SIGINT).communicate(timeout=60)
    again = shell.call("sync", str(path), "--batch-size", "50")
    assert again.code == 0
    assert again.out.startswith("Resumed run sync-")
    assert shell.query("SELECT COUNT(*), MIN(status) FROM sync_runs") == [(1, "completed")]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_same_command_again_ends_with_the_files_as_they_are_now(shell: Any, as_json: bool) -> None:
    """One line is settled and one embedded when the first process ends; both files change before the next."""
    shell.write(a_py="yesterdaya = 1\n", b_py="yesterdayb = 1\n", c_py="same = 1\n")
    lines = b"a.py\nb.py\nc.py\n"
    passed: list[str] = []
    stop = {"faults": passed.append, "stop_requested": lambda: "settled" in passed}
    with closing(Engine.open(Settings.from_environment(), **stop)) as engine:
        request = SyncRequest(changeset=None, collection="Demo", roots=(shell.repository,), batch_size=1)
        manifest = sync(engine, request, io.BufferedReader(io.BytesIO(lines)))
        with pytest.raises(Interrupted):
            carry_out(engine, manifest, lambda *_: None)
    shell.write(a_py="tonighta = 1\n", b_py="tonightb = 1\n")
    again = shell.call("sync", "--stdin", *(["--json"] if as_json else []), stdin=lines)
    assert again.code == 0, again.err
    assert f"of run {manifest.run_id} had been settled before this start" in again.err
    if as_json:
        report = json.loads(again.out)
        assert (report["run_id"], report["resumed"]) == (manifest.run_id, True)
        assert report["settled_before"] >= 1
        assert report["applied_again"]["resumed"] is False
        assert report["applied_again"]["outcomes"]["unchanged"] >= 1
    else:
        assert again.out.startswith(f"Resumed run {manifest.run_id}.")
        assert again.out.count(" completed: 3 lines") == 2
    for name in "ab":
        hits = json.loads(shell.call("search", f"tonight{name}", "--mode", "text", "--json").out)
        assert [hit["text"] for hit in hits] == [f"tonight{name} = 1\n"]
        assert json.loads(shell.call("search", f"yesterday{name}", "--mode", "text", "--json").out) == []
    assert shell.query("SELECT status FROM sync_runs") == [("completed",)] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_of_the_pipe_leaves_nothing_to_resume(shell: Any, number: signal.Signals) -> None:
    process = shell.start("sync", "--stdin", "--verbose")
    process.stdin.write("read.py\n")
    process.stdin.flush()
    wait_for(process.stderr, "Reading standard input")
    while not list(shell.state.glob("work/.incoming-*/*")):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    err = process.stderr.read()
    assert "before the input was read whole" in err
    assert "Traceback" not in err
    assert shell.query("SELECT * FROM sync_runs") == []
    assert list((shell.state / "work").iterdir()) == []


def test_the_second_signal_ends_at_once(shell: Any, tmp_path: Path) -> None:
    process = shell.start("sync", str(changeset(tmp_path)), "--batch-size", str(LINES), "--verbose")
    wait_for(process.stderr, "Run sync-")
    process.send_signal(signal.SIGINT)
    wait_for(process.stderr, "Stopping after")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    resumed = shell.call("resume", "--json")
    assert json.loads(resumed.out)["runs"][0]["objects"] == LINES, "not even a kill loses a line"


def test_a_bar_on_a_terminal(shell: Any, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = shell.start("sync", str(changeset(tmp_path)), stderr=terminal, env={**os.environ, "COLUMNS": "110"})
    os.close(terminal)
    shown = read_until(controller, b"")
    out, _ = process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == 0
    for words in (b"planning", b"syncing", b"1,500/1,500", b"0 failed", b"lines/s"):
        assert words in shown
    assert "completed: 1,500 lines" in out


def test_the_second_signal_on_a_terminal_leaves_it_its_cursor(shell: Any, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = shell.start("sync", str(changeset(tmp_path)), "--batch-size", str(LINES), stderr=terminal)
    os.close(terminal)
    shown = read_until(controller, b"syncing")
    process.send_signal(signal.SIGINT)
    shown += read_until(controller, b"Stopping after")
    process.send_signal(signal.SIGINT)
    shown += read_until(controller, b"")
    process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == -signal.SIGINT
    assert shown.rindex(b"\033[?25h") > shown.rindex(b"\033[?25l")


def read_until(controller: int, words: bytes) -> bytes:
    """What a terminal was shown until ``words`` came; until nobody writes to it any more, where these are ''."""
    shown = b""
    while not words or words not in shown:
        try:
            block = os.read(controller, 65536)
        except OSError:  # Linux says EIO when the last process has left a terminal
            block = b""
        if not block:
            assert not words, f"{words!r} never came: {shown!r}"
            break
        shown += block
    return shown
