"""Both recorded outputs of mgit 0.13.0, from their file to the vectors on disk, come to what they must come to."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.held import drop_collection, weaviate_holds
from faults.weaviate_world import WeaviateWorld
from sync_world import World

from elysia_dagster.models import RunStatus
from elysia_dagster.sync.finalize import SyncReport

SAMPLES = Path(__file__).parents[1] / "samples" / "mgit"
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())


@pytest.fixture(params=["paths", "embedded"])
def sample(request: pytest.FixtureRequest) -> Path:
    """A recorded changeset."""
    return SAMPLES / f"mgit-0.13.0-{request.param}.jsonl"


STORES = ["lancedb", pytest.param("weaviate", marks=pytest.mark.weaviate)]


@pytest.fixture(params=STORES)
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world on each store, with the two repositories that the samples were recorded from."""
    if request.param == "lancedb":
        world = World(tmp_path)
    else:
        world = WeaviateWorld(tmp_path, request.getfixturevalue("weaviate_url"), collection=new_name())
    with world:
        record_from(world.root)
        yield world
    if world.weaviate:
        drop_collection(world.weaviate, world.collection)


def new_name() -> str:
    """A collection that no other test has, on a server that all share."""
    return f"Mgit_{uuid.uuid4().hex}"


def record_from(root: Path) -> None:
    """Builds the two repositories."""
    subprocess.run(["bash", SAMPLES / "workspace.sh", root], check=True, capture_output=True)


def wanted() -> dict[str, str]:
    return {f"{each['repository']}/{each['path']}": each["sha256"] for each in EXPECTED["indexed"]}


def test_the_collection_holds_just_what_is_expected(workspace: World, sample: Path) -> None:
    run = workspace.sync_file(sample)
    held = workspace.held()
    assert held == wanted()
    for each in EXPECTED["absent"]:
        assert f"{each['repository']}/{each['path']}" not in held, each["why"]
    assert json.loads(run.changeset_info or "").keys() == EXPECTED["changesets"].keys()
    for repository, record in json.loads(run.changeset_info or "").items():
        assert record["commit"] == EXPECTED["changesets"][repository]


def test_only_the_link_out_fails_and_holds_back_its_own_repository(workspace: World, sample: Path) -> None:
    run = workspace.sync_file(sample)
    failures = workspace.failures(run)
    assert list(failures) == [11]
    assert "symbolic link" in failures[11]
    assert run.status is RunStatus.FAILED
    assert (run.total_lines, run.processed_lines, run.success_count, run.error_count) == (17, 17, 16, 1)
    commits = dict(workspace.query("SELECT repository, commit_id FROM repository_changesets"))
    assert commits == {"web": EXPECTED["changesets"]["web"]}


def test_checks_pass_and_lines_say_what_became_of_them(workspace: World, sample: Path) -> None:
    run = workspace.sync_file(sample)
    assert isinstance(workspace.report, SyncReport)
    assert all(check.passed for check in workspace.report.checks)
    by_name = {
        path: (outcome, detail)
        for path, outcome, detail in workspace.query(
            "SELECT file_path, outcome, detail FROM completed_lines WHERE run_id = ?", run.run_id
        )
    }
    assert by_name["total two.py"][0] == "indexed"
    assert by_name["removed.md"][0] == "deleted"
    assert by_name["empty.txt"] == ("skipped", "empty")
    assert by_name["logo.png"] == ("skipped", "binary")
    assert by_name["inside-link.md"][0] == "skipped"
    assert by_name["newpkg"][0] == "indexed"


def test_what_was_there_before_the_changeset_goes_where_it_says_so(workspace: World, sample: Path) -> None:
    for path in ("ledger_old.txt", "removed.md", "escape.txt", "logo.png", "empty.txt"):
        workspace.sync(
            {"repo": "billing", "op": "add", "path": path, "content": f"once {path}\n"}, roots=(empty(workspace),)
        )
    workspace.sync_file(sample)
    held = workspace.held()
    assert held.pop("billing/escape.txt")  # its line failed: what was there before stays
    assert held == wanted()


def test_the_other_sample_afterwards_changes_nothing(workspace: World, sample: Path) -> None:
    workspace.sync_file(sample)
    before = {each.id: each.write_hash for each in workspace.engine.store().scan(workspace.collection)}
    other = next(each for each in SAMPLES.glob("*.jsonl") if each != sample)
    run = workspace.sync_file(other)
    assert {each.id: each.write_hash for each in workspace.engine.store().scan(workspace.collection)} == before
    assert "indexed" not in workspace.outcomes(run).values()


def empty(world: World) -> Path:
    """A root without repositories: content in the line is all that there is."""
    folder = world.base / "elsewhere"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.weaviate
@pytest.mark.parametrize(("command", "sample"), [("elysiactl", "paths"), ("dagster", "embedded")], indirect=["sample"])
def test_the_real_commands_on_weaviate(tmp_path: Path, weaviate_url: str, sample: Path, command: str) -> None:
    """From standard input to the server, as a person types it; the one line that fails shows in the exit code."""
    with WeaviateWorld(tmp_path, weaviate_url, collection=new_name()) as world:
        record_from(world.root)
    if command == "elysiactl":
        arguments = ["-c", "from elysia_dagster.cli import main; main()", "index", "sync", "--stdin"]
        arguments += ["--store", weaviate_url, "--collection", world.collection, "--root", str(world.root)]
    else:
        config = tmp_path / "run.yaml"
        read = {
            "changeset": str(sample),
            "store": weaviate_url,
            "collection": world.collection,
            "root": [str(world.root)],
        }
        config.write_text(json.dumps({"ops": {"read_changeset": {"config": read}}}))
        arguments = ["-m", "dagster", "job", "execute", "-m", "elysia_dagster.definitions", "-j", "sync_changeset"]
        arguments += ["-c", str(config)]
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    environment = {name: value for name, value in os.environ.items() if not name.lower().startswith("elysiactl_")}
    environment |= {"ELYSIACTL_CHECKPOINT_DB_DIR": str(world.state), "DAGSTER_HOME": str(tmp_path / "home")}
    with sample.open("rb") as lines:
        done = subprocess.run(
            [sys.executable, *arguments], stdin=lines, capture_output=True, env=environment, check=False, timeout=120
        )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 1, said
    assert "elysiactl index retry --run-id sync-" in said
    ((line, reason),) = world.query("SELECT line_number, error_message FROM failed_lines")
    assert line == 11
    assert "symbolic link" in reason
    held = weaviate_holds(weaviate_url, world.collection)
    assert {each.properties["file_path"]: each.properties["content_hash"] for each in held} == wanted()
    counted = "SELECT status, total_lines, processed_lines, success_count, error_count FROM sync_runs"
    assert world.query(counted) == [("failed", 17, 17, 16, 1)]
    drop_collection(weaviate_url, world.collection)
