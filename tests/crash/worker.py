"""Processes that can be killed: a parent that has imported everything forks a child for each command.

An import of LanceDB and scikit-learn takes two to three seconds, a fork some milliseconds. The parent never opens a
database, a store or an embedder, so that what is forked is nothing but modules.

The child kills itself by SIGKILL, or stops and waits, when it passes a named point for the n-th time.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

LIMIT_S = 120
"""Seconds after which a child is taken for hanging."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a child does: ``task`` is a function of this module, named without its underscore."""

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

    def __init__(self, *modules: str, script: Path = Path(__file__), preloaded: Path | None = None) -> None:
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


def run_child(command: Command) -> None:
    """Does what the command says and ends the process."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    signal.alarm(LIMIT_S)
    os.environ.update(command.environment)
    output = Path(command.output)
    code = 1
    try:
        result = globals()[f"_{command.task}"](command, passing(output, command.fault))
        (output / "result").write_text(json.dumps(result))
        code = 0
    except ElysiaError as error:
        (output / "error").write_text(f"{type(error).__name__}: {error}")
        code = error.exit_code
    except BaseException:
        (output / "error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


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
            with _WRITING:
                os.kill(os.getpid(), signal.SIGSTOP)
            return
        (output / "stopped").touch()
        while not (output / "go").exists():
            time.sleep(0.005)

    return at


def _engine(command: Command, faults: Callable[[str], None]) -> "Engine":
    if ":committed:" in command.fault:
        tell_commits(faults)
    if command.boot:
        owner._boot_id = lambda: command.boot
    open_ = forgetful_store if command.forgetful else open_store
    settings = Settings(checkpoint_db_dir=command.state, **command.settings)
    if not command.host:
        engine = Engine.open(settings, faults=faults, open_store=open_)
        return teach(engine) if settings.embedder == FOLDED else engine
    write_when_awake()
    host = Host(name=command.host, boot_id=f"boot of {command.host}", pid_namespace="pid:[1]")
    return Engine.open(settings, faults=faults, open_store=partial(watched_store, faults), host=host)


_WRITING = threading.RLock()
"""Held by whoever writes the checkpoint, so that a process is not stopped with a transaction under way, which would
keep every other host out of the database."""


def write_when_awake() -> None:
    """Lets no thread of this process be in a write transaction when another one stops it."""
    whole = Database.write

    @contextmanager
    def write(database: "Database", **options: Any) -> Iterator[Any]:
        with _WRITING, whole(database, **options) as connection:
            yield connection

    Database.write = write


SOON_S = 0.2
"""What a watched store says that its longest request takes; leases live for twice as long at least."""


def watched_store(faults: Callable[[str], None], url: str, settings: "Settings") -> "VectorStore":
    """A store with points right before its requests are sent, after the lease was made to outlive them."""
    store = open_store(url, settings)
    store.request_timeout_s = SOON_S
    for method, point in (("upsert", "sending"), ("delete_objects", "removing")):
        setattr(store, method, partial(_passing_first, faults, point, getattr(store, method)))
    lancedb_tables.LOCK_WAIT_S = 1.0
    return store


def tell_commits(faults: Callable[[str], None]) -> None:
    """Of LanceDB, the point between its commit and its sync, under the table's lock."""
    sync = FileSyncer.sync
    FileSyncer.sync = lambda syncer: _passing_first(faults, "committed", partial(sync, syncer))


def _passing_first(faults: Callable[[str], None], point: str, method: Callable[..., Any], *arguments: Any) -> Any:
    faults(point)
    return method(*arguments)


def forgetful_store(url: str, settings: "Settings") -> "VectorStore":
    """A store that loses an object without a word."""
    store = open_store(url, settings)
    whole = store.upsert

    def upsert(collection: str, objects: "Sequence[StoreObject]") -> list[str | None]:
        store.upsert = whole
        whole(collection, objects[:-1])
        return [None] * len(objects)

    store.upsert = upsert
    return store


def _shell(command: Command, _faults: Callable[[str], None]) -> None:
    """``elysiactl`` itself, with what it says in the file ``said``; the child's exit code is its own."""
    os.environ["ELYSIACTL_CHECKPOINT_DB_DIR"] = command.state
    said = os.open(Path(command.output) / "said", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    # of memory, what a process has that has imported everything comes on top
    has = {"AS": int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()}
    for name, limit in command.limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (limit + has.get(name, 0), resource.getrlimit(kind)[1]))
    code = run(command.arguments["words"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _sync(command: Command, faults: Callable[[str], None]) -> str:
    """As ``elysiactl index sync`` does."""
    arguments = dict(command.arguments)
    arguments["roots"] = tuple(map(Path, arguments["roots"]))
    engine = _engine(command, faults)
    manifest = sync(engine, SyncRequest(**{**arguments, "changeset": Path(arguments["changeset"])}))
    carry_out(engine, manifest, lambda _work, _report: None)
    engine.close()
    return manifest.run_id


def _resume(command: Command, faults: Callable[[str], None]) -> str:
    """As ``elysiactl index resume`` does."""
    engine = _engine(command, faults)
    manifest = resume_run(engine, command.arguments["run_id"])
    carry_out(engine, manifest, lambda _work, _report: None)
    engine.close()
    return manifest.run_id


def _retry(command: Command, faults: Callable[[str], None]) -> str | None:
    """As ``elysiactl index retry`` does."""
    engine = _engine(command, faults)
    manifest = retry_run(engine, **command.arguments)
    if manifest is not None:
        carry_out(engine, manifest, lambda _work, _report: None)
    engine.close()
    return manifest.run_id if manifest else None


def _cleanup(command: Command, faults: Callable[[str], None]) -> list[str]:
    """As ``elysiactl index cleanup`` does."""
    engine = _engine(command, faults)
    report = cleanup_checkpoints(engine, **command.arguments)
    engine.close()
    return list(report.runs)


def _unlock(command: Command, faults: Callable[[str], None]) -> int:
    """As ``elysiactl index unlock --run-id … --yes`` does; how many runs were taken from a holder."""
    engine = _engine(command, faults)
    found = holdings(engine.database, engine.host, run_id=command.arguments["run_id"])
    for holding in found:
        unlock(engine, holding)
    engine.close()
    return len(found)


def _rebuild(command: Command, faults: Callable[[str], None]) -> dict[str, Any]:
    """As ``elysiactl index rebuild`` does, with the embedder of ``other_embedder``."""
    engine = teach(_engine(command, faults))
    request = RebuildRequest(**{"embedder": FOLDED, **command.arguments})
    done = rebuild(engine, request, lambda manifest: carry_out(engine, manifest, lambda _work, _report: None))
    engine.close()
    return {"switched": done.switched, "dropped": done.dropped, "missing": done.missing, "aliases": done.aliases}


def _reconcile(command: Command, faults: Callable[[str], None]) -> int:
    """As ``elysiactl index reconcile --repair --foreign`` does; how many documents still differ."""
    engine = _engine(command, faults)
    with compared(engine, command.arguments["collection"]) as comparison:
        report = repair(comparison, foreign=True)
    engine.close()
    return report.remaining


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)

    sys.path.insert(0, str(Path(__file__).parents[1]))

    from other_embedder import SPEC as FOLDED
    from other_embedder import teach

    import elysia_dagster.embedders.hashing
    import elysia_dagster.stores.lancedb  # noqa: F401  imported here so that no child has to
    from elysia_dagster.checkpoint import owner
    from elysia_dagster.checkpoint.database import Database
    from elysia_dagster.checkpoint.owner import Host
    from elysia_dagster.checkpoint.unlocking import holdings
    from elysia_dagster.cli import run
    from elysia_dagster.errors import ElysiaError
    from elysia_dagster.models import StoreObject
    from elysia_dagster.settings import Settings
    from elysia_dagster.stores import lancedb_tables, open_store
    from elysia_dagster.stores.base import VectorStore
    from elysia_dagster.stores.lancedb_durability import FileSyncer
    from elysia_dagster.sync.cleanup import cleanup_checkpoints
    from elysia_dagster.sync.drive import carry_out, sync
    from elysia_dagster.sync.engine import Engine
    from elysia_dagster.sync.rebuild import RebuildRequest, rebuild
    from elysia_dagster.sync.reconcile import compared
    from elysia_dagster.sync.repair import repair
    from elysia_dagster.sync.request import SyncRequest
    from elysia_dagster.sync.resume import resume_run
    from elysia_dagster.sync.retry import retry_run
    from elysia_dagster.sync.unlock import unlock

    with warnings.catch_warnings(record=True):  # what their libraries tell programmers
        for each in sys.argv[1:]:
            importlib.import_module(each)
    serve(run_child)
