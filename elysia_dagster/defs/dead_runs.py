"""The sensor that closes Dagster runs whose worker died without a word.

Dagster's default launcher checks no worker's health: a run whose process was killed together with the code server that
started it stays STARTED for ever, keeps its slot of the queue, and cannot be re-executed from failure. The lease of the
sync run does not tell it alone: its owner may be the process of one step, which the run's worker outlives.
"""

from collections.abc import Iterator

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from elysia_dagster.checkpoint.owner import Liveness, this_host
from elysia_dagster.defs.worker import worker_of
from elysia_dagster.errors import ElysiaError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.existing import existing_checkpoint
from elysia_dagster.sync.standing import standing_of

UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
"""What a run is whose worker should live. One that is STARTING and never got a process is left to Dagster's own run
monitoring: nobody can tell it from one that is about to get it."""


@sensor(
    minimum_interval_seconds=15,
    default_status=DefaultSensorStatus.RUNNING,
    description="Closes Dagster runs whose process is gone, so that they hold no slot of the queue and can be "
    "re-executed from failure. What they had settled stays settled.",
)
def close_dead_runs(context: SensorEvaluationContext) -> SkipReason:
    """Looks at every run under way; one of another host, of which nothing can be told from here, is let alone."""
    host = this_host()
    closed, looked_at = [], 0
    for run in _runs_under_way(context):
        looked_at += 1
        worker, liveness = worker_of(context.instance, run, host)
        if liveness is Liveness.DEAD and _close(context.instance, run.run_id, worker):
            context.log.info(f"Run {run.run_id} of {run.job_name} is closed: {worker} is gone.")
            closed.append(run.run_id)
    if closed:
        return SkipReason(f"Closed, since the process is gone: {', '.join(closed)}.")
    return SkipReason(f"Runs under way: {looked_at}, none of them known to be dead.")


def _runs_under_way(context: SensorEvaluationContext) -> Iterator[DagsterRun]:
    """Those of the code location's own jobs, and of the same names that a shell executes, which have no origin."""
    repository = context.repository_def
    names = set(repository.job_names) if repository is not None else set()
    for run in context.instance.get_runs(RunsFilter(statuses=UNDER_WAY)):
        origin = run.remote_job_origin
        if run.job_name not in names:
            continue
        if origin is not None and context.code_location_origin is not None:
            location = origin.repository_origin.code_location_origin.location_name
            if location != context.code_location_origin.location_name:
                continue
        yield run


def _close(instance: DagsterInstance, run_id: str, worker: str) -> bool:
    """Whether the run was still open: a worker says how its run ended before it goes."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in UNDER_WAY:
        return False
    if run.status is DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, f"The run was to be canceled, and {worker} is gone. {_what_is_left(run)}")
        return True
    words = f"{worker[0].upper()}{worker[1:]}, which worked on this run, is gone: killed, out of memory, or its machine"
    instance.report_run_failed(run, f"{words} went down. {_what_is_left(run)}")
    return True


def _what_is_left(run: DagsterRun) -> str:
    again = "Re-execute this run from failure"
    try:
        with existing_checkpoint(Settings.from_environment()) as database:
            standing = None if database is None else standing_of(database, ancestry(run))
    except ElysiaError as error:  # the run is dead all the same
        return f"{again}, when the checkpoint can be read again: {error}"
    if standing is None:
        return "No sync run of it is known: nothing is lost. Re-execute this run whole, or launch the job again."
    if standing.command:
        return f"{standing} {again}, or give: {standing.command}"
    return str(standing)


def ancestry(run: DagsterRun) -> list[str]:
    """The run's id, then those of the run that it re-executes and of the first of them all."""
    return [each for each in (run.run_id, run.parent_run_id, run.root_run_id) if each]
