"""The job with fault points that obey the environment, and a script that launches or re-executes it.

``FAULT`` is ``<action>:<point>:<n>``: what to do when this process passes a point for the n-th time; ``VICTIM`` is the
process that ``kill-victim`` kills. ``POINTS`` names a file that gets a line ``<point> <pid> <keeper's pid>`` for every
point passed by any process.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dagster import (
    DagsterEventType,
    DagsterInstance,
    Definitions,
    JobDefinition,
    ReexecutionOptions,
    RepositoryDefinition,
    RetryPolicy,
    execute_job,
)
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.api import JobExecutionResult

from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.defs.executor import keeper, run_worker, sync_executor
from elysia_dagster.defs.jobs import RUN_TAGS, changeset_to_collection
from elysia_dagster.defs.resources import EngineResource
from elysia_dagster.defs.wiring import resources
from elysia_dagster.errors import StoreUnavailable, UsageError

passed: Counter[str] = Counter()


class FaultyEngine(EngineResource):
    """The engine of the job, with fault points."""

    def faults(self) -> Callable[[str], None]:
        """Obeys the environment, see the module."""
        return at_point


def at_point(point: str) -> None:
    """Writes the point down, then does what ``FAULT`` says of it."""
    passed[point] += 1
    with Path(os.environ["POINTS"]).open("a") as file:
        file.write(f"{point} {os.getpid()} {keeper(this_host()).pid}\n")
    action, _, place = os.environ.get("FAULT", "").partition(":")
    if place != f"{point}:{passed[point]}":
        return
    worker = run_worker()
    if action == "kill-run" and worker is not None:
        os.kill(worker.pid, signal.SIGKILL)
    if action in ("kill-run", "kill-step"):
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "kill-launched-run":
        os.kill(os.getppid(), signal.SIGKILL)  # the code server first: it would say that its child is gone
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "kill-worker-only":
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(60)  # an orphan in the middle of a batch
    if action == "kill-victim":
        os.kill(int(os.environ["VICTIM"]), signal.SIGKILL)
    if action == "outage":
        raise StoreUnavailable("The store does not answer.", next_step="Start it, then resume.")
    if action == "hang":
        time.sleep(600)  # until somebody kills this process
    if action == "pause":
        time.sleep(5)  # for a signal to come in the middle of a batch
    if action == "refused":
        raise UsageError("This run is given up for the test.")


def job() -> JobDefinition:
    """``sync_changeset`` with fault points and without the wait before a retry."""
    return repository().get_job("sync_changeset")


def repository() -> RepositoryDefinition:
    """The job as a code server loads it."""
    faulty = changeset_to_collection.to_job(
        name="sync_changeset",
        tags=RUN_TAGS,
        executor_def=sync_executor,
        op_retry_policy=RetryPolicy(max_retries=1, delay=0.1),
    )
    return Definitions(jobs=[faulty], resources=resources(FaultyEngine)).get_repository_def()


def execute(
    instance: DagsterInstance,
    run_config: dict[str, object],
    *,
    parent: str = "",
    whole: bool = False,
    steps: Sequence[str] = (),
) -> JobExecutionResult:
    """Launches the job, or re-executes the run ``parent``: from its failure, ``whole``, or just some ``steps``."""
    options = None
    if parent and (whole or steps):
        options = ReexecutionOptions(parent, list(steps))
    elif parent:
        options = ReexecutionOptions.from_failure(parent, instance)
    with execute_job(
        ReconstructableJob.for_file(__file__, "job"), instance, run_config=run_config, reexecution_options=options
    ) as result:
        return result


def attempt(run_config: dict[str, Any], **options: Any) -> tuple[bool, dict[str, Any], str]:
    """Runs the job in this process: whether it succeeded, the metadata of its ops by name, and why it failed."""
    passed.clear()
    with DagsterInstance.get() as instance:
        result = execute(instance, run_config, **options)
        metadata: dict[str, Any] = {}
        reason = ""
        for event in result.all_events:
            if event.event_type is DagsterEventType.STEP_OUTPUT:
                metadata[event.step_key] = dict(event.event_specific_data.metadata)
            if event.event_type is DagsterEventType.STEP_FAILURE:
                failure = event.step_failure_data.user_failure_data
                assert failure is not None, event.step_failure_data.error
                metadata[event.step_key] = failure.metadata
                reason = failure.description
        metadata["run"] = result.run_id
        return result.success, metadata, reason


def launch(arguments: dict[str, Any]) -> None:
    """Executes in this process; exit 1 where the run fails."""
    with DagsterInstance.get() as instance:
        sys.exit(not execute(instance, **arguments).success)


def main() -> None:
    """Does what the JSON object in the first argument says; ``spawned``: as the code server starts a run worker."""
    arguments = json.loads(sys.argv[1])
    if arguments.pop("spawned", False):
        process = multiprocessing.get_context("spawn").Process(target=launch, args=(arguments,))
        process.start()
        process.join()
        sys.exit(process.exitcode)
    launch(arguments)


if __name__ == "__main__":
    main()
