"""``retry_failed_lines`` killed by SIGKILL and launched again: nothing is lost, nothing is charged twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from loading import load

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


@pytest.mark.parametrize("point", ["retry-asked", "intended", "inserted", "settled"])
def test_killed_and_launched_again(world: "World", point: str) -> None:
    first, second = fail(world, "one.py", "two.py"), fail(world, "three.py")
    write(world, "one.py", "two.py", "three.py")
    driver.make_due(world)
    killed = driver.by_shell(world, JOB, fault=f"kill-run:{point}:1")
    assert world_module.was_killed(killed), killed.stderr
    success, _, reason = driver.attempt(JOB)
    assert success, reason
    assert dict(world.rows("SELECT run_id, status FROM sync_runs")) == {first: "completed", second: "completed"}
    assert world.rows("SELECT * FROM failed_lines") == []
    assert world.rows("SELECT * FROM documents WHERE state <> 'present'") == []
    assert world.rows("SELECT COUNT(*) FROM completed_lines") == [(3,)]
    assert len(world.held()) == 3
