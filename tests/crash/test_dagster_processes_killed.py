"""Promises 1, 2 and 6 on a real Dagster: its processes are killed in the middle of runs and started again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster_processes import DagsterProcesses, has_ended
from dagster_world import World
from fault_file import FaultFile, faulty_dagster
from waiting import wait_until

JOB = "sync_changeset"
MIDDLE = "pause:inserted:3"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterProcesses, FaultFile]]:
    """One Dagster for all of these tests: each leaves it whole."""
    with faulty_dagster(tmp_path_factory.mktemp("dagster")) as running:
        yield running


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[World]:
    """Two that know nothing of each other."""
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made.append(World(tmp_path / name, monkeypatch))
    return made


def config_of(world: World) -> dict[str, Any]:
    """Applies the world's changeset to the state of that world."""
    return {**world.run_config(), "resources": {"checkpoint": {"config": {"state_folder": str(world.state)}}}}


def test_daemon_and_web_server_killed(faulty: tuple[DagsterProcesses, FaultFile], worlds: list[World]) -> None:
    dagster, fault = faulty
    working, waiting = worlds
    fault.set(MIDDLE)
    before = len(dagster.client.runs())
    run_id = dagster.client.launch(JOB, config_of(working))
    worker = fault.paused()
    dagster.kill_daemon()
    queued = dagster.client.launch(JOB, config_of(waiting))
    dagster.kill_webserver()
    assert not has_ended(worker), "a run does not need them"
    dagster.start_webserver()
    assert dagster.client.status(queued) == "QUEUED"
    dagster.start_daemon()
    fault.clear()
    for each in (run_id, queued):
        assert dagster.client.wait(each) == "SUCCESS"
    assert len(dagster.client.runs()) == before + 2
    for world in worlds:
        world.assert_applied()


def test_run_worker_killed(faulty: tuple[DagsterProcesses, FaultFile], worlds: list[World]) -> None:
    dagster, fault = faulty
    world = worlds[0]
    fault.set(MIDDLE)
    run_id = dagster.client.launch(JOB, config_of(world))
    assert fault.paused() == dagster.run_worker(run_id)
    dagster.kill_run_worker(run_id)
    assert world.rows("SELECT status, success_count FROM sync_runs") == [("running", 11)]
    fault.clear()
    assert dagster.client.wait(run_id) == "FAILURE"
    again = dagster.client.reexecute(run_id)
    assert dagster.client.wait(again) == "SUCCESS"
    assert 'Started execution of step "read_changeset".' not in dagster.client.messages(again)
    world.assert_applied()


def test_everything_killed_at_once(faulty: tuple[DagsterProcesses, FaultFile], worlds: list[World]) -> None:
    dagster, fault = faulty
    world = worlds[0]
    fault.set(MIDDLE)
    lost = dagster.client.launch(JOB, config_of(world))
    worker = fault.paused()
    dagster.kill_all()
    wait_until("The end of the run worker", lambda: has_ended(worker))
    fault.clear()
    dagster.start_webserver()
    dagster.start_daemon()
    assert dagster.client.wait(lost) == "FAILURE", "a sensor sees that its process is gone"
    again = dagster.client.reexecute(lost)
    assert dagster.client.wait(again) == "SUCCESS"
    world.assert_applied()
