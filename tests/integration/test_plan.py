"""The plan: made once, under the claim, kept whatever happens meanwhile, and made again where it is torn."""

import json
import os
from typing import Any

import pytest
from sync_world import RecordingStore, World, git, sha256

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.errors import CollectionMismatch, Interrupted, RepositoriesHeld, ResourceExhausted
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import plan as planning
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.plans import PLAN_NAME, RunPlan


def change(path: str, **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": path, **fields}


class Died(BaseException):
    """Ends a process at a fault point, as far as the engine can tell."""


def died_at(world: World, point: str, *lines: Any, **options: Any) -> str:
    """A run whose process ended at the first pass of a fault point."""

    def die(name: str) -> None:
        if name == point:
            raise Died

    engine = world.open_engine(parts={"faults": die})
    manifest = world.begin(*lines, engine=engine, **options)
    with pytest.raises(Died):
        world.finish(manifest, engine)
    return manifest.run_id


@pytest.mark.parametrize(
    "point",
    ["claimed-before-plan", "before-plan-renamed", "planned", "claimed", "unsent-settled", "intended", "settled"],
)
def test_a_run_that_died_anywhere_ends_the_same(point: str, world: World) -> None:
    lines = [
        "",
        "{",
        change("a.py", content="one\n"),
        change("a.py", content="two\n"),
        change("b.py"),
        {"repo": "repo", "op": "delete", "path": "pkg/"},
        {"repo": "repo", "new_changeset": {"commit": "c" * 40}},
    ]
    world.sync(change("pkg/x.py", content="x\n"), change("pkg/y.py", content="y\n"))
    world.write("repo/b.py", "b\n")
    run = world.resume(died_at(world, point, *lines, batch_size=1))
    assert world.outcomes(run) == {
        1: "blank",
        2: "failed",
        3: "superseded",
        4: "indexed",
        5: "indexed",
        6: "deleted",
        7: "changeset",
    }
    assert (run.success_count, run.error_count) == (6, 1)
    assert world.held() == {"repo/a.py": sha256("two\n"), "repo/b.py": sha256("b\n")}
    assert json.loads(run.changeset_info or "") == {"repo": {"commit": "c" * 40}}


def test_the_plan_on_disk_is_used_and_not_made_again(light_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = died_at(light_world, "claimed", change("a.py", content="a\n"))
    monkeypatch.setattr(planning, "scan_spool", None)
    assert light_world.resume(run_id).status is RunStatus.COMPLETED


def test_a_torn_plan_is_made_again(light_world: World) -> None:
    run_id = died_at(light_world, "claimed", change("a.py", content="a\n"), change("b.py", content="b\n"))
    plan = light_world.engine.run_folder(run_id) / PLAN_NAME
    os.truncate(plan, plan.stat().st_size // 2)
    run = light_world.resume(run_id)
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 2)


def test_nothing_half_made_is_left_by_a_plan_that_did_not_end(light_world: World) -> None:
    run_id = died_at(light_world, "before-plan-renamed", change("a.py", content="a\n"))
    names = {each.name for each in light_world.engine.run_folder(run_id).iterdir()}
    assert names <= {"changeset.jsonl", "plan-unsent.jsonl"}


def test_a_plan_of_repositories_that_are_held_waits_and_resumes(light_world: World) -> None:
    first = light_world.begin(change("a.py", content="first\n"))
    second = light_world.begin(change("a.py", content="second\n"), {**change("z.py", content="z\n"), "repo": "free"})
    with light_world.engine.work_on(first.run_id) as work:
        plan_batches(work)
        with pytest.raises(RepositoriesHeld):
            light_world.finish(second)
        assert light_world.query("SELECT repository FROM repository_claims") == [("repo",)], "all or none"
    waiting = load_run(light_world.engine.database, second.run_id)
    assert (waiting.status, waiting.processed_lines) == (RunStatus.RUNNING, 0)
    assert "is held by run" in (waiting.last_error or "")
    light_world.resume(first.run_id)
    assert light_world.resume(second.run_id).status is RunStatus.COMPLETED
    assert light_world.held()["repo/a.py"] == sha256("second\n")


def test_batches_are_cut_by_count_and_a_line_stays_whole(light_world: World) -> None:
    for name in "abc":
        light_world.write(f"repo/pkg/{name}.py", f"{name}\n")
    lines = [*(change(f"{n}.py", content=f"{n}\n") for n in range(3)), change("pkg/"), change("old.py -> new.py")]
    manifest = light_world.begin(*lines, batch_size=4)
    with light_world.engine.work_on(manifest.run_id) as work:
        found = plan_batches(work)
        with RunPlan(work.folder) as plan:
            batches = [plan.lines(number).tolist() for number in range(plan.batches)]
    assert found.batches == len(batches)
    assert batches == [[1, 2, 3], [4, 4, 4, 4], [5, 5]]
    assert found.repositories == ("repo",)


def test_where_a_repository_lies_is_kept_in_the_plan(light_world: World) -> None:
    light_world.write("repo/a.py", "below the root\n")
    run_id = died_at(light_world, "claimed", change("a.py"))
    git(light_world.root, "init")  # now the root itself would be the repository
    light_world.write("a.py", "the root's own\n")
    light_world.resume(run_id)
    assert light_world.held() == {"repo/a.py": sha256("below the root\n")}


def test_two_repositories_of_one_name_fail_their_lines_and_say_so(light_world: World) -> None:
    for team in ("red", "blue"):
        git(light_world.root / team / "api", "init")
        light_world.write(f"{team}/api/a.py", f"{team}\n")
    run = light_world.sync({**change("a.py"), "repo": "api"}, change("b.py", content="b\n"))
    assert light_world.outcomes(run) == {1: "failed", 2: "indexed"}
    assert "could be any of" in light_world.failures(run)[1]
    red = light_world.sync("a.py", roots=(light_world.root / "red" / "api",))
    assert red.status is RunStatus.COMPLETED
    assert light_world.held()["api/a.py"] == sha256("red\n")


def test_a_lines_repository_is_the_one_named_else_the_root(light_world: World) -> None:
    light_world.write("a.py", "a\n")
    light_world.sync("a.py", {"path": "b.py", "content": "b\n"})
    light_world.sync("a.py", {"path": "b.py", "content": "b\n"}, repo="named")
    assert light_world.held().keys() == {"root/a.py", "root/b.py", "named/a.py", "named/b.py"}


def test_a_stop_between_two_lines_of_a_long_plan_is_heeded(light_world: World) -> None:
    engine = light_world.open_engine(parts={"stop_requested": lambda: True})
    manifest = light_world.begin(*("x.py" for _ in range(9000)), engine=engine)
    with pytest.raises(Interrupted):
        light_world.finish(manifest, engine)
    run = light_world.resume(manifest.run_id)
    assert (run.success_count, run.error_count) == (8999, 1)


def test_a_full_disk_while_planning_charges_no_line(light_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    manifest = light_world.begin(change("a.py", content="a\n"))
    with monkeypatch.context() as patch:
        patch.setattr(planning, "write_batches", full)
        with pytest.raises(ResourceExhausted, match="No space left"):
            light_world.finish(manifest)
    assert light_world.resume(manifest.run_id).status is RunStatus.COMPLETED


def test_a_collection_that_was_dropped_behind_the_ledgers_back_is_refused(light_world: World) -> None:
    light_world.sync(change("a.py", content="a\n"))
    assert isinstance(light_world.recording, RecordingStore)
    light_world.recording.collections.clear()
    light_world.recording.objects.clear()
    with pytest.raises(CollectionMismatch, match="was dropped or made anew"):
        light_world.sync(change("b.py", content="b\n"))
    assert light_world.recording.objects == {}
