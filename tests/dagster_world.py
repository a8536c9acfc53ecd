"""A repository, a changeset of it, a state folder and a Dagster instance, all in one temporary folder."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elysia_dagster.embedders import open_embedder
from elysia_dagster.models import object_id
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.sync.batch import write_hash
from elysia_dagster.sync.chunk import CHUNKER_ID, chunk_text
from elysia_dagster.sync.drive import carry_out
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.resume import resume_run

DRIVER = Path(__file__).parent / "crash" / "dagster_driver.py"
COLLECTION = "Demo"
BATCH_SIZE = 5
DOCUMENTS = 30
DELETED = "gone.py"
EMBEDDED_BATCHES = 6
"""30 documents in batches of 5; the deletion makes a batch without vectors, the blank line needs none."""


class World:
    """What a test of the job needs. ``monkeypatch`` gives this process the same environment as its children get."""

    def __init__(self, base: Path, monkeypatch: Any) -> None:
        self.base = base
        self.home = base / "home"
        self.state = base / "state"
        self.source = base / "source"
        self.changeset = base / "changeset.jsonl"
        self.points = base / "points"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(
            "telemetry:\n  enabled: false\ncode_servers:\n  wait_for_local_processes_on_shutdown: true\n"
        )
        (self.source / "repo").mkdir(parents=True)
        self.points.touch()
        self.documents = {f"part{n % 3}/module{n}.py": _text_of(n) for n in range(DOCUMENTS)}
        for path, text in self.documents.items():
            place = self.source / "repo" / path
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
        self.write_changeset([{"path": path, "op": "modify", "repo": "repo"} for path in self.documents])
        self.environment = {
            "DAGSTER_HOME": str(self.home),
            "ELYSIACTL_CHECKPOINT_DB_DIR": str(self.state),
            "POINTS": str(self.points),
            # the same package as this process imports, where that is not the installed one
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        }
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def write_changeset(self, records: list[dict[str, Any]]) -> None:
        """The records, a deletion of what never was, and a blank line."""
        lines = [json.dumps(each) for each in [*records, {"path": DELETED, "op": "delete", "repo": "repo"}]]
        self.changeset.write_text("\n".join([*lines, "", ""]))

    def run_config(self, **read: Any) -> dict[str, Any]:
        """Applies the changeset; ``read`` changes the config of ``read_changeset``."""
        config = {
            "changeset": str(self.changeset),
            "collection": COLLECTION,
            "root": [str(self.source)],
            "batch_size": BATCH_SIZE,
            **read,
        }
        return {"ops": {"read_changeset": {"config": {k: v for k, v in config.items() if v is not None}}}}

    def drive(self, fault: str = "", **arguments: Any) -> "subprocess.CompletedProcess[str]":
        """Runs the driver script in a process of its own."""
        return subprocess.run(
            [sys.executable, str(DRIVER), json.dumps(arguments)],
            env={**self.environment, "FAULT": fault},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def snapshot(self) -> Callable[[], None]:
        """Keeps everything as it is; the function that is returned brings it back, at the same place."""
        kept = self.base.with_name(self.base.name + "-kept")
        shutil.copytree(self.base, kept)

        def restore() -> None:
            shutil.rmtree(self.base)
            shutil.copytree(kept, self.base)

        return restore

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the checkpoint database answers."""
        database = self.state / "sync_checkpoints.db"
        if not database.exists():
            return []
        connection = sqlite3.connect(database)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def the_run(self) -> str:
        """The one sync run that there is."""
        ((run_id,),) = self.rows("SELECT run_id FROM sync_runs")
        return str(run_id)

    def count(self, point: str) -> int:
        """How often any process passed a fault point."""
        return Counter(line.split()[0] for line in self.points.read_text().splitlines())[point]

    def keepers(self) -> set[tuple[int, int]]:
        """(process, keeper) of every point passed."""
        fields = (line.split() for line in self.points.read_text().splitlines())
        return {(int(pid), int(keeper)) for _, pid, keeper in fields}

    def renamed(self) -> int:
        """Batch files that lie whole in the run's folder."""
        return len(list((self.state / "work" / self.the_run()).glob("batch-*.arrow")))

    def resume_by_shell(self) -> SyncReport:
        """Goes on with the one run as ``elysiactl index resume`` does."""
        engine = Engine.open(Settings.from_environment(), faults=self._write_down)
        try:
            report = carry_out(engine, resume_run(engine, self.the_run()), lambda _work, _report: None)
        finally:
            engine.close()
        assert isinstance(report, SyncReport)
        return report

    def _write_down(self, point: str) -> None:
        with self.points.open("a") as file:
            file.write(f"{point} {os.getpid()} {os.getpid()}\n")

    def held(self) -> dict[str, tuple[str, str]]:
        """What the collection holds: by object id its content hash and write hash."""
        store = open_store(f"lancedb:{self.state / 'vectors'}")
        try:
            if store.describe(COLLECTION) is None:
                return {}
            found = list(store.scan(COLLECTION))
        finally:
            store.close()
        assert len(found) == len({each.id for each in found}), "an object is there twice"
        return {each.id: (each.content_hash, each.write_hash) for each in found}

    def truth(self) -> dict[str, tuple[str, str]]:
        """What the collection should hold, by the files themselves."""
        embedder = open_embedder("hashing")
        wanted = {}
        for path, text in self.documents.items():
            content_hash = hashlib.sha256(text.encode()).hexdigest()
            chunks = chunk_text(text, path)
            vectors = embedder.embed([chunk.text for chunk in chunks])
            for chunk, vector in zip(chunks, vectors, strict=True):
                wanted[object_id(COLLECTION, "repo", path, chunk.index)] = (
                    content_hash,
                    write_hash(
                        chunk.text, vector, model_id=embedder.model_id, chunker=CHUNKER_ID, content_hash=content_hash
                    ),
                )
        return wanted

    def assert_applied(self) -> None:
        """One run, completed; every line settled once; true counters; the collection is the truth."""
        lines = DOCUMENTS + 2
        counts = self.rows(
            "SELECT status, total_lines, processed_lines, success_count, error_count, lease_owner FROM sync_runs"
        )
        assert counts == [("completed", lines, lines, lines, 0, None)], counts
        settled = self.rows("SELECT line_number FROM completed_lines ORDER BY line_number")
        assert settled == [(number,) for number in range(1, lines + 1)]
        assert self.rows("SELECT * FROM failed_lines") == []
        assert self.rows("SELECT * FROM repository_claims") == []
        assert self.rows("SELECT * FROM documents WHERE state IN ('writing', 'suspect')") == []
        assert self.held() == self.truth()


def was_killed(finished: "subprocess.CompletedProcess[str]") -> bool:
    """Whether the process ended by SIGKILL."""
    return finished.returncode == -signal.SIGKILL


def _text_of(number: int) -> str:
    functions = [
        f'def settle_{number}_{each}(lines):\n    """Settles part {each}."""\n'
        + "".join(f"    total_{step} = lines[{step}] + {number * step}\n" for step in range(12))
        + "    return total_0\n\n\n"
        for each in range(1 + number % 3 * 4)
    ]
    return "".join(functions)
