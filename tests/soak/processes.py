"""The processes of a soak: a parent that has imported everything forks a child for each command.

A child is ``elysiactl`` itself, or a run worker of the real Dagster job, in one process; into both are put only the
fault points, and an embedder that writes down what it is paid for. Run as a script this is the parent.
"""

import gc
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.path.insert(0, str(Path(__file__).parents[2]))

from crash.zygote import LIMIT_S, Command, passing, serve

LOG_NAME = "embedded.log"
"""Lines ``embed <thread> <run> <key>…`` before texts are embedded, ``saved <thread>`` when their file has its name."""


def run_child(command: Command) -> None:
    """Does what the command says and ends the process, with the exit code of ``elysiactl`` or 0 and 1 for a job."""
    output = Path(command.output)
    signal.alarm(LIMIT_S)
    said = os.open(output / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    code = 1
    try:
        os.environ.update(command.environment)
        instrument(output, command.fault, Path(command.state).parent / LOG_NAME)
        code = TASKS[command.task](command)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def instrument(output: Path, fault: str, log: Path) -> None:
    """Puts fault points and the embedder that writes down into every engine that this process opens."""
    at_point = passing(output, fault)
    write = appender(log)

    def faults(point: str) -> None:
        if point == "batch-saved":
            write(f"saved {threading.get_ident()}")
        at_point(point)

    open_, embedder_of = Engine.open.__func__, Engine.embedder_of  # type: ignore[attr-defined]

    def opened(cls: type[Engine], settings: Any, **parts: Any) -> Engine:
        engine: Engine = open_(cls, settings, **{**parts, "faults": faults})
        return engine

    Engine.open = classmethod(opened)  # type: ignore[method-assign, assignment]
    Engine.embedder_of = lambda self, run: WritingEmbedder(embedder_of(self, run), run.run_id, write)  # type: ignore


def appender(log: Path) -> Callable[[str], None]:
    """Appends whole lines, which are there however the process ends."""
    place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(line: str) -> None:
        os.write(place, f"{os.getpid()} {line}\n".encode())

    return write


class WritingEmbedder:
    """An embedder that writes down, before it embeds, which texts it embeds for which run."""

    def __init__(self, embedder: Any, run_id: str, write: Callable[[str], None]) -> None:
        self._embedder = embedder
        self._run_id = run_id
        self._write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str]) -> Any:
        """Writes down, then embeds."""
        if texts:
            keys = " ".join(sha256(each.encode()).hexdigest()[:16] for each in texts)
            self._write(f"embed {threading.get_ident()} {self._run_id} {keys}")
        return self._embedder.embed(texts)


def _cli(command: Command) -> int:
    """``elysiactl`` with these arguments."""
    return run_cli(command.arguments["argv"])


def _dagster(command: Command) -> int:
    """Launches the job, or re-executes the last Dagster run of the changeset: ``whole``, or from its ``failure``.

    A run that a kill has left as started is closed first. Writes into ``used`` what it really did: there may be no
    run to re-execute.
    """
    how, config = command.arguments["how"], command.arguments["run_config"]
    with DagsterInstance.get() as instance:
        parent = _last_run(instance, command.arguments["changeset"]) if how != "launch" else None
        options = None
        if parent is not None:
            if parent.status is not DagsterRunStatus.FAILURE:
                instance.report_run_failed(parent)
            options = (
                ReexecutionOptions(parent.run_id)
                if how == "whole"
                else ReexecutionOptions.from_failure(parent.run_id, instance)
            )
        elif how != "launch":
            (Path(command.output) / "used").write_text("launch")
        tags = {"changeset": command.arguments["changeset"]}
        with execute_job(
            reconstructable(the_job), instance, run_config=config, reexecution_options=options, tags=tags
        ) as result:
            return int(not result.success)


def _last_run(instance: Any, changeset: str) -> Any:
    """The last Dagster run of a changeset, where it is one that can be re-executed."""
    found = instance.get_runs(RunsFilter(tags={"changeset": changeset}), limit=1)
    return found[0] if found and found[0].status is not DagsterRunStatus.SUCCESS else None


def _prepare(command: Command) -> int:
    """Makes the databases of a Dagster instance."""
    with DagsterInstance.get() as instance:
        instance.get_runs(limit=1)
    return 0


def _maintain(command: Command) -> int:
    """The store's upkeep: LanceDB compacts the table and drops old versions."""
    engine = Engine.open(Settings.from_environment())
    engine.store().maintain(command.arguments["collection"])
    engine.close()
    return 0


TASKS: dict[str, Callable[[Command], int]] = {
    "cli": _cli,
    "dagster": _dagster,
    "maintain": _maintain,
    "prepare": _prepare,
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")

    from hashlib import sha256

    from dagster import DagsterInstance, DagsterRunStatus, ReexecutionOptions, RunsFilter, execute_job, reconstructable
    from soak.job import the_job

    import elysia_dagster.cli.report
    import elysia_dagster.cli.work
    import elysia_dagster.embedders.hashing
    import elysia_dagster.stores.lancedb
    import elysia_dagster.stores.weaviate  # noqa: F401  imported here so that no child has to
    from elysia_dagster.cli import run as run_cli
    from elysia_dagster.settings import Settings
    from elysia_dagster.sync.engine import Engine

    warnings.simplefilter("ignore")  # what was imported has filters of its own
    gc.collect()
    gc.freeze()
    serve(run_child)
