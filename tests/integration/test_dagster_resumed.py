"""The job when something comes between: an outage, an end by force, the other driver, a step that dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from code_server import code_server, ended, launch
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from loading import load
from waiting import wait_until

from elysia_dagster.settings import Settings
from elysia_dagster.sync.engine import Engine

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("dagster_driver", TESTS / "crash" / "dagster_driver.py")
World = world_module.World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test."""
    return World(tmp_path, monkeypatch)


def execute(world: "World", config: dict[str, Any] | None = None, **options: Any) -> tuple[bool, dict[str, Any], str]:
    """See ``attempt`` of the driver; the changeset is applied where no config is given."""
    result: tuple[bool, dict[str, Any], str] = driver.attempt(config or world.run_config(), **options)
    return result


def test_an_outage_is_retried_and_charged_to_no_line(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "outage:intended:2")
    success, metadata, _ = execute(world)
    assert success
    world.assert_applied()
    assert metadata["upsert_batches"]["batches settled"].value == world_module.EMBEDDED_BATCHES
    assert world.count("before-batch-saved") == world_module.EMBEDDED_BATCHES


def test_finished_by_the_shell_between_embed_and_upsert(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "refused:intended:2")
    success, failed, reason = execute(world)
    assert not success
    assert "given up for the test" in reason
    assert world.rows("SELECT lease_owner FROM sync_runs") == [(None,)], "a failed step gives the run back"
    world.resume_by_shell()
    monkeypatch.delenv("FAULT")

    success, metadata, _ = execute(world, parent=failed["run"])
    assert success
    assert "batches settled" not in metadata["upsert_batches"], "nothing was left to do"
    assert metadata["finalize_run"]["status"].value == "completed"
    world.assert_applied()

    success, _, reason = execute(world, world.run_config(changeset=None, run_id=world.the_run()))
    assert not success
    assert "there is nothing to resume" in reason


def test_resumed_by_its_name_without_the_changeset(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "refused:intended:2")
    assert not execute(world)[0]
    monkeypatch.delenv("FAULT")
    world.changeset.unlink()
    config = world.run_config(changeset=None, run_id=world.the_run())

    engine = Engine.open(Settings.from_environment())
    try:
        with engine.work_on(world.the_run()):
            success, _, reason = execute(world, config)
            assert not success
            assert f"is held by process {os.getpid()} on " in reason
    finally:
        engine.close()

    success, metadata, _ = execute(world, config)
    assert success
    assert metadata["read_changeset"]["resumed"].value is True
    world.assert_applied()


def test_a_run_given_up_is_no_success(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    from elysia_dagster.checkpoint.runs import abandon_run

    monkeypatch.setenv("FAULT", "refused:intended:2")
    _, failed, _ = execute(world)
    monkeypatch.delenv("FAULT")
    engine = Engine.open(Settings.from_environment())
    try:
        abandon_run(engine.database, world.the_run(), engine.host)
    finally:
        engine.close()
    success, _, reason = execute(world, parent=failed["run"])
    assert not success
    assert "was given up by an operator" in reason


def test_a_terminated_run_ends_and_can_be_resumed(world: "World") -> None:
    """Dagster would hand the interrupt to the retry policy, and the run would go on to its end."""
    arguments = json.dumps({"run_config": world.run_config()})
    process = subprocess.Popen(
        [sys.executable, world_module.DRIVER, arguments],
        env={**world.environment, "FAULT": "pause:inserted:2"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while world.count("inserted") < 2:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    words = (
        f"Run {world.the_run()} was interrupted; what is settled stays settled. "
        f"Go on with: elysiactl index resume --run-id {world.the_run()}"
    )
    assert words in said
    assert "STEP_UP_FOR_RETRY" not in said
    assert world.rows("SELECT status, success_count, lease_owner, last_error FROM sync_runs") == [
        ("running", 6, None, words)
    ]
    assert execute(world)[0]
    world.assert_applied()
    assert world.count("before-batch-saved") == world_module.EMBEDDED_BATCHES


def test_a_run_canceled_in_the_ui_says_how_to_go_on(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "pause:inserted:2")
    with DagsterInstance.get() as instance:
        with code_server(instance) as server:
            run = launch(server, world.run_config())
            wait_until("The second insert", lambda: world.count("inserted") == 2)
            assert instance.run_coordinator.cancel_run(run.run_id)
            assert ended(instance, run.run_id).status is DagsterRunStatus.CANCELED
        (failed,) = instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE)
        said = failed.dagster_event.step_failure_data.user_failure_data
        command = f"elysiactl index resume --run-id {world.the_run()}"
        assert said.description.endswith(f"Go on with: {command}")
        assert said.metadata["to go on"].value == f"`{command}`"
        assert said.metadata["to give it up"].value == f"`elysiactl index abandon --run-id {world.the_run()}`"
    assert world.rows("SELECT status, success_count, lease_owner FROM sync_runs") == [("running", 6, None)]
    world.resume_by_shell()
    world.assert_applied()


def test_a_killed_step_is_tried_again_in_a_process_of_its_own(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "refused:intended:1")
    _, failed, _ = execute(world)
    embedded = world_module.EMBEDDED_BATCHES
    assert world.renamed() == world.count("before-batch-saved") == embedded
    for number, path in enumerate(sorted((world.state / "work" / world.the_run()).glob("batch-*.arrow"))):
        path.write_bytes(path.read_bytes()[: number * 100])  # torn, as no rename leaves it: made again

    config = {**world.run_config(), "execution": {"config": {"multiprocess": {"max_concurrent": 2}}}}
    alone = {"parent": failed["run"], "steps": ["embed_batches"]}
    finished = world.drive("kill-step:before-batch-saved:4", run_config=config, **alone)
    # each process counts for itself: the first one saves three of six, and the second one has three left
    assert finished.returncode == 0, finished.stderr
    assert world.renamed() == embedded
    assert world.count("before-batch-saved") == embedded + embedded + 1
    workers = {keeper for process, keeper in world.keepers() if process != keeper}
    assert len(workers) == 1, "both processes of the step left the lease to the run worker"
    world.resume_by_shell()
    world.assert_applied()
    assert world.count("before-batch-saved") == embedded + embedded + 1


def test_a_run_worker_is_its_own_keeper_even_if_it_was_spawned(world: "World") -> None:
    """The code server starts run workers by ``multiprocessing``: having a parent there makes no step of them."""
    finished = world.drive(spawned=True, run_config=world.run_config())
    assert finished.returncode == 0, finished.stderr
    ((process, keeper),) = world.keepers()
    assert process == keeper
