"""The job on a real instance in a temporary folder: what it does, what it shows, and what it says when it fails."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    MarkdownMetadataValue,
)
from loading import load

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("dagster_driver", TESTS / "crash" / "dagster_driver.py")
World = world_module.World
DAGSTER = [sys.executable, "-m", "dagster"]
LINES = world_module.DOCUMENTS + 2


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test."""
    return World(tmp_path, monkeypatch)


def execute(world: "World", config: dict[str, Any] | None = None, **options: Any) -> tuple[bool, dict[str, Any], str]:
    """See ``attempt`` of the driver; the changeset is applied where no config is given."""
    result: tuple[bool, dict[str, Any], str] = driver.attempt(config or world.run_config(), **options)
    return result


def test_from_the_shell_of_dagster_with_all_that_a_person_reads(world: "World", tmp_path: Path) -> None:
    world.write_changeset(
        [{"path": path, "op": "modify", "repo": "repo"} for path in world.documents]
        + [{"repo": "repo", "new_changeset": {"commit": "c0ffee", "parent": None, "branch": "main"}}]
    )
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps(world.run_config()))
    secret = "sk-very-secret"  # of every server that a key may be set for
    finished = subprocess.run(
        [*DAGSTER, "job", "execute", "-m", "elysia_dagster.definitions", "-j", "sync_changeset", "-c", config],
        env={
            **world.environment,
            "ELYSIACTL_OPENAI_API_KEY": secret,
            "ELYSIACTL_WEAVIATE_API_KEY": secret,
            "WCD_API_KEY": secret,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert world.held() == world.truth()
    assert world.rows("SELECT status, success_count, lease_owner FROM sync_runs") == [("completed", LINES + 1, None)]
    with DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert secret not in json.dumps(run.run_config)
        assert not [entry for entry in instance.all_logs(run.run_id) if secret in str(entry)]
        recorded = world.rows("SELECT dagster_run_id, step_key, run_id FROM dagster_steps ORDER BY recorded_at")
        steps = ["read_changeset", "plan_batches", "embed_batches", "upsert_batches"]
        steps += ["cleanup_checkpoints", "finalize_run"]
        assert recorded == [(run.run_id, step, world.the_run()) for step in steps]
        materialization = instance.get_latest_materialization_event(AssetKey(["collections", "Demo"]))
        metadata = materialization.asset_materialization.metadata
        assert metadata["lines completed"].value == LINES + 1
        assert metadata["objects in the collection"].value == len(world.truth())
        assert isinstance(metadata["lines by outcome"], MarkdownMetadataValue)
        assert "| indexed | 30 |" in metadata["lines by outcome"].value
        assert "| repo | c0ffee |" in metadata["repositories moved"].value
        numbers = {name: entry.value for name, entry in metadata.items() if isinstance(entry.value, int | float)}
        assert numbers["lines"] == LINES + 1
        assert numbers["lines failed"] == 0
        assert numbers["documents written"] == 30
        assert numbers["chunks written"] == len(world.truth())
        assert numbers["embedding tokens"] > len(world.truth())
        assert {f"seconds: {stage}" for stage in ("read", "plan", "embed", "upsert")} <= numbers.keys()
        assert "| embed | " in metadata["seconds by stage"].value
        checks = [
            entry.dagster_event.event_specific_data
            for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
        ]
        names = ["every_line_settled", "counters_true", "no_failed_line_due", "freshness", "ledger_equals_store"]
        assert [(check.check_name, check.passed) for check in checks] == [(name, True) for name in names]
        embedded = [
            entry.dagster_event.event_specific_data.metadata
            for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.HANDLED_OUTPUT)
            if entry.dagster_event.step_key == "embed_batches"
        ]
        assert embedded[0]["chunks embedded now"].value == len(world.truth())
        assert embedded[0]["tokens embedded now"].value == numbers["embedding tokens"]
        (planned,) = [
            entry.dagster_event.event_specific_data.metadata
            for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_OUTPUT)
            if entry.dagster_event.step_key == "plan_batches"
        ]
        assert "| repo |  | c0ffee |" in planned["commits"].value
    for file in world.base.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    assert secret not in finished.stdout + finished.stderr


def test_failed_lines_fail_the_job_unless_told_otherwise(world: "World") -> None:
    world.write_changeset([{"path": "missing|.py", "op": "add", "repo": "repo"}, *_records(world, 3)])
    success, metadata, reason = execute(world)
    assert not success
    run_id = world.the_run()
    repair = f"elysiactl index retry --run-id {run_id}"
    assert reason == (f"1 of 6 lines of run {run_id} failed, all others are applied. Try them again with: {repair}")
    assert metadata["finalize_run"]["repair"].value == repair
    assert "| 1 | missing\\|.py | " in metadata["finalize_run"]["first failures"].value
    assert metadata["upsert_batches"]["first failures"].value == metadata["finalize_run"]["first failures"].value
    assert "| indexed | 3 | ████████████████████ |" in metadata["finalize_run"]["lines by outcome"].value
    assert metadata["finalize_run"]["lines failed"].value == 1

    # re-executed from failure it is not done again, and fails for the same reason until the line is mended
    success, _, again = execute(world, parent=metadata["run"])
    assert (success, again) == (False, reason)
    lenient = world.run_config()
    lenient["ops"]["finalize_run"] = {"config": {"fail_on_failed_lines": False}}
    success, tolerant, _ = execute(world, lenient, parent=metadata["run"])
    assert success
    assert tolerant["finalize_run"]["status"].value == "failed"
    assert len(world.rows("SELECT run_id FROM sync_runs")) == 1


def _records(world: "World", count: int) -> list[dict[str, str]]:
    return [{"path": path, "op": "modify", "repo": "repo"} for path in list(world.documents)[:count]]


def test_a_run_that_fails_too_much_stops_and_is_gone_on_with(world: "World") -> None:
    """No second try of the step follows, which would spend the budget once more."""
    lost = [{"path": f"missing{number}.py", "op": "add", "repo": "repo"} for number in range(8)]
    world.write_changeset([*lost, *_records(world, 3)])
    success, metadata, reason = execute(world, world.run_config(batch_size=2, max_failures="2"))
    assert not success
    assert "--max-failures 2 allows: 4 of the 4 " in reason
    assert metadata["upsert_batches"]["error"].value == "FailureBudgetSpent"
    waiting = [("running", 4, None)]
    assert world.rows("SELECT status, error_count, lease_owner FROM sync_runs") == waiting
    read = {"run_id": world.the_run(), "max_failures": "100%", "changeset": None}
    _, _, reason = execute(world, world.run_config(**read))
    assert reason.startswith("8 of 13 lines of run")


def test_a_bad_start_is_refused_in_the_words_of_the_shell(world: "World") -> None:
    torn = world.base / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(world.changeset.read_bytes())[:-20])
    refused = {
        "missing": ({"changeset": str(world.base / "none.jsonl")}, "none.jsonl"),
        "folder": ({"changeset": str(world.source)}, "source"),
        "torn": ({"changeset": str(torn)}, "torn.jsonl.gz"),
        "nothing": ({"changeset": None}, "Neither a changeset nor a run is named."),
        "unknown run": ({"changeset": None, "run_id": "sync-x"}, "There is no run sync-x."),
        "collection": ({"collection": "demo"}, "'demo' cannot name a collection."),
        "batch": ({"batch_size": 0}, "batch_size is 0"),
    }
    for name, (read, words) in refused.items():
        success, _, reason = execute(world, world.run_config(**read))
        assert not success, name
        assert words in reason, name
        assert "Traceback" not in reason, name
        assert world.rows("SELECT run_id FROM sync_runs") == [], name
    assert os.listdir(world.state / "work") == []


def test_a_bad_start_says_what_elysiactl_says(world: "World") -> None:
    missing = str(world.base / "none.jsonl")
    said = subprocess.run(
        [Path(sys.executable).with_name("elysiactl"), "index", "sync", missing, "--collection", "Demo"],
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    _, _, reason = execute(world, world.run_config(changeset=missing))
    assert said.returncode == 2
    assert " ".join(reason.split()) in " ".join(said.stderr.split())


def test_a_dry_run_changes_nothing_and_says_what_would_be(world: "World") -> None:
    success, metadata, _ = execute(world, world.run_config(dry_run=True))
    assert success
    shown = metadata["finalize_run"]
    assert "| added | 30 |" in shown["would be"].value
    assert shown["chunks to embed"].value == len(world.truth())
    assert shown["tokens to embed"].value > 0
    assert world.held() == {}
    assert world.rows("SELECT dry_run, status FROM sync_runs") == [(1, "completed")]
    for table in ("completed_lines", "failed_lines", "documents", "repository_claims", "collections"):
        assert world.rows(f"SELECT * FROM {table}") == [], table
    assert world.count("before-batch-saved") == 0
    with DagsterInstance.get() as instance:
        assert instance.get_latest_materialization_event(AssetKey(["collections", "Demo"])) is None


def test_the_jobs_own_run_outlives_its_cleanup(world: "World") -> None:
    world.write_changeset([{"path": "a.py", "op": "add", "repo": "repo", "content": "x = 1\n"}])
    assert execute(world)[0]
    first = world.the_run()
    config = world.run_config()
    config["ops"]["cleanup_checkpoints"] = {"config": {"keep_days": 0.0}}
    success, metadata, _ = execute(world, config)  # self-contained: nothing to do, the finished run is reported
    assert success
    assert metadata["read_changeset"]["nothing to do"].value is True
    assert metadata["finalize_run"]["sync run"].value == first
    world.write_changeset([{"path": "a.py", "op": "add", "repo": "repo", "content": "x = 2\n"}])
    success, metadata, _ = execute(world, config)
    assert success
    assert metadata["cleanup_checkpoints"]["runs dropped"].value == 1
    assert world.the_run() != first


def test_the_store_can_be_named_for_one_run(world: "World") -> None:
    url = f"lancedb:{world.base / 'other'}"
    config = {**world.run_config(dry_run=True), "resources": {"store": {"config": {"url": url}}}}
    assert execute(world, config)[0]
    assert world.rows("SELECT store FROM sync_runs") == [(url,)]
    assert world.held() == {}


def test_a_collection_that_is_there_is_taken_over_where_the_config_says_so(world: "World") -> None:
    assert execute(world)[0]
    for each in world.state.iterdir():
        if each.name.startswith("sync_checkpoints.db"):
            each.unlink()
    succeeded, _, said = execute(world)
    assert not succeeded
    assert "--adopt" in said
    assert execute(world, world.run_config(adopt=True))[0]
    assert world.held() == world.truth()
    states = dict(world.rows("SELECT state, COUNT(*) FROM documents GROUP BY state"))
    assert states == {"present": len(world.documents), "absent": 1}
