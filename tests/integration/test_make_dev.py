"""``make dev``: what a developer sees, from the first line to Ctrl-C."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster_client import DagsterClient
from dagster_processes import TREE, free_port
from waiting import wait_until

SAMPLE = "mgit-0.13.0-embedded.jsonl"


def of_session(session: int) -> list[int]:
    """Processes of a session that are there, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, _, belongs_to = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(belongs_to) == session and state not in "ZX":
            found.append(int(entry.name))
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A state and an inbox of the test's own; the looks at the inbox are quick."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(TREE),
        "ELYSIACTL_CHECKPOINT_DB_DIR": str(tmp_path / "state"),
        "ELYSIACTL_INBOX": str(tmp_path / "changes" / "inbox"),
        "ELYSIACTL_ROOT": str(tmp_path),
        "ELYSIACTL_COLLECTION": "Developed",
        "ELYSIACTL_INBOX_INTERVAL": "1",
        "ELYSIACTL_INBOX_QUIET": "0",
    }


@pytest.fixture
def development(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """``make dev`` in a session of its own, as a terminal gives it, and its port."""
    port = free_port()
    # the environment of these tests stands for the one that make would install
    command = ["make", "-o", ".venv/installed", "dev", f"BIN={Path(sys.executable).parent}", f"PORT={port}"]
    with open(tmp_path / "errors", "w") as errors:
        process = subprocess.Popen(
            command, cwd=TREE, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    yield process, port
    for pid in of_session(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert process.stdout is not None
    process.stdout.close()


def test_a_file_is_dropped_and_its_text_is_found(
    development: tuple["subprocess.Popen[str]", int], environment: dict[str, str], tmp_path: Path
) -> None:
    process, port = development
    assert process.stdout is not None
    assert process.stdout.readline() == f"Dagster's web server: http://127.0.0.1:{port}\n"
    assert process.stdout.readline() == f"Inbox: {tmp_path / 'changes' / 'inbox'}\n"
    inbox = Path(environment["ELYSIACTL_INBOX"])
    assert inbox.is_dir()
    shutil.copy(TREE / "tests" / "samples" / "mgit" / SAMPLE, inbox)
    client = DagsterClient(f"http://127.0.0.1:{port}")
    wait_until("The web server", client.answers)
    (run,) = wait_until("A run of the file", client.runs)
    assert client.wait(run["runId"]) == "SUCCESS"
    found = subprocess.run(
        [Path(sys.executable).with_name("elysiactl"), "index", "search", "sum the prices of an invoice"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert "billing/total.py" in found.stdout

    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    wait_until("The end of all that make dev started", lambda: not of_session(process.pid))
