"""The inbox on a real Dagster: web server, daemon and run workers as processes, some of which are killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.held import lancedb_holds
from dagster_processes import DagsterProcesses, running_dagster
from waiting import wait_until

SAMPLES = Path(__file__).parents[1] / "samples" / "mgit"
COLLECTION = "Inbox"


class Running:
    """A running Dagster with its inbox."""

    def __init__(self, base: Path, dagster: DagsterProcesses) -> None:
        self.base = base
        self.inbox = base / "inbox"
        self.dagster = dagster

    def drop(self, name: str, text: str) -> None:
        """A file, renamed into place."""
        aside = self.inbox / f".{name}.part"
        aside.write_text(text)
        aside.rename(self.inbox / name)

    def write(self, name: str, repository: str, text: str) -> None:
        """A changeset of one document with its content."""
        self.drop(name, json.dumps({"repo": repository, "op": "modify", "path": "a.py", "content": text}) + "\n")

    def runs_of(self, name: str) -> list[dict[str, Any]]:
        """Every Dagster run of a file."""
        return self.dagster.client.runs(**{"elysiactl/inbox_file": name})

    def until_settled(self, *names: str) -> None:
        """Waits until none of the files is left in the inbox."""
        wait_until(
            f"The end of {', '.join(names)}",
            lambda: not any((self.inbox / name).exists() for name in names),
            patience_s=400.0,
        )

    def held(self, column: str) -> dict[str, str]:
        """That property of every object of the collection, by repository and path."""
        held = lancedb_holds(self.base / "state", COLLECTION)
        return {each.properties["file_path"]: each.properties[column] for each in held}

    def ask(self, *words: str) -> Any:
        """What the shell says, as JSON."""
        command = [Path(sys.executable).with_name("elysiactl"), "index", *words, "--json"]
        done = subprocess.run(
            command, env=self.dagster.environment, capture_output=True, text=True, check=True, timeout=120
        )
        return json.loads(done.stdout)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A Dagster whose sensors look every few seconds."""
    for name in ("inbox", "state", "root"):
        (tmp_path / name).mkdir()
    subprocess.run(["bash", SAMPLES / "workspace.sh", tmp_path / "root"], check=True, capture_output=True)
    environment = {
        "ELYSIACTL_CHECKPOINT_DB_DIR": str(tmp_path / "state"),
        "ELYSIACTL_INBOX": str(tmp_path / "inbox"),
        "ELYSIACTL_ROOT": str(tmp_path / "root"),
        "ELYSIACTL_COLLECTION": COLLECTION,
        "ELYSIACTL_INBOX_INTERVAL": "1",
        "ELYSIACTL_INBOX_QUIET": "1",
    }
    with running_dagster(tmp_path / "dagster", environment=environment) as dagster:
        yield Running(tmp_path, dagster)


def test_the_samples_and_a_broken_file(running: Running) -> None:
    """Two runs and one report; dropped again, nothing runs twice; a name that comes too late is set aside."""
    names = ["mgit-0.13.0-embedded.jsonl", "mgit-0.13.0-paths.jsonl"]
    for name in names:
        running.drop(name, (SAMPLES / name).read_text())
    (running.inbox / "broken.jsonl.gz").write_bytes(b"\x1f\x8bbroken")
    running.until_settled(*names, "broken.jsonl.gz")
    expected = json.loads((SAMPLES / "expected.json").read_text())
    wanted = {f"{each['repository']}/{each['path']}": each["sha256"] for each in expected["indexed"]}
    assert running.held("content_hash") == wanted
    assert [run["status"] for name in names for run in running.runs_of(name)] == ["SUCCESS", "SUCCESS"]
    assert running.runs_of("broken.jsonl.gz") == []
    assert "is broken" in (running.inbox / "failed" / "broken.jsonl.gz.reason.txt").read_text()

    for name in names:
        running.drop(name, (SAMPLES / name).read_text())
    running.write("mgit-0.12.9.jsonl", "web", "older than all")
    running.until_settled(*names, "mgit-0.12.9.jsonl")
    told = {each["name"]: each for each in running.ask("inbox")}
    assert {name: each["state"] for name, each in told.items()} == {
        **dict.fromkeys(names, "applied"),
        "broken.jsonl.gz": "refused",
        "mgit-0.12.9.jsonl": "refused",
    }
    assert "It came too late" in told["mgit-0.12.9.jsonl"]["reason"]
    assert "were applied under this name" in told[names[0]]["reason"]
    assert len(running.dagster.client.runs()) == 2, "nothing ran twice"
    said = [tick["skipReason"] or "" for tick in running.dagster.client.sensor("inbox")["ticks"]]
    assert sum("mgit-0.12.9.jsonl is set aside" in each for each in said) == 1


def test_daemon_worker_and_web_server_killed_in_the_middle(running: Running) -> None:
    files = {f"{number}-{repository}.jsonl": repository for number in (1, 2) for repository in ("shop", "till")}
    running.write("1-shop.jsonl", "shop", "1-shop.jsonl")
    (first,) = wait_until("A run", lambda: running.runs_of("1-shop.jsonl"))
    running.dagster.kill_run_worker(first["runId"])
    for name, repository in list(files.items())[1:]:
        running.write(name, repository, name)
    wait_until("A run of another repository", lambda: running.runs_of("1-till.jsonl"))
    running.dagster.kill_daemon()
    running.dagster.kill_webserver()
    running.dagster.start_webserver()
    running.dagster.start_daemon()
    running.until_settled(*files)
    told = {each["name"]: each for each in running.ask("inbox")}
    assert {name: each["state"] for name, each in told.items()} == dict.fromkeys(files, "applied")
    assert told["1-shop.jsonl"]["attempt"] == 2
    assert running.held("content") == {"shop/a.py": "2-shop.jsonl", "till/a.py": "2-till.jsonl"}
    runs = running.ask("status")
    assert len(runs) == len(files)
    assert {run["status"] for run in runs} == {"completed"}
    assert [run["processed_lines"] for run in runs] == [1] * len(files)
    started = [run["started_at"] for name in sorted(files) for run in runs if run["run_id"] == told[name]["run_id"]]
    assert started[0] < started[2], "of one repository the first by name began first"
    assert started[1] < started[3]
