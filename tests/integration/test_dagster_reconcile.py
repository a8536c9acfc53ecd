"""``reconcile_collection``: what differs, what was mended, and whether that fails the job."""

from pathlib import Path

import pytest
from loading import load

from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("keeping_driver", TESTS / "keeping_driver.py")
World = world_module.World
JOB = "reconcile_collection"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world whose collection is the truth, and the set one."""
    made = World(tmp_path, monkeypatch)
    made.environment["ELYSIACTL_COLLECTION"] = world_module.COLLECTION
    monkeypatch.setenv("ELYSIACTL_COLLECTION", world_module.COLLECTION)
    assert driver.dagster_driver.attempt(made.run_config())[0]
    return made


def lose(world: "World", count: int) -> None:
    """Removes objects behind the ledger's back."""
    store = open_store(f"lancedb:{world.state / 'vectors'}", Settings())
    try:
        store.delete_objects(world_module.COLLECTION, sorted(world.truth())[:count])
    finally:
        store.close()


def test_from_the_shell_of_dagster(world: "World") -> None:
    done = driver.by_shell(world, JOB)
    assert done.returncode == 0, done.stderr
    lose(world, 1)
    done = driver.by_shell(world, JOB)
    assert done.returncode == 1
    mend = f"elysiactl index reconcile --collection Demo --store lancedb:{world.state / 'vectors'} --repair"
    assert f"1 documents of Demo differ from the ledger. Mend them with: {mend}" in done.stderr
    done = driver.by_shell(world, JOB, repair=True)
    assert done.returncode == 0, done.stderr
    assert world.held() == world.truth()


def test_what_a_run_shows(world: "World") -> None:
    success, shown, _ = driver.attempt(JOB)
    assert success
    assert shown["objects in the store"] == len(world.truth())
    assert shown["documents in the ledger"] == world_module.DOCUMENTS
    assert shown["documents that differ"] == 0
    assert "repair" not in shown

    lose(world, 2)
    success, shown, _ = driver.attempt(JOB, fail_on_differences=False)
    assert success
    assert shown["documents that differ"] > 0
    assert "| missing |" in shown["differences"]
    assert "| repo/part" in shown["first differences"]
    assert shown["repair"].startswith("`elysiactl index reconcile --collection Demo")

    success, shown, _ = driver.attempt(JOB, repair=True)
    assert success
    assert shown["documents that still differ"] == 0
    assert "| documents deleted and written anew |" in shown["repaired"]
    assert world.held() == world.truth()


def test_what_cannot_be_mended_is_written_where_the_config_says(world: "World") -> None:
    for path in world.documents:
        (world.source / "repo" / path).unlink()
    lose(world, 1)
    file = world.base / "again.jsonl"
    success, shown, reason = driver.attempt(JOB, repair=True, send_again=str(file))
    assert not success
    assert "1 documents of Demo differ from the ledger. Mend them with: elysiactl index sync" in reason
    assert shown["to be sent again"] == str(file)
    assert len(file.read_text().splitlines()) == 1
    assert str(file) in shown["repair"]
    assert driver.attempt(JOB, repair=True, fail_on_differences=False)[0]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"foreign": True}, "--foreign and --send-again belong to a repair."),
        ({"repair": True, "send_again": "/no/such/folder/x"}, "There is no folder /no/such/folder."),
        ({"collection": "Other"}, "There is no collection Other in lancedb:"),
    ],
)
def test_refused_in_the_words_of_the_shell(world: "World", config: dict[str, object], words: str) -> None:
    success, _, reason = driver.attempt(JOB, **config)
    assert not success
    assert reason.startswith(words)


def test_one_repository_of_a_collection(world: "World") -> None:
    lose(world, 1)
    success, shown, _ = driver.attempt(JOB, repository="another")
    assert success
    assert (shown["repository"], shown["documents that differ"]) == ("another", 0)


def test_killed_in_the_middle_of_a_repair_and_run_again(world: "World") -> None:
    lose(world, 3)
    killed = driver.by_shell(world, JOB, fault="kill-run:reconcile-deleted:1", repair=True)
    assert world_module.was_killed(killed), killed.stderr
    success, _, reason = driver.attempt(JOB, repair=True)
    assert success, reason
    assert world.held() == world.truth()
    assert world.rows("SELECT COUNT(*) FROM sync_runs WHERE status = 'running'") == [(0,)]
