"""Promises 1, 2, 6 and 9 for the Dagster job: killed in the middle of a stage, then taken up in every way there is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from loading import load
from waiting import wait_until

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)

MULTIPROCESS = {
    "config": {"multiprocess": {"start_method": {"forkserver": {"preload_modules": ["elysia_dagster.definitions"]}}}}
}
"""As a deployment would have it whose steps should begin soon; the tests of the job use the default way, too."""


world_module = load("dagster_world", Path(__file__).parents[1] / "dagster_world.py")
driver = load("dagster_driver", Path(__file__).parent / "dagster_driver.py")
World = world_module.World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test, in a folder beside which a snapshot has room."""
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world", monkeypatch)


def close_dead_run(world: "World") -> str:
    """Marks the Dagster run that the kill left behind as failed, as a sensor would; returns its id."""
    with DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.status is DagsterRunStatus.STARTED
        instance.report_run_failed(run)
        return str(run.run_id)


def from_failure(world: "World", parent: str) -> None:
    """Re-executed from failure."""
    with DagsterInstance.get() as instance:
        assert driver.execute(instance, world.run_config(), parent=parent).success


def whole(world: "World", parent: str) -> None:
    """All steps re-executed."""
    with DagsterInstance.get() as instance:
        assert driver.execute(instance, world.run_config(), parent=parent, whole=True).success


def launched_again(world: "World", _parent: str) -> None:
    """The same job launched as if nothing had been."""
    with DagsterInstance.get() as instance:
        assert driver.execute(instance, world.run_config()).success


def by_shell(world: "World", _parent: str) -> None:
    """Taken over by the other driver."""
    world.resume_by_shell()


def from_failure_in_processes(world: "World", parent: str) -> None:
    """Re-executed from failure, each step in a process of its own."""
    finished = world.drive(parent=parent, run_config=world.run_config() | {"execution": MULTIPROCESS})
    assert finished.returncode == 0, finished.stderr


Recovery = Callable[["World", str], None]
IN_PROCESS: list[Recovery] = [from_failure, whole, launched_again, by_shell]
IN_PROCESSES: list[Recovery] = [from_failure_in_processes, whole, launched_again, by_shell]


def assert_every_way_leads_on(world: "World", recoveries: list[Recovery], *, embedded_in_all: int) -> None:
    """From the state that the kill left, each recovery gives the truth; ``embedded_in_all`` counts batches."""
    restore = world.snapshot()
    for recover in recoveries:
        restore()
        recover(world, close_dead_run(world))
        world.assert_applied()
        assert world.count("before-batch-saved") == embedded_in_all, recover.__name__
        assert world.renamed() == 0


def test_killed_while_embedding(world: "World") -> None:
    killed = world.drive("kill-run:before-batch-saved:4", run_config=world.run_config())
    assert world_module.was_killed(killed), killed.stderr
    assert world.renamed() == 3
    assert world.rows("SELECT success_count FROM sync_runs") == [(1,)]
    assert len({keeper for _, keeper in world.keepers()}) == 1
    assert_every_way_leads_on(world, IN_PROCESS, embedded_in_all=world_module.EMBEDDED_BATCHES + 1)


def test_killed_while_upserting(world: "World") -> None:
    killed = world.drive("kill-run:inserted:3", run_config=world.run_config())
    assert world_module.was_killed(killed), killed.stderr
    assert world.renamed() == world_module.EMBEDDED_BATCHES - 2
    assert world.rows("SELECT success_count FROM sync_runs") == [(11,)]
    assert_every_way_leads_on(world, IN_PROCESS, embedded_in_all=world_module.EMBEDDED_BATCHES)


def test_killed_while_embedding_in_processes(world: "World") -> None:
    config = world.run_config() | {"execution": MULTIPROCESS}
    killed = world.drive("kill-run:before-batch-saved:4", run_config=config)
    assert world_module.was_killed(killed), killed.stderr
    assert world.renamed() == 3
    processes = {pid for pid, _ in world.keepers()}
    keepers = {keeper for _, keeper in world.keepers()}
    assert len(processes) == 3
    assert len(keepers) == 1, "the run worker keeps the lease, not a step's process"
    assert not processes & keepers
    assert_every_way_leads_on(world, IN_PROCESSES, embedded_in_all=world_module.EMBEDDED_BATCHES + 1)


def test_a_step_dies_with_its_run_worker(world: "World") -> None:
    config = world.run_config() | {"execution": MULTIPROCESS}
    killed = world.drive("kill-worker-only:inserted:3", run_config=config)
    assert world_module.was_killed(killed), killed.stderr
    orphan = int(world.points.read_text().splitlines()[-1].split()[1])
    # by itself it would go on for a minute, and hold the lease
    wait_until("The end of the step, with its run", lambda: not is_running(orphan), patience_s=45)
    assert_every_way_leads_on(world, IN_PROCESSES, embedded_in_all=world_module.EMBEDDED_BATCHES)


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
