"""``retry_failed_lines``: which lines it tries, what it leaves alone, and what it shows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from loading import load

from elysia_dagster.checkpoint import claims, lookup
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.settings import Settings
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.retry import retry_run

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("keeping_driver", TESTS / "keeping_driver.py")
World = world_module.World
JOB = "retry_failed_lines"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test."""
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world", monkeypatch)


def fail(world: "World", *paths: str, **options: Any) -> str:
    """A sync run of these files, of which those fail that are not there; its id."""
    world.changeset.write_text(
        "".join(f"{json.dumps({'path': path, 'op': 'add', 'repo': 'repo'})}\n" for path in paths)
    )
    success, metadata, reason = driver.dagster_driver.attempt(world.run_config(**options))
    assert not success
    assert "lines of run" in reason
    return str(metadata["read_changeset"]["sync run"].value)


def write(world: "World", *names: str) -> None:
    """The files come."""
    for name in names:
        (world.source / "repo" / name).write_text(f"def {name[:-3]}():\n    return {len(name)}\n")


def failed(world: "World") -> list[tuple[Any, ...]]:
    """Run, line, retries and whether it is asked for, of every failed line, the oldest run first."""
    return world.rows(
        "SELECT run_id, line_number, retry_count, pending FROM failed_lines JOIN sync_runs USING (run_id) "
        "ORDER BY sequence, line_number"
    )


def states(world: "World") -> dict[str, str]:
    """The status of every run."""
    return dict(world.rows("SELECT run_id, status FROM sync_runs"))


def open_engine() -> Engine:
    """An engine of this process."""
    return Engine.open(Settings.from_environment())


def test_from_the_shell_of_dagster(world: "World") -> None:
    first, second = fail(world, "one.py", "two.py"), fail(world, "three.py")
    write(world, "one.py", "three.py")
    driver.make_due(world)
    done = driver.by_shell(world, JOB)
    assert done.returncode == 1, done.stderr
    assert failed(world) == [(first, 2, 1, 0)]
    assert states(world) == {first: "failed", second: "completed"}
    words = f"1 lines of 1 sync runs are still failed; the first run is {first}."
    assert words in done.stderr
    with DagsterInstance.get() as instance:
        newest = instance.get_runs(limit=1)[0]
        assert newest.job_name == JOB
        (failure,) = [
            entry.dagster_event.step_failure_data.user_failure_data
            for entry in instance.all_logs(newest.run_id)
            if entry.dagster_event and entry.dagster_event.event_type_value == "STEP_FAILURE"
        ]
    shown = {name: each.value for name, each in failure.metadata.items()}
    assert (shown["sync runs tried"], shown["lines mended"], shown["lines still failed"]) == (2, 2, 1)
    assert f"| {first} | failed | 2 | 1 |" in shown["sync runs"]
    assert f"| {second} | completed | 1 | 0 |" in shown["sync runs"]
    assert f"| {first} | 2 | two.py | " in shown["first failures"]
    assert shown["repair"] == f"`elysiactl index retry --run-id {first}`"

    write(world, "two.py")
    done = driver.by_shell(world, JOB)
    assert done.returncode == 0, done.stderr  # its time has not come: nothing to try
    assert failed(world) == [(first, 2, 1, 0)]
    done = driver.by_shell(world, JOB, run_id=first, lines=[2])
    assert done.returncode == 0, done.stderr
    assert failed(world) == []
    assert set(states(world).values()) == {"completed"}


def test_words_and_exit_code_of_a_wrong_config(world: "World") -> None:
    done = driver.by_shell(world, JOB, lines=[1])
    assert done.returncode == 1
    assert "Lines are named, and not the run that they are of. Add --run-id" in done.stderr
    done = driver.by_shell(world, JOB, run_idd="x")
    assert done.returncode == 1
    assert '"run_idd"' in done.stderr  # the field by its name
    assert states(world) == {}


def test_what_is_due_and_what_is_not(world: "World") -> None:
    world.changeset.write_text(
        "".join(f"{line}\n" for line in ('{"path": 7}', '{"path": "late.py", "op": "add", "repo": "repo"}'))
    )
    driver.dagster_driver.attempt(world.run_config(max_retries=1))
    (run_id,) = states(world)
    write(world, "late.py")

    success, shown, _ = driver.attempt(JOB)
    assert success
    assert (shown["sync runs tried"], shown["sync runs left out"]) == (0, 0)
    assert failed(world) == [(run_id, 1, 0, 0), (run_id, 2, 0, 0)]

    driver.make_due(world)
    success, shown, _ = driver.attempt(JOB)
    assert not success, "the permanent one is left"
    assert shown["lines mended"] == 1
    assert shown["repair"].endswith("--permanent`")
    assert failed(world) == [(run_id, 1, 0, 0)]
    assert driver.attempt(JOB, run_id=run_id)[1]["left out"].count("none that may be tried again") == 1

    success, shown, _ = driver.attempt(JOB, permanent=True, fail_on_failed_lines=False)
    assert success
    assert failed(world) == [(run_id, 1, 1, 0)]
    driver.attempt(JOB, permanent=True)
    assert failed(world) == [(run_id, 1, 1, 0)], "its one try is used up"
    driver.attempt(JOB, permanent=True, every=True)
    assert failed(world) == [(run_id, 1, 2, 0)]


def test_a_run_that_somebody_works_on_does_not_stop_the_rest(world: "World") -> None:
    held, free = fail(world, "one.py"), fail(world, "two.py")
    write(world, "one.py", "two.py")
    driver.make_due(world)
    engine = open_engine()
    try:
        run = lookup.load_run(engine.database, held)
        owner = Owner.of(os.getppid(), engine.host)
        lease = claims.take_lease(engine.database, run, collection_id=1, owner=owner, label="", seconds=600)
        success, shown, _ = driver.attempt(JOB)
        assert success
        assert states(world) == {held: "failed", free: "completed"}
        assert f"run {held} is held by process {os.getppid()} on" in shown["left out"]
        claims.release_lease(engine.database, lease)
    finally:
        engine.close()
    assert driver.attempt(JOB)[0]
    assert set(states(world).values()) == {"completed"}


def test_a_run_without_its_input_is_left_out_and_said(world: "World") -> None:
    run_id = fail(world, "one.py")
    driver.make_due(world)
    (world.state / "work" / run_id / "changeset.jsonl").unlink()
    success, shown, _ = driver.attempt(JOB)
    assert success
    assert f"the input of run {run_id} is not in " in shown["left out"]
    assert failed(world) == [(run_id, 1, 0, 0)]


def test_a_retry_that_died_half_way_is_taken_up(world: "World") -> None:
    """Also where it had settled all its lines: then it is only brought to its end."""
    first, second = fail(world, "one.py"), fail(world, "two.py")
    write(world, "one.py", "two.py")
    engine = open_engine()
    try:
        assert retry_run(engine, first) is not None
    finally:
        engine.close()
    assert states(world) == {first: "running", second: "failed"}
    assert failed(world) == [(first, 1, 0, 1), (second, 1, 0, 0)]
    success, shown, _ = driver.attempt(JOB)
    assert success
    assert states(world) == {first: "completed", second: "failed"}, "the time of the other has not come"
    assert shown["lines mended"] == 1

    killed = driver.by_shell(world, JOB, fault="kill-run:before-finalize:1", run_id=second)
    assert world_module.was_killed(killed), killed.stderr
    assert states(world)[second] == "running"
    assert failed(world) == []
    assert driver.attempt(JOB)[0]
    assert states(world) == {first: "completed", second: "completed"}


@pytest.mark.parametrize("point", ["retry-asked", "claimed", "unsent-settled", "inserted"])
def test_a_run_re_executed_from_its_last_step_ends_what_a_retry_left(world: "World", point: str) -> None:
    """The steps before it, which settle lines, are not executed again: one line needs the store, one does not."""
    world.changeset.write_text('{"path": 7}\n{"path": "late.py", "op": "add", "repo": "repo"}\n')
    success, metadata, reason = driver.dagster_driver.attempt(world.run_config())
    assert (success, "2 of 2 lines" in reason) == (False, True), reason
    write(world, "late.py")
    killed = driver.by_shell(world, JOB, fault=f"kill-run:{point}:1", run_id=world.the_run(), permanent=True)
    assert world_module.was_killed(killed), killed.stderr
    assert states(world) == {world.the_run(): "running"}
    success, _, reason = driver.dagster_driver.attempt(world.run_config(), parent=metadata["run"])
    assert (success, "1 of 2 lines" in reason) == (False, True), reason
    assert states(world) == {world.the_run(): "failed"}
    assert failed(world) == [(world.the_run(), 1, 1, 0)]
    left = {each.name for each in (world.state / "work" / world.the_run()).iterdir()}
    assert "plan-unsent.jsonl" not in left


def test_a_sync_that_is_not_at_its_end_is_left_to_its_resume(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "refused:before-finalize:1")
    world.changeset.write_text('{"path": "one.py", "op": "add", "repo": "repo"}\n')
    assert not driver.dagster_driver.attempt(world.run_config())[0]
    monkeypatch.delenv("FAULT")
    driver.make_due(world)
    success, shown, _ = driver.attempt(JOB)
    assert success
    assert f"elysiactl index resume --run-id {world.the_run()}" in shown["left out"]
    assert states(world) == {world.the_run(): "running"}


def test_an_outage_is_retried_then_resumable(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    first = fail(world, "one.py")
    write(world, "one.py")
    driver.make_due(world)
    monkeypatch.setenv("FAULT", "outage:intended:1")
    success, shown, _ = driver.attempt(JOB)
    assert success, "the second try of the step"
    assert shown["tried again"] == 1
    assert states(world) == {first: "completed"}

    second, third = fail_beside_outage(world, monkeypatch)
    monkeypatch.setattr(driver.dagster_driver, "at_point", outage_at("intended"))
    success, shown, reason = driver.attempt(JOB)
    assert not success
    assert "The store does not answer." in reason
    assert shown["error"] == "StoreUnavailable"
    assert f"run {third} needs what run {second} waits for" in shown["left out"]
    assert world.rows("SELECT lease_owner FROM sync_runs WHERE lease_owner IS NOT NULL") == []
    assert [row[2] for row in failed(world)] == [0, 0], "an outage was charged to a line"
    monkeypatch.undo()
    monkeypatch.setenv("DAGSTER_HOME", str(world.home))
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(world.state))
    monkeypatch.setenv("POINTS", str(world.points))
    assert driver.attempt(JOB)[0]
    assert set(states(world).values()) == {"completed"}


def fail_beside_outage(world: "World", monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two runs with lines that are due, the older first."""
    monkeypatch.delenv("FAULT")
    runs = fail(world, "two.py"), fail(world, "three.py")
    write(world, "two.py", "three.py")
    driver.make_due(world)
    return runs


def outage_at(place: str) -> Any:
    """A fault at every passing of a point."""

    def at_point(point: str) -> None:
        if point == place:
            raise driver.dagster_driver.StoreUnavailable("The store does not answer.", next_step="Start it.")

    return at_point
