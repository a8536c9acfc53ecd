"""The process that runs a Dagster run: how it says who it is, and whether it still lives."""

import re
from collections.abc import Iterator

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, Executor
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.storage.tags import GRPC_INFO_TAG

from elysia_dagster.checkpoint.owner import Host, Liveness, Owner, liveness_since

WORKER_ENTRY = "worker"
"""The entry of the event by which a worker says who it is, with host, boot and start, which a pid does not tell."""

_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")
"""What Dagster logs in the worker before it loads the job (``dagster/_grpc/impl.py``)."""


class IntroducingExecutor(Executor):
    """Any executor; before its first step the run's worker says in the run's log who it is."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> RetryMode:
        """As the executor does it."""
        return self._executor.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """As the executor does it."""
        return self._executor.step_dependency_config

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """The executor's events after the worker's."""
        worker = Owner.this_process()
        yield DagsterEvent.engine_event(
            plan_context, f"The worker of this run is {worker}.", EngineEventData({WORKER_ENTRY: worker.to_json()})
        )
        yield from self._executor.execute(plan_context, execution_plan)


def worker_of(instance: DagsterInstance, run: DagsterRun, host: Host) -> tuple[str, Liveness]:
    """Who works, or worked, on a run, and what ``host`` can tell of it.

    By what the worker says of itself. One that had no time to say it is known by its pid alone: that counts where
    Dagster's default launcher started it, as a child of the process that evaluates sensors, and so on this host.
    """
    found = ("no process that is known", Liveness.UNKNOWN)
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None:
            continue
        introduced = event.engine_event_data.metadata.get(WORKER_ENTRY) if event.event_specific_data else None
        if introduced is not None:
            owner = Owner.from_json(str(introduced.value))
            found = (str(owner), owner.liveness(host))
        elif GRPC_INFO_TAG in run.tags and (started := _STARTED.match(event.message or "")):
            pid = int(started[1])
            found = (f"process {pid} on {host.name}", liveness_since(pid, entry.timestamp))
    return found
