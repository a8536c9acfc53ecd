"""Dagster runs whose worker is gone are closed by the sensor, and no other: then they are re-executed from failure."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from code_server import code_server, launch
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, build_sensor_context
from dagster._core.events import EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.tags import GRPC_INFO_TAG
from loading import load
from waiting import wait_until

from elysia_dagster.checkpoint.owner import Host, Liveness, Owner, liveness_since, this_host
from elysia_dagster.definitions import definitions
from elysia_dagster.defs.dead_runs import close_dead_runs
from elysia_dagster.defs.worker import WORKER_ENTRY

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


world_module = load("dagster_world", Path(__file__).parents[1] / "dagster_world.py")
driver = load("dagster_driver", Path(__file__).parent / "dagster_driver.py")
World = world_module.World
MULTIPROCESS = {
    "config": {"multiprocess": {"start_method": {"forkserver": {"preload_modules": ["elysia_dagster.definitions"]}}}}
}
"""Steps in processes of their own that begin soon."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test."""
    return World(tmp_path, monkeypatch)


def evaluate(instance: DagsterInstance) -> str:
    """One tick of the sensor: what it says of it."""
    with build_sensor_context(instance=instance, definitions=definitions) as context:
        return str(close_dead_runs(context).skip_message)


def the_run(instance: DagsterInstance) -> DagsterRun:
    """The one Dagster run that there is."""
    (run,) = instance.get_runs()
    return run


def last_words(instance: DagsterInstance, run: DagsterRun) -> str:
    """What the event says that ended the run."""
    ended = {DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}
    (entry,) = instance.all_logs(run.run_id, of_type=ended)
    return str(entry.dagster_event.message)


@pytest.mark.parametrize("execution", [{}, {"execution": MULTIPROCESS}], ids=["one process", "steps in processes"])
def test_a_run_whose_worker_was_killed_is_closed_and_taken_up_from_failure(
    world: "World", execution: dict[str, object]
) -> None:
    killed = world.drive("kill-run:inserted:3", run_config=world.run_config() | execution)
    assert world_module.was_killed(killed), killed.stderr
    with DagsterInstance.get() as instance:
        run = the_run(instance)
        assert run.status is DagsterRunStatus.STARTED
        assert evaluate(instance) == f"Closed, since the process is gone: {run.run_id}."
        assert the_run(instance).status is DagsterRunStatus.FAILURE
        words = last_words(instance, run)
        assert words.startswith("Process ")
        assert "is gone: killed, out of memory, or its machine went down." in words
        sync_run = world.the_run()
        assert f"11 of 32 lines of sync run {sync_run} are settled and stay so; nothing is lost." in words
        assert words.endswith(f"Re-execute this run from failure, or give: elysiactl index resume --run-id {sync_run}")
        assert evaluate(instance) == "Runs under way: 0, none of them known to be dead."
        assert driver.execute(instance, world.run_config(), parent=run.run_id).success
    world.assert_applied()


@contextmanager
def paused(world: "World", point: str, **run_config: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A run in a process of its own that has come to ``point``; killed at the end of the block."""
    arguments = json.dumps({"run_config": world.run_config() | run_config})
    process = subprocess.Popen(
        [sys.executable, world_module.DRIVER, arguments],
        env={**world.environment, "FAULT": f"hang:{point}:1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(f"The run at {point}", lambda: world.count(point) == 1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_that_lives_is_let_alone_and_one_to_be_canceled_is_canceled_when_it_is_dead(world: "World") -> None:
    with DagsterInstance.get() as instance:
        with paused(world, "intended"):
            run = the_run(instance)
            assert evaluate(instance) == "Runs under way: 1, none of them known to be dead."
            instance.report_run_canceling(run)
            assert evaluate(instance) == "Runs under way: 1, none of them known to be dead."
            assert the_run(instance).status is DagsterRunStatus.CANCELING
        assert evaluate(instance) == f"Closed, since the process is gone: {run.run_id}."
        assert the_run(instance).status is DagsterRunStatus.CANCELED
        assert last_words(instance, run).endswith(f"elysiactl index resume --run-id {world.the_run()}")
    world.resume_by_shell()
    world.assert_applied()


def test_a_step_that_dies_alone_does_not_close_its_run(world: "World") -> None:
    """The owner of the lease is dead then, and the run's worker is not."""
    with DagsterInstance.get() as instance:
        with paused(world, "before-batch-saved", execution=MULTIPROCESS) as worker:
            step = int(world.points.read_text().splitlines()[-1].split()[1])
            assert step != worker.pid
            os.kill(worker.pid, signal.SIGSTOP)  # so that it does not begin the step anew meanwhile
            os.kill(step, signal.SIGKILL)
            ((owner,),) = world.rows("SELECT lease_owner FROM sync_runs")
            wait_until("The death of the owner", lambda: Owner.from_json(owner).liveness(this_host()) is Liveness.DEAD)
            assert evaluate(instance) == "Runs under way: 1, none of them known to be dead."
        assert evaluate(instance).startswith("Closed, since")


def test_a_run_that_ended_well_while_the_sensor_looked_stays_so(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    with DagsterInstance.get() as instance:
        run = new_run(instance)
        started(instance, run, pid=a_dead_pid())
        seen = instance.get_runs
        instance.report_run_failed(run, "It ended by itself.")
        stale = [replace_status(each, DagsterRunStatus.STARTED) for each in seen()]
        monkeypatch.setattr(instance, "get_runs", lambda *_: stale)
        assert evaluate(instance) == "Runs under way: 1, none of them known to be dead."
        assert last_words(instance, run) == "It ended by itself."


def replace_status(run: DagsterRun, status: DagsterRunStatus) -> DagsterRun:
    """The run as it was a moment ago."""
    return run.with_status(status)


def new_run(instance: DagsterInstance, *, launched: bool = True) -> DagsterRun:
    """A run that has been started, by Dagster's default launcher if it is ``launched``."""
    tags = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": "/tmp/x"})} if launched else {}
    job = definitions.get_job_def("sync_changeset")
    return instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, tags=tags)


def started(instance: DagsterInstance, run: DagsterRun, *, pid: int, seconds_ago: float = 0.0) -> None:
    """The event by which Dagster names the worker's pid."""
    event = DagsterEvent(
        event_type_value=DagsterEventType.ENGINE_EVENT.value,
        job_name=run.job_name,
        message=f"Started process for run (pid: {pid}).",
        event_specific_data=EngineEventData.in_process(pid),
    )
    instance.handle_new_event(
        EventLogEntry(
            error_info=None,
            user_message="",
            level=20,
            run_id=run.run_id,
            timestamp=time.time() - seconds_ago,
            job_name=run.job_name,
            dagster_event=event,
        )
    )


def introduced(instance: DagsterInstance, run: DagsterRun, worker: Owner) -> None:
    """The event by which our workers say who they are."""
    instance.report_engine_event("It is me.", run, EngineEventData({WORKER_ENTRY: worker.to_json()}))


def a_dead_pid() -> int:
    """Of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_that_died_before_it_said_who_it_is_is_told_by_its_pid(world: "World") -> None:
    nobody_is_dead = "Runs under way: 1, none of them known to be dead."
    with DagsterInstance.get() as instance:
        run = new_run(instance)
        assert evaluate(instance) == nobody_is_dead, "it has no process yet"
        started(instance, run, pid=os.getpid())
        assert evaluate(instance) == nobody_is_dead, "this process lives"
        started(instance, run, pid=a_dead_pid())
        assert evaluate(instance).startswith("Closed, since")
        assert "No sync run of it is known: nothing is lost." in last_words(instance, run)


def test_a_process_that_got_the_workers_pid_later_is_another_one(world: "World") -> None:
    with DagsterInstance.get() as instance:
        run = new_run(instance)
        started(instance, run, pid=os.getpid(), seconds_ago=86_400 * 365)
        assert evaluate(instance).startswith("Closed, since")
    assert liveness_since(os.getpid(), time.time()) is Liveness.ALIVE
    assert liveness_since(os.getpid(), 0.0) is Liveness.DEAD
    assert liveness_since(a_dead_pid(), time.time()) is Liveness.DEAD


def test_what_cannot_be_told_from_here_is_let_alone(world: "World") -> None:
    here = this_host()
    elsewhere = replace(
        Owner.this_process(), host=Host(name="elsewhere", boot_id="1", pid_namespace="2"), pid=a_dead_pid()
    )
    boxed = replace(Owner.this_process(), host=replace(here, pid_namespace="pid:[1]"), pid=a_dead_pid())
    with DagsterInstance.get() as instance:
        for owner in (elsewhere, boxed):
            introduced(instance, new_run(instance), owner)
        started(instance, new_run(instance, launched=False), pid=a_dead_pid())  # of another launcher: of any host
        assert evaluate(instance) == "Runs under way: 3, none of them known to be dead."
        rebooted = replace(Owner.this_process(), host=replace(here, boot_id="an earlier one"))
        introduced(instance, new_run(instance), rebooted)
        assert evaluate(instance).startswith("Closed, since")


def test_a_run_is_closed_though_the_checkpoint_cannot_be_read(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    world.state.mkdir()
    (world.state / "sync_checkpoints.db").write_text("no database at all, of whatever length it may be " * 100)
    with DagsterInstance.get() as instance:
        run = new_run(instance)
        started(instance, run, pid=a_dead_pid())
        assert evaluate(instance).startswith("Closed, since")
        assert "when the checkpoint can be read again: " in last_words(instance, run)


def test_launched_by_a_code_server_that_was_killed_with_it(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    """As the machine's out-of-memory killer does it: nobody is left to say that the run is dead."""
    monkeypatch.setenv("FAULT", "kill-launched-run:inserted:3")
    with DagsterInstance.get() as instance:
        with code_server(instance) as server:
            run = launch(server, world.run_config())
            wait_until("The third insert", lambda: world.count("inserted") == 3)
            pid = int(world.points.read_text().splitlines()[-1].split()[1])
            wait_until("The death of the worker", lambda: liveness_since(pid, time.time()) is Liveness.DEAD)
            assert the_run(instance).status is DagsterRunStatus.STARTED
            assert evaluate(instance) == f"Closed, since the process is gone: {run.run_id}."
            assert f"Process {pid} on " in last_words(instance, run)
        monkeypatch.delenv("FAULT")
        assert driver.execute(instance, world.run_config(), parent=run.run_id).success
    world.assert_applied()
