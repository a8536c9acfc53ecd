"""A shell for the tests of the command: a state of its own, the command as a process or as a call, the database."""

import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared_world import LINES
from dagster import DagsterInstance
from damage import Damage
from inbox_world import InboxWorld, MakeWorld
from sync_world import World

from elysia_dagster.cli import run

COMMAND = [sys.executable, "-c", "from elysia_dagster.cli import main; main()"]


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


class Shell:
    """Runs ``elysiactl`` on a state folder and a repository folder of the test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = folder / "state"
        self.repository = folder / "demo"
        self.repository.mkdir()
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._processes: list[subprocess.Popen[str]] = []
        for name in list(os.environ):
            if name.lower().startswith("elysiactl_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(self.state))
        monkeypatch.setenv("ELYSIACTL_COLLECTION", "Demo")
        monkeypatch.chdir(self.repository)

    def call(self, *arguments: str, stdin: bytes | None = None) -> Result:
        """``elysiactl index …`` in this process, which spares the imports."""
        self._capsys.readouterr()
        if stdin is not None:
            buffer = io.BufferedReader(io.BytesIO(stdin))  # type: ignore[arg-type]
            self._monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer, isatty=lambda: False))
        code = run(["index", *arguments])
        out, err = self._capsys.readouterr()
        return Result(code, out, err)

    def run(self, *arguments: str, stdin: bytes = b"", **options: Any) -> Result:
        """``elysiactl index …`` as a process."""
        command = [*COMMAND, "index", *arguments]
        done = subprocess.run(command, check=False, input=stdin, capture_output=True, timeout=120, **options)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """``elysiactl index …`` as a process that goes on beside the test; its streams are pipes of text."""
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen([*COMMAND, "index", *arguments], text=True, **{**pipes, **options})
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Ends what ``start`` began and the test left."""
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def write(self, **texts: str) -> None:
        """Files of the repository; ``a__b_py`` is ``a/b.py``."""
        for name, text in texts.items():
            stem, _, extension = name.replace("__", "/").rpartition("_")
            path = self.repository / f"{stem}.{extension}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What ``sqlite3 sync_checkpoints.db SQL`` gives."""
        connection = sqlite3.connect(self.state / "sync_checkpoints.db")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell in a fresh repository folder ``demo``, with the collection ``Demo`` and a state that is not there yet."""
    made = Shell(tmp_path, monkeypatch, capsys)
    yield made
    made.close()


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorld]:
    """Makes a world with an inbox, with its settings."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        yield lambda **settings: InboxWorld(tmp_path, monkeypatch, instance, **settings)


@pytest.fixture
def damaged(world: World) -> tuple[World, Damage]:
    """A collection of three documents, and who damages it."""
    world.sync(*(each.raw for each in LINES))
    return world, Damage(world.state)
