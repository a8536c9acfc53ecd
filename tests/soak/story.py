"""One story: changesets applied by processes that are killed, until all is done; then everything is compared."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from crash.held import drop_collection
from crash.oracle import COLLECTION, expected_objects
from crash.scenario import write_changeset
from crash.worker import Child, Zygote
from soak.audit import Findings, audit
from soak.changesets import ROOT, Changesets, Draw, Truth, write_files
from soak.processes import LOG_NAME
from soak.tally import Tally

from elysia_dagster.settings import DATABASE_NAME

CLI, DAGSTER = "cli", "dagster"

MOST_UNFINISHED = 3
"""Runs that wait at once, a newer one having come first."""

STORE_RETRY_S = "120"
"""Seconds that a server which was killed is waited for: many times what a start takes."""


class Mortal(Protocol):
    """A server that can be killed, and is started again at once."""

    url: str

    def kill_and_start(self, *, after_s: float = 0.0) -> None: ...

    def join(self) -> None: ...


@dataclass
class Pace:
    """How long processes that nobody kills take, and how many fault points they pass: means over what was seen."""

    seconds: dict[str, float] = field(default_factory=lambda: {CLI: 0.6, DAGSTER: 2.0})
    points: dict[str, float] = field(default_factory=lambda: {CLI: 60.0, DAGSTER: 60.0})

    def saw(self, kind: str, seconds: float, points: int) -> None:
        """Takes one more into account, the newest most."""
        self.seconds[kind] += 0.3 * (seconds - self.seconds[kind])
        self.points[kind] += 0.3 * (points - self.points[kind])


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A run that waits to be gone on with."""

    run_id: str
    changeset: int
    failed: int


class Refused(Exception):
    """A process that nobody killed did not do what it was asked for."""


@dataclass(kw_only=True)
class Story:
    """Story ``number`` of ``seed``, played in ``base``; ``budget`` kills are left to the whole soak."""

    seed: str
    number: int
    base: Path
    zygote: Zygote
    home: Path
    pace: Pace
    tally: Tally
    budget: int
    server: Mortal | None = None
    dagster_share: float = 0.15
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(f"{self.seed}/{self.number}")
        self.input: Changesets = Draw(Random(f"changesets/{self.seed}/{self.number}")).changesets()
        self.state = self.base / "state"
        self.root = self.base / ROOT
        self.killed: set[int] = set()
        self.kills = 0
        self._children = 0
        self.places: list[Path] = []

    def play(self) -> Findings:
        """Applies all changesets, kills, goes on, tries failed lines again, and compares."""
        self.base.mkdir(parents=True)
        write_files(self.root, self.input.files)
        self.places = [
            write_changeset(self.base / f"changeset-{number}.jsonl", lines)
            for number, lines in enumerate(self.input.lines)
        ]
        if self.server:
            self.server.join()
            drop_collection(self.server.url, COLLECTION)
        self.tally.stories += 1
        findings = Findings()
        try:
            self._apply_all()
            write_files(self.root, self.input.late)
            self._try_again()
            findings = self._compare()
        except Refused as error:
            findings.add("refused", str(error))
        self.tally.found.update(findings.counts())
        return findings

    def _apply_all(self) -> None:
        waiting = list(range(len(self.places)))
        started: set[int] = set()
        while True:
            unfinished = self._unfinished()
            lost = [each for each in sorted(started) if each not in self._opened()]
            if not unfinished and not lost and not waiting:
                return
            may_begin = waiting and len(unfinished) < MOST_UNFINISHED
            if may_begin and (not (unfinished or lost) or self.chance.random() < 0.3):
                number = waiting.pop(0)
                started.add(number)
                self._start(number)
                if not self.chance.randrange(12):
                    self._start(number)  # the same command again: nothing to do, or the same changes once more
            elif lost and (not unfinished or self.chance.random() < 0.5):
                self._start(self.chance.choice(lost))
            else:
                self._go_on(self.chance.choice(unfinished))

    def _try_again(self) -> None:
        """Files have come: every run's failed lines are tried again, killed and gone on with."""
        for run_id in self._failed():
            self._cli("retry", "retry", "--run-id", run_id, "--permanent", "--all", expect=run_id)
            while unfinished := self._unfinished():
                self._go_on(self.chance.choice(unfinished))

    def _start(self, number: int) -> None:
        if self.chance.random() < self.dagster_share:
            self._dagster("dagster launch", "launch", number)
        else:
            self._sync("cli sync", number)

    def _go_on(self, run: Unfinished) -> None:
        ways: dict[str, tuple[int, Callable[[], None]]] = {
            "sync": (2, lambda: self._sync("cli sync again", run.changeset, expect=run.run_id)),
            "resume": (3, lambda: self._cli("cli resume", "resume", "--run-id", run.run_id, expect=run.run_id)),
            "resume all": (1, lambda: self._cli("cli resume all", "resume", expect=run.run_id)),
        }
        if run.failed:
            retry = ("retry", "--run-id", run.run_id, "--permanent", "--all")
            ways["retry"] = (2, lambda: self._cli("cli retry", *retry, expect=run.run_id))
        if self.chance.random() < self.dagster_share:
            ways = {
                how: (1, lambda how=how: self._dagster(f"dagster {how}", how, run.changeset, expect=run.run_id))  # type: ignore[misc]
                for how in ("failure", "whole", "launch")
            }
            ways["run_id"] = (1, lambda: self._dagster("dagster run_id", "launch", run.changeset, expect=run.run_id,
                                                       run_id=run.run_id))  # fmt: skip
        weights = [weight for weight, _ in ways.values()]
        self.chance.choices(list(ways.values()), weights)[0][1]()

    def _sync(self, driver: str, number: int, *, expect: str = "") -> None:
        self._cli(
            driver,
            "sync",
            str(self.places[number]),
            "--collection",
            COLLECTION,
            "--root",
            str(self.root),
            "--batch-size",
            str(self.input.batch_size),
            expect=expect,
            changeset=number,
        )

    def _cli(self, driver: str, *arguments: str, expect: str = "", changeset: int = -1) -> None:
        self._run(driver, CLI, expect, changeset, argv=["index", *arguments])

    def _dagster(self, driver: str, how: str, number: int, *, expect: str = "", run_id: str = "") -> None:
        config = {
            "changeset": str(self.places[number]),
            "collection": COLLECTION,
            "root": [str(self.root)],
            "batch_size": self.input.batch_size,
        }
        read = {"run_id": run_id} if run_id else config
        self._run(
            driver,
            DAGSTER,
            expect,
            number,
            how=how,
            changeset=str(self.places[number]),
            run_config={"ops": {"read_changeset": {"config": read}}},
        )

    def _run(self, driver: str, kind: str, expect: str, number: int, **arguments: object) -> None:
        """One process, killed or not; raises ``Refused`` where it was not, and the run has not come to its end."""
        self._children += 1
        output = self.base / "children" / str(self._children)
        aim, fault, delay_s, server_s = self._aim(kind)
        began = time.monotonic()
        child = self.zygote.start(kind, self.state, output, fault=fault, environment=self._environment(), **arguments)
        if self.server and server_s is not None:
            self.server.kill_and_start(after_s=server_s)
        code = self._ended(child, began, delay_s)
        if self.server and server_s is not None:
            self.server.join()
            self.tally.kills["the server"] += 1
            self.kills += 1
        seconds = time.monotonic() - began
        used = output / "used"
        driver = f"dagster {used.read_text()}" if used.exists() else driver
        self.tally.resumes[driver] += 1
        passed = child.points()
        self.said.append(
            f"{self._children:>3} {driver:<16} changeset {number} {expect or '(new)'}; {aim} -> {code}"
            f" after {seconds:.2f} s and {len(passed)} points, the last {passed[-1] if passed else '(none)'}"
        )
        if code == -signal.SIGKILL:
            self.killed.add(child.pid)
            self.kills += 1
            self.tally.kills["at a fault point" if fault else "at a random moment"] += 1
            if passed:
                self.tally.points[passed[-1]] += 1
            return
        if fault or delay_s is not None:
            self.tally.survived += 1
        if server_s is None:
            self.pace.saw(kind, seconds, len(passed))
        left = {each.run_id for each in self._unfinished()}
        is_open = expect in left if expect else number >= 0 and number not in self._opened()
        if code not in (0, 1) or is_open or (not expect and any(self._is_of(each, number) for each in left)):
            raise Refused(f"{driver} of {expect or number} ended with {code}: {(output / 'said').read_text()[-3000:]}")

    def _ended(self, child: Child, began: float, delay_s: float | None) -> int:
        if delay_s is not None:
            time.sleep(max(0.0, began + delay_s - time.monotonic()))
            os.kill(child.pid, signal.SIGKILL)  # a child that has ended waits to be asked for: its number is its own
        return child.wait()

    def _aim(self, kind: str) -> tuple[str, str, float | None, float | None]:
        """How the next process is killed: in words, at a fault point, after seconds; and the server after seconds."""
        chances = self.chance.random(), self.chance.random(), self.chance.random(), self.chance.random()
        if self.kills >= self.budget or chances[0] < 0.12:
            return "not killed", "", None, None
        seconds = chances[1] * 1.05 * self.pace.seconds[kind]
        if self.server and chances[2] < 0.06:
            child_too = seconds + chances[3] * 4.0 if chances[3] < 0.5 else None
            return f"server killed after {seconds:.2f} s", "", child_too, seconds
        if chances[3] < 0.5:
            return f"killed after {seconds:.2f} s", "", seconds, None
        passing = 1 + int(chances[1] * self.pace.points[kind])
        return f"killed at point {passing}", f"kill:*:{passing}", None, None

    def _environment(self) -> dict[str, str]:
        found = {"ELYSIACTL_CHECKPOINT_DB_DIR": str(self.state), "DAGSTER_HOME": str(self.home)}
        if self.server:
            found |= {"ELYSIACTL_STORE": self.server.url, "ELYSIACTL_STORE_RETRY": STORE_RETRY_S}
        return found

    def _rows(self, statement: str) -> list[sqlite3.Row]:
        """What the checkpoint answers; nothing where there is none yet."""
        if not (self.state / DATABASE_NAME).exists():
            return []
        with closing(sqlite3.connect(self.state / DATABASE_NAME)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return connection.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error) and "no such column" not in str(error):
                    raise
                return []  # killed while the schema was made

    def _runs(self) -> list[sqlite3.Row]:
        return self._rows("SELECT * FROM sync_runs ORDER BY sequence")

    def _unfinished(self) -> list[Unfinished]:
        return [
            Unfinished(run_id=row["run_id"], changeset=self._number(row), failed=row["error_count"])
            for row in self._runs()
            if row["status"] == "running"
        ]

    def _failed(self) -> list[str]:
        return [row["run_id"] for row in self._runs() if row["error_count"]]

    def _opened(self) -> set[int]:
        return {self._number(row) for row in self._runs()}

    def _is_of(self, run_id: str, changeset: int) -> bool:
        return any(row["run_id"] == run_id and self._number(row) == changeset for row in self._runs())

    def _number(self, row: sqlite3.Row) -> int:
        return self.places.index(Path(row["input_source"]))

    def _compare(self) -> Findings:
        if self.server:
            self.server.join()
        truth = Truth(self.input.late)
        runs = self._runs()
        for row in runs:
            truth.apply(self.input.lines[self._number(row)])
        log = self.base / LOG_NAME
        findings = audit(self.state, truth, log, self.killed, weaviate=self.server.url if self.server else "")
        for number in set(range(len(self.places))) - {self._number(row) for row in runs}:
            findings.add("lost", f"changeset {number}")
        self.tally.runs += len(runs)
        self.tally.lines += sum(row["total_lines"] for row in runs)
        self.tally.objects += sum(len(expected_objects(*each)) for each in truth.documents.items())
        words = (line.split() for line in log.read_text().splitlines()) if log.exists() else ()
        self.tally.embedded += sum(len(each) - 4 for each in words if each[1] == "embed")
        return findings
