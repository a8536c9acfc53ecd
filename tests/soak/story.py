"""One story: changesets applied by processes that are killed, until all is done; then everything is compared."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

from crash.held import drop_collection
from crash.oracle import COLLECTION, expected_objects
from crash.scenario import write_changeset
from crash.zygote import Child, Zygote
from soak.aim import CLI, DAGSTER, Aim, Habits, Pace
from soak.audit import Findings, audit
from soak.changesets import ROOT, Changesets, Draw, Truth, write_files
from soak.processes import LOG_NAME
from soak.runs import Runs, Unfinished
from soak.tally import Tally

MOST_UNFINISHED = 3
"""Runs that wait at once, a newer one having come first."""

STORE_RETRY_S = "120"
"""Seconds that a server which was killed is waited for: many times what a start takes."""


class Mortal(Protocol):
    """A server that can be killed, and is started again at once."""

    url: str

    def kill_and_start(self, *, after_s: float = 0.0) -> None: ...

    def join(self) -> None: ...


class Refused(Exception):
    """A process that nobody killed did not do what it was asked for."""


@dataclass(kw_only=True)
class Story:
    """Story ``number`` of ``seed``, played in ``base``; ``budget`` kills are left to the whole soak."""

    seed: str
    number: int
    base: Path
    zygote: Zygote
    dagster_home: Callable[[], Path]
    pace: Pace
    tally: Tally
    budget: int
    habits: Habits
    server: Mortal | None = None
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(f"{self.seed}/{self.number}")
        draw = Draw(Random(f"changesets/{self.seed}/{self.number}"), self.habits.most_lines)
        self.input: Changesets = draw.changesets()
        self.state = self.base / "state"
        self.root = self.base / ROOT
        self.killed: set[int] = set()
        self.kills = 0
        self._children = 0
        self.places: list[Path] = []
        self.launched: set[int] = set()

    def play(self) -> Findings:
        """Applies all changesets, kills, goes on, tries failed lines again, and compares."""
        self.base.mkdir(parents=True)
        write_files(self.root, self.input.files)
        self.places = [
            write_changeset(self.base / f"changeset-{number}.jsonl", lines)
            for number, lines in enumerate(self.input.lines)
        ]
        self.runs = Runs(self.state, self.places)
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
            self._reconcile()
        except Refused as error:
            findings.add("refused", str(error))
        self.tally.found.update(findings.counts())
        return findings

    def _apply_all(self) -> None:
        waiting = list(range(len(self.places)))
        started: set[int] = set()
        while True:
            unfinished = self.runs.unfinished()
            lost = [each for each in sorted(started) if each not in self.runs.opened()]
            if not unfinished and not lost and not waiting:
                return
            may_begin = waiting and len(unfinished) < MOST_UNFINISHED
            if may_begin and (not (unfinished or lost) or self.chance.random() < 0.4):
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
        for run_id in self.runs.with_failures():
            retry = ("retry", "--run-id", run_id, "--permanent", "--all")
            while not self._cli("cli retry", *retry, expect=run_id) and not self.runs.unfinished():
                pass  # killed before it had asked for anything
            while unfinished := self.runs.unfinished():
                self._go_on(self.chance.choice(unfinished))

    def _reconcile(self) -> None:
        """The operator's own comparison finds nothing either; exit code 1 says that something differs."""
        child, output = self._child(CLI, argv=["index", "reconcile", "--collection", COLLECTION])
        if child.wait() != 0:
            raise Refused(f"reconcile finds a difference: {(output / 'said').read_text()[-3000:]}")

    def _start(self, number: int) -> None:
        if self.chance.random() < self.habits.dagster:
            self._dagster("launch", number)
        else:
            self._sync("cli sync", number)

    def _go_on(self, run: Unfinished) -> None:
        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "sync": (2, partial(self._sync, "cli sync again", run.changeset, expect=run.run_id)),
            "resume": (3, partial(self._cli, "cli resume", "resume", "--run-id", run.run_id, expect=run.run_id)),
            "resume all": (1, partial(self._cli, "cli resume all", "resume", expect=run.run_id)),
        }
        if run.failed:
            retry = ("retry", "--run-id", run.run_id, "--permanent", "--all")
            ways["retry"] = (2, partial(self._cli, "cli retry", *retry, expect=run.run_id))
        seen_by_dagster = run.changeset in self.launched
        if self.chance.random() < self.habits.dagster * (4 if seen_by_dagster else 1):
            ways = {
                f"dagster {how}": (weight, partial(self._dagster, how, run.changeset, expect=run.run_id))
                for how, weight in (("failure", 4), ("whole", 3), ("launch", 2), ("run_id", 2))
                if seen_by_dagster or how in ("launch", "run_id")
            }
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

    def _cli(self, driver: str, *arguments: str, expect: str = "", changeset: int = -1) -> bool:
        return self._run(driver, CLI, expect, changeset, argv=["index", *arguments])

    def _dagster(self, how: str, number: int, *, expect: str = "") -> None:
        config = {
            "changeset": str(self.places[number]),
            "collection": COLLECTION,
            "root": [str(self.root)],
            "batch_size": self.input.batch_size,
        }
        read = {"run_id": expect} if how == "run_id" else config
        self._run(
            f"dagster {how}",
            DAGSTER,
            expect,
            number,
            how="launch" if how == "run_id" else how,
            changeset=str(self.places[number]),
            run_config={"ops": {"read_changeset": {"config": read}}},
        )
        self.launched.add(number)

    def _run(self, driver: str, kind: str, expect: str, number: int, **arguments: object) -> bool:
        """One process, killed or not (then True); raises ``Refused`` where the run has not come to its end by then.

        ``expect`` is the run that it goes on with, '' where it begins changeset ``number``.
        """
        is_spared = self.kills >= self.budget
        has_server = self.server is not None
        aim = Aim.draw(self.chance, self.pace, self.habits, (kind, not expect), has_server=has_server, spared=is_spared)
        began = time.monotonic()
        child, output = self._child(kind, fault=aim.fault, **arguments)
        if self.server and aim.server_s is not None:
            self.server.kill_and_start(after_s=aim.server_s)
        code = self._ended(child, began, aim.after_s)
        seconds = time.monotonic() - began
        if self.server and aim.server_s is not None:
            self.server.join()
            self._was_killed("the server")
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
            self._was_killed("at a fault point" if aim.fault else "at a random moment")
            if passed:
                self.tally.points[passed[-1]] += 1
            return False
        if aim.fault or aim.after_s is not None:
            self.tally.survived += 1
        if aim.server_s is None:
            self.pace.saw((kind, not expect), seconds, len(passed))
        left = self.runs.unfinished()
        if driver == "dagster failure":
            is_done = True  # of another run of the same changeset, perhaps: the Dagster run had begun with that one
        elif expect:
            is_done = expect not in {each.run_id for each in left}
        else:
            is_done = number in self.runs.opened() and number not in {each.changeset for each in left}
        if code not in (0, 1) or not is_done:
            said = (output / "said").read_text()[-3000:]
            raise Refused(f"{driver} of {expect or number} ended with {code}: {child.error()} {said}")
        return True

    def _was_killed(self, how: str) -> None:
        self.kills += 1
        self.tally.kills[how] += 1

    def _child(self, kind: str, *, fault: str = "", **arguments: object) -> tuple[Child, Path]:
        self._children += 1
        output = self.base / "children" / str(self._children)
        environment = self._environment()
        if kind == DAGSTER:
            environment["DAGSTER_HOME"] = str(self.dagster_home())
        return self.zygote.start(kind, self.state, output, fault=fault, environment=environment, **arguments), output

    def _ended(self, child: Child, began: float, delay_s: float | None) -> int:
        if delay_s is not None:
            time.sleep(max(0.0, began + delay_s - time.monotonic()))
            os.kill(child.pid, signal.SIGKILL)  # a child that has ended waits to be asked for: its number is its own
        return child.wait()

    def _environment(self) -> dict[str, str]:
        found = {
            "ELYSIACTL_CHECKPOINT_DB_DIR": str(self.state),
            "ELYSIACTL_EMBED_THREADS": str(self.chance.choice((1, 1, 2))),
        }
        if self.server:
            found |= {"ELYSIACTL_STORE": self.server.url, "ELYSIACTL_STORE_RETRY": STORE_RETRY_S}
        return found

    def _compare(self) -> Findings:
        if self.server:
            self.server.join()
        truth = Truth(self.input.late)
        runs = self.runs.all()
        for row in runs:
            truth.apply(self.input.lines[self.runs.changeset(row)])
        log = self.base / LOG_NAME
        findings = audit(self.state, truth, log, self.killed, weaviate=self.server.url if self.server else "")
        for number in set(range(len(self.places))) - {self.runs.changeset(row) for row in runs}:
            findings.add("lost", f"changeset {number}")
        self.tally.runs += len(runs)
        self.tally.lines += sum(row["total_lines"] for row in runs)
        self.tally.objects += sum(len(expected_objects(*each)) for each in truth.documents.items())
        words = (line.split() for line in log.read_text().splitlines()) if log.exists() else ()
        self.tally.embedded += sum(len(each) - 4 for each in words if each[1] == "embed")
        return findings
