"""``cleanup_checkpoints``, and the space that it gives back."""

import sqlite3
from pathlib import Path

import pytest
from loading import load

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("keeping_driver", TESTS / "keeping_driver.py")
World = world_module.World
JOB = "cleanup_checkpoints"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world with one finished run."""
    made = World(tmp_path, monkeypatch)
    assert driver.dagster_driver.attempt(made.run_config())[0]
    return made


def test_from_the_shell_of_dagster(world: "World") -> None:
    done = driver.by_shell(world, JOB)
    assert done.returncode == 0, done.stderr
    assert "Dropped 0 runs that ended more than 7 days ago." in done.stderr
    assert len(world.rows("SELECT run_id FROM sync_runs")) == 1

    done = driver.by_shell(world, JOB, keep_days=0.0)
    assert done.returncode == 0, done.stderr
    assert world.rows("SELECT run_id FROM sync_runs") == []
    assert list((world.state / "work").iterdir()) == []
    assert world.held() == world.truth(), "documents stay"

    done = driver.by_shell(world, JOB, keep_days=-1.0)
    assert done.returncode == 1
    assert "-1 is no number of days to keep runs for. It is zero or above" in done.stderr


def fill(world: "World", lines: int) -> None:
    """Makes the finished run a long one."""
    connection = sqlite3.connect(world.state / "sync_checkpoints.db")
    with connection:
        connection.executemany(
            "INSERT INTO completed_lines (run_id, line_number, file_path) VALUES (?, ?, ?)",
            [(world.the_run(), 1000 + number, f"folder/file{number}.py") for number in range(lines)],
        )
    connection.close()


@pytest.mark.parametrize("vacuum", [True, False])
def test_space_is_given_back_unless_told_otherwise(world: "World", vacuum: bool) -> None:
    fill(world, lines=3000)
    success, shown, _ = driver.attempt(JOB, keep_days=0.0, vacuum=vacuum)
    assert success
    assert shown["runs dropped"] == 1
    assert shown["lines dropped"] == world_module.DOCUMENTS + 2 + 3000
    assert shown["bytes given back"] > 0
    ((free_pages,),) = world.rows("PRAGMA freelist_count")
    assert (free_pages == 0) is vacuum


def test_no_number_is_refused(world: "World") -> None:
    success, _, reason = driver.attempt(JOB, keep_days=float("nan"))
    assert not success
    assert reason.startswith("nan is no number of days")
    assert len(world.rows("SELECT run_id FROM sync_runs")) == 1
