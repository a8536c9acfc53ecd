"""The job's executor, and the process whose life is the life of a Dagster run."""

import multiprocessing
import os
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from dagster import (
    Executor,
    ExecutorDefinition,
    ExecutorRequirement,
    Field,
    InitExecutorContext,
    Selector,
    in_process_executor,
    multi_or_in_process_executor,
    multiple_process_executor_requirements,
    multiprocess_executor,
)

from elysia_dagster.checkpoint.owner import Host, Owner
from elysia_dagster.defs.worker import IntroducingExecutor

_run_worker_pids: set[int] = set()
"""This process's pid, once it has made an executor: then it runs the run, and is no step's child.

A set of pids rather than a flag, since a forked child would inherit the flag.
"""

_watched = threading.Event()


def _make_executor(context: InitExecutorContext) -> Executor:
    _run_worker_pids.add(os.getpid())
    return IntroducingExecutor(multi_or_in_process_executor.executor_creation_fn(context))  # type: ignore[misc]


def _requirements(config: Mapping[str, object]) -> Sequence[ExecutorRequirement]:
    return multiple_process_executor_requirements() if "multiprocess" in config else []


sync_executor = ExecutorDefinition(
    name="in_process_or_multiprocess",
    config_schema=Field(
        Selector(  # type: ignore[no-untyped-call]
            {
                "in_process": in_process_executor.config_schema.as_field(),
                "multiprocess": multiprocess_executor.config_schema.as_field(),
            }
        ),
        default_value={"in_process": {}},
    ),
    requirements=_requirements,
    executor_creation_fn=_make_executor,
    description="All steps in one process (the default), or one process for each step.",
)
"""In process unless the run config says ``execution: {config: {multiprocess: {…}}}``: the steps are a line, so that
processes of their own would only cost their start."""


def run_worker() -> BaseProcess | None:
    """The process that runs the run, where this one runs only a step of it; None where this process runs it.

    That it has a parent in ``multiprocessing`` tells nothing, since the code server spawns run workers that way too:
    a run worker is the one that made the executor.
    """
    if os.getpid() in _run_worker_pids:
        return None
    return multiprocessing.parent_process()


def keeper(host: Host) -> Owner:
    """Whose life keeps the run's parked lease between two steps."""
    worker = run_worker()
    if worker is None or worker.pid is None:
        return Owner.this_process(host)
    return Owner.of(worker.pid, host)


def die_with_run_worker() -> None:
    """Ends this process as soon as the run worker of its step is gone, whatever it is doing.

    A step that outlived its Dagster run would go on holding the sync run against the run's re-execution. Ending at
    once is safe at every point: what is settled is settled, and the next process takes up from there.
    """
    worker = run_worker()
    if worker is None or _watched.is_set():
        return
    _watched.set()
    threading.Thread(target=_watch, args=(worker,), name="run-worker-watch", daemon=True).start()


def _watch(worker: BaseProcess) -> None:
    wait([worker.sentinel])
    os._exit(1)
