"""Both recorded outputs of mgit 0.13.0, from their file to the vectors on disk, come to what they must come to."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sync_world import World

from elysia_dagster.models import RunStatus
from elysia_dagster.sync.finalize import SyncReport

SAMPLES = Path(__file__).parents[1] / "samples" / "mgit"
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())


@pytest.fixture(params=["paths", "embedded"])
def sample(request: pytest.FixtureRequest) -> Path:
    """A recorded changeset."""
    return SAMPLES / f"mgit-0.13.0-{request.param}.jsonl"


@pytest.fixture
def workspace(world: World) -> World:
    """A world with the two repositories that the samples were recorded from."""
    subprocess.run(["bash", SAMPLES / "workspace.sh", world.root], check=True, capture_output=True)
    return world


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
    before = {each.id: each.write_hash for each in workspace.engine.store().scan("Demo")}
    other = next(each for each in SAMPLES.glob("*.jsonl") if each != sample)
    run = workspace.sync_file(other)
    assert {each.id: each.write_hash for each in workspace.engine.store().scan("Demo")} == before
    assert "indexed" not in workspace.outcomes(run).values()


def empty(world: World) -> Path:
    """A root without repositories: content in the line is all that there is."""
    folder = world.base / "elsewhere"
    folder.mkdir(exist_ok=True)
    return folder
