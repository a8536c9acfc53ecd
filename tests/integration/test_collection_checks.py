"""The collection as an asset, and its checks: each can fail, each is executed by itself, runs log what they know."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance, DefaultScheduleStatus
from loading import load

from elysia_dagster.definitions import definitions

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("dagster_driver", TESTS / "crash" / "dagster_driver.py")
World = world_module.World
COLLECTION = "SRC_ENTERPRISE__"
"""The one of the settings, where nothing is set: definitions are made of it when they are imported."""

KEY = AssetKey(["collections", COLLECTION])
NAMES = {"every_line_settled", "counters_true", "ledger_equals_store", "no_failed_line_due", "freshness"}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test."""
    return World(tmp_path, monkeypatch)


def checked(instance: DagsterInstance, *names: str) -> dict[str, tuple[bool, str]]:
    """Executes these checks, or all: by name whether it passed, and what it says."""
    job = definitions.resolve_job_def("check_collection")
    if names:
        job = definitions.get_repository_def().get_job("__ASSET_JOB")
        keys = frozenset(AssetCheckKey(KEY, name) for name in names)
        job = job.get_subset(asset_selection=frozenset(), asset_check_selection=keys)
    result = job.execute_in_process(instance=instance)
    assert result.success
    return {each.check_name: (each.passed, each.description) for each in result.get_asset_check_evaluations()}


def sync(world: "World", **read: object) -> bool:
    """Runs the job into the collection of the settings: whether it succeeded."""
    return driver.attempt(world.run_config(collection=COLLECTION, **read))[0]


def change(world: "World", statement: str) -> None:
    """Spoils the checkpoint database."""
    connection = sqlite3.connect(world.state / "sync_checkpoints.db")
    with connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


def test_the_asset_with_its_lineage_and_checks_is_what_dagster_loads() -> None:
    graph = definitions.get_repository_def().asset_graph
    node = graph.get(KEY)
    assert node.is_external
    assert node.kinds == {"lancedb"}
    assert node.parent_keys == {AssetKey("inbox")}
    assert COLLECTION in node.description
    assert graph.get(AssetKey("inbox")).is_external
    assert {each.name for each in graph.asset_check_keys if each.asset_key == KEY} == NAMES
    schedule = definitions.resolve_schedule_def("check_collection_hourly")
    assert schedule.default_status is DefaultScheduleStatus.STOPPED
    assert schedule.job_name == "check_collection"


def test_before_the_first_changeset_every_check_says_so_and_makes_nothing(world: "World") -> None:
    with DagsterInstance.get() as instance:
        answers = checked(instance)
    assert answers.keys() == NAMES
    for passed, said in answers.values():
        assert not passed
        assert said.startswith("There is no checkpoint database: no changeset was applied yet")
    assert not world.state.exists()


def test_a_run_and_the_job_answer_under_the_same_names(world: "World") -> None:
    assert sync(world)
    with DagsterInstance.get() as instance:
        summaries = instance.event_log_storage.get_asset_check_summary_records([AssetCheckKey(KEY, n) for n in NAMES])
        by_runs = {key.name: each.last_check_execution_record.event for key, each in summaries.items()}
        assert {
            name: event.dagster_event.asset_check_evaluation_data.passed for name, event in by_runs.items()
        } == dict.fromkeys(NAMES, True)
        answers = checked(instance)
    assert {name: passed for name, (passed, _) in answers.items()} == dict.fromkeys(NAMES, True)
    assert answers["ledger_equals_store"][1] == "1 repositories are alike in both."


def test_each_check_is_executed_by_itself_and_can_fail(world: "World") -> None:
    world.write_changeset([{"path": "missing.py", "op": "add", "repo": "repo"}, *records(world, 3)])
    assert not sync(world)
    run_id = world.the_run()
    with DagsterInstance.get() as instance:
        assert checked(instance, "no_failed_line_due") == {
            "no_failed_line_due": (True, "No failed line is due for another try.")
        }
        change(world, "UPDATE failed_lines SET next_retry_at = '2020-01-01T00:00:00.000000+00:00'")
        retry = f"elysiactl index retry --run-id {run_id}"
        assert checked(instance, "no_failed_line_due") == {
            "no_failed_line_due": (False, f"Failed lines are due for another try: 1 of {run_id} ({retry}).")
        }

        assert checked(instance, "freshness")["freshness"] == (
            False,
            f"No run into {COLLECTION} was completed yet, or all of them were cleaned up.",
        )
        change(world, "UPDATE sync_runs SET status = 'completed', completed_at = '2020-01-01T00:00:00.000000+00:00'")
        passed, said = checked(instance, "freshness")["freshness"]
        assert not passed
        assert said.endswith("ago, at 2020-01-01T00:00:00.000000+00:00; 24 h are allowed.")

        change(world, "UPDATE sync_runs SET success_count = success_count + 1")
        passed, said = checked(instance, "counters_true")["counters_true"]
        assert not passed
        assert said.startswith(f"{run_id} counts 6 completed and 1 failed lines, its tables hold 5 and 1.")
        change(world, "UPDATE sync_runs SET success_count = success_count - 1")
        assert checked(instance, "counters_true")["counters_true"][0]

        change(world, "UPDATE documents SET chunks = chunks + 1 WHERE path = 'part1/module1.py'")
        passed, said = checked(instance, "ledger_equals_store")["ledger_equals_store"]
        assert not passed
        assert said.startswith("repo: the ledger has ")
        assert said.endswith(f"See which documents: elysiactl index reconcile --collection {COLLECTION}")


def records(world: "World", count: int) -> list[dict[str, str]]:
    """Lines of the first documents."""
    return [{"path": path, "op": "modify", "repo": "repo"} for path in list(world.documents)[:count]]


def test_a_run_that_waits_for_too_long_is_named(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "refused:intended:3")
    assert not sync(world)
    with DagsterInstance.get() as instance:
        assert checked(instance, "every_line_settled") == {
            "every_line_settled": (True, "No run waits to be resumed for more than 1 h.")
        }
        change(world, "UPDATE sync_runs SET started_at = '2020-01-01', lease_heartbeat = '2020-01-01'")
        passed, said = checked(instance, "every_line_settled")["every_line_settled"]
        assert not passed
        assert said.startswith(f"{world.the_run()} waits for ")
        assert said.endswith(f"h with 21 unsettled lines (elysiactl index resume --run-id {world.the_run()}).")
        # what is in writing nobody can tell, and the rest is alike
        assert "documents unsure" in checked(instance, "ledger_equals_store")["ledger_equals_store"][1]


def test_a_store_that_is_not_there_is_a_failed_check_with_a_sentence(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sync(world)
    with DagsterInstance.get() as instance:
        (world.state / "vectors").rename(world.state / "elsewhere")
        passed, said = checked(instance, "ledger_equals_store")["ledger_equals_store"]
        assert not passed
        assert "is not the one that the ledger knows: it was dropped or made anew." in said
        monkeypatch.setenv("ELYSIACTL_STORE", "weaviate:http://127.0.0.1:1")
        monkeypatch.setenv("ELYSIACTL_STORE_RETRY", "0")
        monkeypatch.setenv("ELYSIACTL_STORE_CONNECT_TIMEOUT", "2")
        passed, said = checked(instance, "ledger_equals_store")["ledger_equals_store"]
        assert not passed
        assert "http://127.0.0.1:1" in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ELYSIACTL_BATCH_SIZE", "many", "ELYSIACTL_BATCH_SIZE='many' is not a number."),
        ("ELYSIACTL_COLLECTION", "a-b c/d", "'a-b c/d' cannot name a collection."),
        ("ELYSIACTL_STORE", "no store at all", "A store is not known. Use lancedb:<folder> or weaviate:"),
    ],
)
def test_a_wrong_setting_loads_and_is_said_by_the_check(world: "World", variable: str, value: str, words: str) -> None:
    assert sync(world)
    program = (
        "import json\n"
        "from elysia_dagster.definitions import definitions\n"
        "result = definitions.resolve_job_def('check_collection').execute_in_process()\n"
        "print(json.dumps([[each.passed, each.description] for each in result.get_asset_check_evaluations()]))\n"
    )
    environment = {**world.environment, variable: value}
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment,
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    ).stdout
    answers = json.loads(said.splitlines()[-1])
    assert len(answers) == len(NAMES)
    for passed, sentence in answers:
        assert not passed
        assert words in sentence
