"""Where the commands of a page are run: a small repository, a state of its own, and nothing of the person's."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from pages.blocks import ROOT, Block

from elysia_dagster.settings import DATABASE_NAME

LIMIT_S = 600
"""Seconds after which a block is taken for one that never ends."""

SOURCES = ("sync/batch.py", "sync/upsert.py", "checkpoint/ledger.py", "stores/base.py")

SAMPLES = ROOT / "tests" / "samples" / "mgit"


class Failed(Exception):
    """A block did not end as it should."""


class Sandbox:
    """A folder with a git repository, which is the working directory, synced into a state beside it. ``ws`` below it
    and the changeset are what mgit was recorded from.

    ``$RUN`` is the newest run, ``$ELYSIACTL_INBOX`` a folder for changesets; each block is a shell of its own.
    """

    def __init__(self, base: Path) -> None:
        self.repository = base / "shop"
        self._state, self._home, self._inbox = base / "state", base / "home", base / "inbox"
        for folder in (self.repository, self._state, self._home, self._inbox):
            folder.mkdir(parents=True)
        (self._home / "dagster").mkdir()
        for name in SOURCES:
            shutil.copy(ROOT / "elysia_dagster" / name, self.repository)
        self._shell("git init -q && git add . && git -c user.name=a -c user.email=a@example.invalid commit -qm first")
        shutil.copy(SAMPLES / "mgit-0.13.0-paths.jsonl", self.repository)
        self._shell(f"bash {SAMPLES / 'workspace.sh'} ws")
        done = self._shell("git ls-files | elysiactl index sync --stdin --quiet --collection Demo")
        assert done.returncode == 0, done.stdout

    def run(self, block: Block) -> str:
        """What a block prints. Raises ``Failed``."""
        if block.kind == "sql":
            return self._ask(block)
        done = self._shell(block.commands)
        if done.returncode != block.exit_code:
            raise Failed(f"{block.place} ended with {done.returncode}, not {block.exit_code}:\n{done.stdout[-4000:]}")
        return done.stdout

    def _ask(self, block: Block) -> str:
        with closing(sqlite3.connect(self._state / DATABASE_NAME)) as connection:
            try:
                rows = connection.execute(block.body).fetchall()
            except sqlite3.Error as error:
                raise Failed(f"{block.place}: {error}") from error
        return "\n".join(map(str, rows))

    def _shell(self, commands: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.repository,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(("ELYSIACTL_", "WCD_"))
        }
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self._home),
            "DAGSTER_HOME": str(self._home / "dagster"),
            "ELYSIACTL_CHECKPOINT_DB_DIR": str(self._state),
            "ELYSIACTL_INBOX": str(self._inbox),
            "RUN": self._newest_run(),
        }

    def _newest_run(self) -> str:
        database = self._state / DATABASE_NAME
        if not database.exists():
            return ""
        with closing(sqlite3.connect(database)) as connection:
            found = connection.execute(
                "SELECT run_id FROM sync_runs WHERE NOT dry_run ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        return found[0] if found else ""
