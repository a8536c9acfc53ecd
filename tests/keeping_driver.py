"""The jobs beside ``sync_changeset``: with fault points, here or in a child, and as the shell of Dagster runs them.

As a script: ``keeping_driver.py JOB CONFIG`` executes a job with fault points; see ``crash/dagster_driver.py`` for
``FAULT`` and ``POINTS``.
"""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, Definitions, JobDefinition, RetryPolicy
from loading import load

from elysia_dagster.defs.executor import sync_executor
from elysia_dagster.defs.keeping_jobs import KEEPING_JOBS
from elysia_dagster.defs.wiring import resources

dagster_driver = load("dagster_driver", Path(__file__).parent / "crash" / "dagster_driver.py")

STEPS = {job.name: job.nodes[0].name for job in KEEPING_JOBS}
"""The step of each job."""


def job_of(name: str) -> JobDefinition:
    """The job with fault points and without the wait before a retry."""
    (graph,) = [job.graph for job in KEEPING_JOBS if job.name == name]
    quick = graph.to_job(name=name, executor_def=sync_executor, op_retry_policy=RetryPolicy(max_retries=1, delay=0.1))
    made = Definitions(jobs=[quick], resources=resources(dagster_driver.FaultyEngine))
    return made.get_job_def(name)


def run_config(name: str, **config: Any) -> dict[str, Any]:
    """The run config of a job whose step gets ``config``."""
    return {"ops": {STEPS[name]: {"config": config}}} if config else {}


def attempt(name: str, **config: Any) -> tuple[bool, dict[str, Any], str]:
    """Executes a job here: whether it succeeded, what its step shows (as text and numbers), and why it failed."""
    dagster_driver.passed.clear()
    with DagsterInstance.get() as instance:
        result = job_of(name).execute_in_process(
            run_config=run_config(name, **config), instance=instance, raise_on_error=False
        )
        shown: dict[str, Any] = {"run": result.run_id}
        reason = ""
        for event in result.all_events:
            if event.event_type_value == "STEP_OUTPUT":
                shown.update({key: each.value for key, each in event.event_specific_data.metadata.items()})
            if event.event_type_value == "STEP_FAILURE":
                failure = event.step_failure_data.user_failure_data
                assert failure is not None, event.step_failure_data.error
                shown.update({key: each.value for key, each in failure.metadata.items()})
                reason = failure.description
            if event.event_type_value == "STEP_UP_FOR_RETRY":
                shown["tried again"] = shown.get("tried again", 0) + 1
        return result.success, shown, reason


def by_shell(world: Any, name: str, *, fault: str | None = None, **config: Any) -> "subprocess.CompletedProcess[str]":
    """``dagster job execute`` of a job; with ``fault``, this script in its place."""
    environment = {**world.environment, "FAULT": fault or ""}
    if fault is not None:
        command = [sys.executable, __file__, name, json.dumps(config)]
    else:
        file = world.base / f"{name}.yaml"
        file.write_text(json.dumps(run_config(name, **config)))
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "elysia_dagster.definitions"]
        command += ["-j", name, *(["-c", str(file)] if config else [])]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def make_due(world: Any) -> None:
    """The time of every failed line comes."""
    connection = sqlite3.connect(world.state / "sync_checkpoints.db")
    with connection:
        connection.execute("UPDATE failed_lines SET next_retry_at = '2026-01-01' WHERE next_retry_at IS NOT NULL")
    connection.close()


if __name__ == "__main__":
    success, _, why = attempt(sys.argv[1], **json.loads(sys.argv[2]))
    print(why, file=sys.stderr)
    sys.exit(not success)
