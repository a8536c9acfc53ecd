"""The schedules: off by default, one run at a time, and a tick that starts nothing says why."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    build_schedule_context,
)
from loading import load

from elysia_dagster.defs.keeping_jobs import CLEANUP, COLLECT, KEEPING_JOBS, RECONCILE, RETRY
from elysia_dagster.defs.schedules import NO_DATABASE, schedules
from elysia_dagster.errors import UsageError

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("keeping_driver", TESTS / "keeping_driver.py")
World = world_module.World
MOMENT = datetime(2026, 1, 2, 3, 15, tzinfo=UTC)
CRONS = {CLEANUP: "CLEANUP_CRON", RETRY: "RETRY_CRON", RECONCILE: "RECONCILE_CRON", COLLECT: "COLLECT_CRON"}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test; its collection is the set one."""
    monkeypatch.setenv("ELYSIACTL_COLLECTION", world_module.COLLECTION)
    return World(tmp_path, monkeypatch)


def schedule_of(job: str) -> ScheduleDefinition:
    """The schedule of a job."""
    (found,) = [each for each in schedules() if each.job_name == job]
    return found


def tick(job: str, instance: DagsterInstance | None = None) -> list[RunRequest] | str:
    """What a tick asks for, or why it asks for nothing."""
    with DagsterInstance.get() if instance is None else instance as used:
        context = build_schedule_context(instance=used, scheduled_execution_time=MOMENT)
        data = schedule_of(job).evaluate_tick(context)
    assert (data.skip_message is None) == bool(data.run_requests)
    return list(data.run_requests or []) or str(data.skip_message)


def test_all_are_off_and_of_jobs_that_are_there() -> None:
    made = {each.job_name: each for each in schedules()}
    assert set(made) == {job.name for job in KEEPING_JOBS} == set(CRONS)
    assert all(each.default_status is DefaultScheduleStatus.STOPPED for each in made.values())
    assert {each.execution_timezone for each in made.values()} == {"UTC"}
    assert {name: each.cron_schedule for name, each in made.items()} == {
        CLEANUP: "30 2 * * *",
        RETRY: "*/15 * * * *",
        RECONCILE: "0 4 * * 0",
        COLLECT: "*/15 * * * *",
    }


def test_times_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELYSIACTL_TIMEZONE", "Europe/Berlin")
    for number, variable in enumerate(CRONS.values()):
        monkeypatch.setenv(f"ELYSIACTL_{variable}", f"{number} 5 * * *")
    made = {each.job_name: each for each in schedules()}
    assert {each.execution_timezone for each in made.values()} == {"Europe/Berlin"}
    assert [made[job].cron_schedule for job in CRONS] == [f"{number} 5 * * *" for number in range(4)]


WRONG = [
    *((variable, "every night") for variable in CRONS.values()),
    ("RETRY_CRON", "61 * * * *"),
    ("TIMEZONE", "Mars/Base"),
    ("BATCH_SIZE", "many"),
]


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_wrong_setting_fails_the_tick_and_not_the_load(
    world: "World", monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    (job,) = [job for job, cron in CRONS.items() if cron == variable] or [RETRY]
    default = schedule_of(job).cron_schedule
    monkeypatch.setenv(f"ELYSIACTL_{variable}", value)
    assert schedule_of(job).cron_schedule == default
    with pytest.raises(Exception, match=r"Error occurred|ELYSIACTL") as failed:
        tick(job)
    causes = [failed.value, failed.value.__cause__]
    assert any(isinstance(each, UsageError) and f"ELYSIACTL_{variable}='{value}'" in str(each) for each in causes)


def test_without_a_database_there_is_nothing_to_do(world: "World") -> None:
    for job in (CLEANUP, RETRY, RECONCILE):
        assert tick(job) == NO_DATABASE
    assert tick(COLLECT) == "No folder is set to collect changesets in: set ELYSIACTL_COLLECT_FOLDER."
    assert not world.state.exists(), "a tick that looks makes nothing"


def test_what_there_is_to_do_is_asked_for_once(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    assert driver.dagster_driver.attempt(world.run_config())[0]
    monkeypatch.setenv("ELYSIACTL_COLLECT_FOLDER", str(world.base))
    for job in (CLEANUP, RECONCILE, COLLECT):
        (request,) = tick(job)
        (again,) = tick(job)
        assert request.run_key == again.run_key == MOMENT.isoformat()
        assert not request.run_config
    assert tick(RETRY) == "There is no failed line."
    monkeypatch.setenv("ELYSIACTL_COLLECTION", "Other")
    assert tick(RECONCILE) == "There is no collection Other yet. Another one is named by ELYSIACTL_COLLECTION."


def test_failed_lines_are_tried_when_their_time_has_come(world: "World") -> None:
    world.changeset.write_text(f"{json.dumps({'path': 'late.py', 'op': 'add', 'repo': 'repo'})}\n")
    assert not driver.dagster_driver.attempt(world.run_config())[0]
    ((first,),) = world.rows("SELECT next_retry_at FROM failed_lines")
    until = first[:19].replace("T", " ")
    assert tick(RETRY) == f"1 failed line waits for the next try, the first until {until} UTC."
    driver.make_due(world)
    (request,) = tick(RETRY)
    assert request.run_key == MOMENT.isoformat()


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
def test_no_second_run_beside_one_that_is_not_at_its_end(
    world: "World", monkeypatch: pytest.MonkeyPatch, status: DagsterRunStatus
) -> None:
    monkeypatch.setenv("ELYSIACTL_COLLECT_FOLDER", str(world.base))
    job = driver.job_of(COLLECT)
    with DagsterInstance.get() as instance:
        other = instance.create_run_for_job(driver.job_of(CLEANUP), status=status)
        assert len(tick(COLLECT)) == 1, f"the run {other.run_id} is of another job"
        run = instance.create_run_for_job(job, status=status)
        assert tick(COLLECT) == f"Run {run.run_id} of {COLLECT} is not at its end."
        instance.report_run_failed(run)
        assert len(tick(COLLECT)) == 1


def test_the_definitions_are_valid(world: "World") -> None:
    """As a deployment asks, with a wrong setting in the environment."""
    root = TESTS.parent
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=root,
        env={**world.environment, "ELYSIACTL_CLEANUP_CRON": "nonsense", "ELYSIACTL_BATCH_SIZE": "many"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not world.state.exists()
