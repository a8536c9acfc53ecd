"""Processes that can be killed: a parent that has imported everything forks a child for each command.

An import of LanceDB and scikit-learn takes two to three seconds, a fork some milliseconds. The parent never opens a
database, a store or an embedder, so that what is forked is nothing but modules. Here is what the test sees of both, and
what every such parent does; what a child does is in its script, as ``worker.py``.

The child kills itself by SIGKILL, or stops and waits, when it passes a named point for the n-th time.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 120
"""Seconds after which a child is taken for hanging."""

WORKER = Path(__file__).with_name("worker.py")

WRITING = threading.RLock()
"""Held by whoever writes the checkpoint, so that a process is not stopped with a transaction under way, which would
keep every other host out of the database."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a child does: ``task`` is a function of ``worker.py``, named without its underscore."""

    task: str
    state: str
    arguments: dict[str, Any]
    output: str
    """Folder of the files ``points`` (every point passed, one a line), ``error`` and ``result``."""
    fault: str = ""
    """``<action>:<point>:<n>``; the action is ``kill``, ``stop`` (until the file ``go`` is there) or ``freeze``: the
    whole process, by SIGSTOP. The point ``*`` is any: the n-th that is passed."""
    settings: dict[str, Any]
    forgetful: bool
    """The store acknowledges the last object of its first request and does not keep it."""
    environment: dict[str, str]
    """Variables that the child sets for itself and what it starts."""
    limits: dict[str, int]
    """Resources, as the names of ``resource.RLIMIT_…`` end, and their limits."""
    boot: str = ""
    """The boot of this machine that the child says it runs in, where it is to be another."""
    host: str = ""
    """The machine that the child says it runs on, where it is to be another. Its store then answers soon, so that its
    lease may be short, and has the points ``sending`` and ``removing``, between a renewed lease and a request."""


class Child:
    """A child as the test sees it."""

    def __init__(self, zygote: "Zygote", pid: int, output: Path) -> None:
        self._zygote = zygote
        self.pid = pid
        self.output = output

    def wait(self) -> int:
        """Its return code, as ``subprocess`` gives it: negative for a signal."""
        return int(self._zygote.ask({"wait": self.pid})["returncode"])

    def points(self) -> list[str]:
        """The points it has passed, in order."""
        place = self.output / "points"
        return place.read_text().split() if place.exists() else []

    def said(self) -> str:
        """What the command said, of the task ``shell``."""
        return (self.output / "said").read_text()

    def killed_at(self) -> str:
        """The point it killed itself at; another thread may have passed one more meanwhile."""
        place = self.output / "killed"
        return place.read_text() if place.exists() else ""

    def error(self) -> str:
        """The traceback or the project's error it ended with."""
        place = self.output / "error"
        return place.read_text() if place.exists() else ""

    def result(self) -> Any:
        """What its task returned."""
        return json.loads((self.output / "result").read_text())

    def wait_for(self, point: str) -> None:
        """Waits until it stops at a point."""
        deadline = time.monotonic() + LIMIT_S
        while not (self.output / "stopped").exists():
            assert time.monotonic() < deadline, f"{point} was not reached: {self.points()} {self.error()}"
            assert self._zygote.ask({"lives": self.pid})["lives"], f"ended before {point}: {self.error()}"
            time.sleep(0.005)

    def go_on(self) -> None:
        """Lets it go on."""
        (self.output / "go").touch()

    def wait_until_frozen(self, point: str) -> None:
        """Waits until it has stopped itself by SIGSTOP, at a point."""
        deadline = time.monotonic() + LIMIT_S
        while (state := process_state(self.pid)) != "T":
            assert time.monotonic() < deadline, f"{point} was not reached: {self.points()} {self.error()}"
            assert state not in "ZX", f"ended before {point}: {self.points()} {self.error()}"
            time.sleep(0.005)
        assert self.points().count(point), self.points()

    def wake(self) -> None:
        """Lets it go on that stopped itself by SIGSTOP."""
        os.kill(self.pid, signal.SIGCONT)


class Zygote:
    """The parent, as the test sees it: a process of its own that runs ``script``; a context manager.

    ``modules`` are imported too, so that no child has to. ``preloaded`` is a library that its children, too, have
    before the C library.
    """

    def __init__(self, *modules: str, script: Path = WORKER, preloaded: Path | None = None) -> None:
        self._modules = modules
        self._script = script
        self._preloaded = preloaded

    def __enter__(self) -> "Zygote":
        self._process = subprocess.Popen(
            [sys.executable, str(self._script), *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(self._preloaded)} if self._preloaded else None,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(
        self,
        task: str,
        state: Path,
        output: Path,
        *,
        fault: str = "",
        settings: dict[str, Any] | None = None,
        forgetful: bool = False,
        host: str = "",
        boot: str = "",
        environment: dict[str, str] | None = None,
        limits: dict[str, int] | None = None,
        **arguments: Any,
    ) -> Child:
        """Forks a child that begins at once. ``settings`` are fields of ``Settings``."""
        output.mkdir(parents=True)
        command = Command(
            task=task,
            state=str(state),
            arguments=arguments,
            output=str(output),
            fault=fault,
            settings=settings or {},
            forgetful=forgetful,
            host=host,
            boot=boot,
            environment=environment or {},
            limits=limits or {},
        )
        return Child(self, int(self.ask({"start": asdict(command)})["pid"]), output)


def process_state(pid: int) -> str:
    """The kernel's letter for the state of a process: ``T`` is stopped, ``Z`` dead (proc(5), stat); ``X`` is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def serve(run: Callable[[Command], None]) -> None:
    """The parent: forks, and tells how its children ended. ``run`` does what a child does, and ends the process."""
    for line in sys.stdin:
        message = json.loads(line)
        if "start" in message:
            pid = os.fork()
            if not pid:
                run(Command(**message["start"]))
            answer: dict[str, Any] = {"pid": pid}
        elif "import" in message:
            importlib.import_module(message["import"])
            answer = {}
        elif "lives" in message:
            found = os.waitid(os.P_PID, message["lives"], os.WEXITED | os.WNOHANG | os.WNOWAIT)
            answer = {"lives": found is None}
        else:
            answer = {"returncode": os.waitstatus_to_exitcode(os.waitpid(message["wait"], 0)[1])}
        print(json.dumps(answer), flush=True)


def passing(output: Path, fault: str) -> Callable[[str], None]:
    """Writes every point down and obeys ``fault``."""
    passed: Counter[str] = Counter()
    counting = threading.Lock()
    action, _, place = fault.partition(":")

    def at(point: str) -> None:
        with counting:  # of several threads each has a number of its own
            passed[point] += 1
            passed["*"] += 1
            here = (f"{point}:{passed[point]}", f"*:{passed['*']}")
            with (output / "points").open("a") as file:
                file.write(f"{point}\n")
        if place not in here:
            return
        if action == "kill":
            (output / "killed").write_text(point)
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "freeze":
            with WRITING:
                os.kill(os.getpid(), signal.SIGSTOP)
            return
        (output / "stopped").touch()
        while not (output / "go").exists():
            time.sleep(0.005)

    return at
