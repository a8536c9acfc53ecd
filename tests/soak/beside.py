"""Many processes at once on one checkpoint and one collection, none of them killed.

Eight syncs of disjoint repositories begin at once; until the last of them ends, four readers of the status, a cleanup
(which drops an old run and vacuums), a reconcile and the store's maintenance are started again and again beside them.
Run as a module: ``ROUNDS`` plays on SQLite, and on PostgreSQL where that is installed.
"""

import os
import secrets
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import postgres_server
from crash.oracle import COLLECTION, Line
from crash.scenario import record, write_changeset
from crash.zygote import Child, Zygote
from soak.audit import Findings, audit
from soak.changesets import Draw, Truth
from soak.play import SCRIPT
from sqlalchemy import create_engine, insert, select

from elysia_dagster.checkpoint.schema import metadata
from elysia_dagster.settings import DATABASE_NAME

SYNCS = 8
BESIDE = ("status",) * 4 + ("cleanup", "reconcile", "maintain")
OLD = "2000-01-01T00:00:00.000000+00:00"
PAUSE_S = 0.5
"""From the start of a process beside the syncs to the next of its kind, at least: else they would take all there is."""

AGE = f"UPDATE sync_runs SET completed_at = '{OLD}'"


class Beside:
    """One play in ``base``; ``url`` is the checkpoint database's, '' for SQLite in the state folder."""

    def __init__(self, base: Path, zygote: Zygote, *, seed: str, lines: int, url: str = "") -> None:
        self.base = base
        self.state = base / "state"
        self.root = base / "root"
        self.url = url
        self.ended: Counter[str] = Counter()
        self._zygote = zygote
        self._children = 0
        chance = Random(f"beside/{seed}")
        draw = Draw(chance, lines)
        names = [f"repo{number}" for number in range(SYNCS)]
        self.first: list[Line] = [draw.put(name) for name in names for _ in range(3)]
        self.input: list[list[Line]] = []
        for name in names:
            ways: list[Callable[[str], Line]] = [draw.put, draw.put, draw.put_again, draw.remove, draw.bad, draw.blank]
            self.input.append([chance.choice(ways)(name) for _ in range(lines)] + [record(name, f"{name}-1")])

    def play(self) -> Findings:
        """Applies the first changeset, makes its run old, and lets all loose; what is wrong in the end."""
        self.root.mkdir(parents=True)
        findings = Findings()
        self._judge("first sync", *self._sync("first", self.first), findings)
        self._make_old()
        syncs = {f"sync {n}": self._sync(f"changeset-{n}", lines) for n, lines in enumerate(self.input)}
        beside = {n: (role, *self._beside(role), time.monotonic()) for n, role in enumerate(BESIDE)}
        while syncs:
            time.sleep(0.02)
            for name in [name for name, (child, _) in syncs.items() if self._has_ended(child)]:
                self._judge(name, *syncs.pop(name), findings)
            for number, (role, child, output, began) in beside.items():
                if self._has_ended(child) and time.monotonic() > began + PAUSE_S:
                    self._judge(role, child, output, findings)
                    beside[number] = (role, *self._beside(role), time.monotonic())
        for role, child, output, _ in beside.values():
            self._judge(role, child, output, findings)
        self._judge("cleanup", *self._beside("cleanup"), findings)
        self._judge("reconcile", *self._beside("reconcile"), findings)
        self._compare(findings)
        return findings

    def _has_ended(self, child: Child) -> bool:
        return not self._zygote.ask({"lives": child.pid})["lives"]

    def _sync(self, name: str, lines: list[Line]) -> tuple[Child, Path]:
        place = write_changeset(self.base / f"{name}.jsonl", lines)
        options = ["--collection", COLLECTION, "--root", str(self.root), "--batch-size", "4"]
        return self._start("cli", argv=["index", "sync", str(place), *options])

    def _beside(self, role: str) -> tuple[Child, Path]:
        if role == "maintain":
            return self._start("maintain", collection=COLLECTION)
        options = {"status": ["--json"], "cleanup": ["--keep-days", "7"], "reconcile": ["--collection", COLLECTION]}
        return self._start("cli", argv=["index", role, *options[role]])

    def _start(self, task: str, **arguments: object) -> tuple[Child, Path]:
        self._children += 1
        output = self.base / "children" / str(self._children)
        environment = {"ELYSIACTL_CHECKPOINT_DB_DIR": str(self.state)}
        if self.url:
            environment["ELYSIACTL_CHECKPOINT_DB_URL"] = self.url
        return self._zygote.start(task, self.state, output, environment=environment, **arguments), output

    def _judge(self, name: str, child: Child, output: Path, findings: Findings) -> None:
        code = child.wait()
        said = (output / "said").read_text()
        self.ended[name.split(maxsplit=1)[0]] += 1
        may_be = (0, 1) if name.startswith("sync") else (0,)
        if code not in may_be or "database is locked" in said or "Traceback" in said:
            findings.add("refused", f"{name} ended with {code}: {said[-1500:]}")

    def _make_old(self) -> None:
        engine = create_engine(self.url or f"sqlite:///{self.state / DATABASE_NAME}")
        with engine.begin() as connection:
            connection.exec_driver_sql(AGE)
        engine.dispose()

    def _compare(self, findings: Findings) -> None:
        if self.url:
            self._copy_to_sqlite()
        truth = Truth()
        truth.apply(self.first)
        truth.forget_runs()
        with closing(sqlite3.connect(self.state / DATABASE_NAME)) as connection:
            sources = [row[0] for row in connection.execute("SELECT input_source FROM sync_runs ORDER BY sequence")]
        numbers = {str(self.base / f"changeset-{number}.jsonl"): number for number in range(SYNCS)}
        findings.add("left over", *(f"run of {each}" for each in sources if each not in numbers))
        findings.add("lost", *(f"run of {each}" for each in numbers if each not in sources))
        for source in sources:
            truth.apply(self.input[numbers[source]] if source in numbers else self.first)
        for kind, what in audit(self.state, truth, self.base / "embedded.log", set()).by_kind.items():
            findings.add(kind, *what)

    def _copy_to_sqlite(self) -> None:
        """The whole checkpoint as a SQLite file, for those who compare."""
        source, copy = create_engine(self.url), create_engine(f"sqlite:///{self.state / DATABASE_NAME}")
        metadata.create_all(copy)
        with source.connect() as reading, copy.begin() as writing:
            for table in metadata.sorted_tables:
                if rows := [dict(row) for row in reading.execute(select(table)).mappings()]:
                    writing.execute(insert(table), rows)
        source.dispose()
        copy.dispose()


def main() -> None:
    """Plays, and prints what ended how often; exit 1 where something was found."""
    rounds, lines = int(os.environ.get("ROUNDS") or 3), int(os.environ.get("LINES") or 40)
    found = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elysia-beside-")))
        zygote = stack.enter_context(Zygote(script=SCRIPT))
        servers = {"sqlite": ""}
        if postgres_server.is_installed():
            servers["postgres"] = stack.enter_context(postgres_server.running_server())
        for number in range(rounds):
            for name, server in servers.items():
                url = _new_database(server, f"beside_{number}") if server else ""
                seed = secrets.token_hex(3)
                beside = Beside(folder / f"{name}-{number}", zygote, seed=seed, lines=lines, url=url)
                findings = beside.play()
                found = found or bool(findings)
                print(f"{name}: {dict(beside.ended)}\n{findings or 'nothing found'}", flush=True)
    raise SystemExit(found)


def _new_database(server: str, name: str) -> str:
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return f"{server}/{name}"
