"""What people do to the inbox while its runs are on their way: files replaced, dropped again, taken out and put back;
runs ended, given up or re-executed by hand. Nothing is lost, taken for applied, or applied out of turn."""

import gzip
import json
import os
import shlex
import subprocess
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterRun,
    DagsterRunStatus,
    JobDefinition,
    ReexecutionOptions,
    RunRequest,
    execute_job,
    reconstructable,
)
from inbox_world import COLLECTION, InboxWorld, MakeWorld, raise_bug

from elysia_dagster.checkpoint import clock
from elysia_dagster.cli import run
from elysia_dagster.defs.jobs import changeset_to_collection
from elysia_dagster.defs.wiring import resources
from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.inbox import tick
from elysia_dagster.sync.engine import Engine


@pytest.fixture
def world(make_world: MakeWorld) -> InboxWorld:
    """The world with its usual settings."""
    return make_world()


def job() -> JobDefinition:
    """The job as the daemon launches it, without a retry policy."""
    return changeset_to_collection.to_job(name="sync_changeset", resource_defs=resources())


def queue(world: InboxWorld, request: RunRequest) -> DagsterRun:
    """The run that was asked for, before it starts."""
    assert request.run_key is not None
    return world.instance.create_run_for_job(
        job(), run_config=request.run_config, tags={**request.tags, "dagster/run_key": request.run_key}
    )


def fail(world: InboxWorld, monkeypatch: pytest.MonkeyPatch) -> RunRequest:
    """The one run that is asked for begins, and ends in a bug at its upsert."""
    (request,), _ = world.look()
    with monkeypatch.context() as broken:
        broken.setattr("elysia_dagster.sync.upsert.BatchUpserter.upsert", raise_bug)
        assert not world.carry_out(request)
    return request


def begin(world: InboxWorld, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, and the inbox has seen it; its sync run."""
    request = fail(world, monkeypatch)
    world.look()
    run_id = world.files()[request.tags["elysiactl/inbox_file"]].run_id
    assert run_id is not None
    return run_id


def no_store(*_: Any) -> None:
    raise StoreUnavailable("The store does not answer.", next_step="Start it.")


def test_a_file_replaced_after_its_run_is_another_changeset(world: InboxWorld) -> None:
    """Before the tick that sees the end of the run: the new file is not moved away as the old one."""
    world.write("web.jsonl", "web", "first")
    (request,), _ = world.look()
    assert world.carry_out(request)
    world.write("web.jsonl", "web", "second")
    world.settle()
    assert world.texts() == {"web/a.py": "second"}
    assert len(world.runs_of("web.jsonl")) == 2


def test_a_file_replaced_while_its_run_is_queued_is_read_again_before_it_is_applied(world: InboxWorld) -> None:
    """It is of another repository now, in which a later name has been applied: it came too late."""
    world.write("a.jsonl", "web", "from a")
    world.write("b.jsonl", "api", "from b")
    requests = {request.tags["elysiactl/inbox_file"]: request for request in world.look()[0]}
    world.write("a.jsonl", "api", "from a")
    assert world.carry_out(requests["b.jsonl"])
    assert not world.carry_out(requests["a.jsonl"]), "other bytes than the inbox has read"
    assert "asked for again" in world.look()[1]
    assert "is another file than the one that was asked for" in (world.files()["a.jsonl"].reason or "")
    world.settle()
    assert world.texts() == {"api/a.py": "from b"}
    assert "It came too late: b.jsonl" in (world.files()["a.jsonl"].reason or "")


def test_a_name_dropped_again_is_not_judged_by_the_run_before(
    world: InboxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Dagster run fails before it has a sync run of its own."""
    world.write("web.jsonl", "web", "first")
    world.settle()
    world.write("web.jsonl", "web", "second")
    (request,), _ = world.look()
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "store", no_store)
        assert not world.carry_out(request)
    world.look()
    assert world.states() == {"web.jsonl": "waiting"}
    world.wait_no_longer()
    world.settle()
    assert world.texts() == {"web/a.py": "second"}


def test_a_name_dropped_again_and_canceled_in_the_queue_is_held(world: InboxWorld) -> None:
    world.write("web.jsonl", "web", "first")
    world.settle()
    world.write("web.jsonl", "web", "second")
    (request,), _ = world.look()
    world.instance.report_run_canceled(queue(world, request))
    world.look()
    assert world.states() == {"web.jsonl": "held"}


@pytest.mark.parametrize("settled", ["move", "keep"])
def test_a_file_taken_out_and_put_back_is_a_new_one(make_world: MakeWorld, settled: str) -> None:
    world = make_world(ELYSIACTL_INBOX_SETTLED=settled)
    path = world.write("1.jsonl", "web", "first")
    (request,), _ = world.look()
    world.instance.report_run_canceled(queue(world, request))
    assert "take the file out of the inbox" in world.look()[1]
    path.rename(world.base / "aside.jsonl")
    world.look()
    assert world.states() == {"1.jsonl": "refused"}
    (world.base / "aside.jsonl").rename(path)
    for request in world.look()[0]:
        world.carry_out(request)
    world.look()
    assert world.states() == {"1.jsonl": "applied"}
    assert world.texts() == {"web/a.py": "first"}


def test_a_file_renamed_away_while_it_is_read_is_not_refused(
    world: InboxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.write("1.jsonl", "web", "first")
    real = tick.InboxReader

    def away(of: Path, **options: Any) -> tick.InboxReader:
        path.rename(world.base / "aside.jsonl")
        return real(of, **options)

    with monkeypatch.context() as moved:
        moved.setattr(tick, "InboxReader", away)
        assert "1.jsonl was taken out" in world.look()[1]
    world.look()
    assert world.states() == {}
    (world.base / "aside.jsonl").rename(path)
    world.settle()
    assert world.texts() == {"web/a.py": "first"}


def test_a_run_given_up_while_its_file_waits_is_not_asked_for_again(
    world: InboxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("1.jsonl", "web", "given up", path="x.py")
    run_id = begin(world, monkeypatch)
    assert run(["index", "abandon", "--run-id", run_id]) == 0
    world.wait_no_longer()
    world.settle()
    assert world.started == ["1.jsonl"]
    file = world.files()["1.jsonl"]
    assert (file.state.value, file.place) == ("refused", str(world.inbox / "failed" / "1.jsonl"))
    assert f"run {run_id} was given up" in (file.reason or "")


def test_a_run_resumed_by_hand_while_its_file_waits_is_not_applied_twice(
    world: InboxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write over what came after it."""
    world.write("1.jsonl", "web", "older")
    run_id = begin(world, monkeypatch)
    assert run(["index", "resume", "--run-id", run_id]) == 0
    newer = world.base / "newer.jsonl"
    newer.write_text(json.dumps({"repo": "web", "op": "modify", "path": "a.py", "content": "newer"}) + "\n")
    assert run(["index", "sync", str(newer), "--collection", COLLECTION]) == 0
    world.wait_no_longer()
    world.settle()
    assert world.texts() == {"web/a.py": "newer"}
    assert world.files()["1.jsonl"].run_id == run_id


def test_a_held_file_is_settled_by_its_sync_run_where_dagster_has_forgotten_it(
    world: InboxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("1.jsonl", "web", "first")
    fail(world, monkeypatch)
    (dagster_run,) = world.runs_of("1.jsonl")
    world.instance.report_run_canceled(dagster_run)
    world.look()
    file = world.files()["1.jsonl"]
    assert (file.state.value, file.run_id is None) == ("held", False)
    world.instance.delete_run(dagster_run.run_id)
    assert "1.jsonl is held" in world.look()[1]
    assert run(["index", "resume", "--run-id", str(file.run_id)]) == 0
    world.write("2.jsonl", "web", "second")
    world.settle()
    assert world.states() == {"1.jsonl": "applied", "2.jsonl": "applied"}
    assert world.texts() == {"web/a.py": "second"}


def test_a_single_step_that_succeeds_settles_nothing(world: InboxWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Re-executed from the UI, with the tags of its parent."""
    world.write("1.jsonl", "web", "first")
    request = fail(world, monkeypatch)
    (parent,) = world.runs_of("1.jsonl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster warns of what it does itself
        with execute_job(
            reconstructable(job),
            instance=world.instance,
            run_config={**request.run_config, "execution": {"config": {"in_process": {}}}},
            tags=dict(parent.tags),
            reexecution_options=ReexecutionOptions(parent_run_id=parent.run_id, step_selection=["plan_batches"]),
        ) as result:
            assert result.success
    world.look()
    assert world.states() == {"1.jsonl": "waiting"}
    world.wait_no_longer()
    world.settle()
    assert world.texts() == {"web/a.py": "first"}
    assert [each.status for each in world.runs_of("1.jsonl")].count(DagsterRunStatus.SUCCESS) == 2


def test_a_file_that_cannot_be_moved_stops_no_other(world: InboxWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("1.jsonl", "web", "first")
    (request,), _ = world.look()
    assert world.carry_out(request)
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(source).name == "1.jsonl":
            raise PermissionError(1, "Operation not permitted")
        real(source, target)

    with monkeypatch.context() as forbidden:
        forbidden.setattr(os, "rename", rename)
        world.write("2.jsonl", "api", "second")
        (request,), _ = world.look()
        assert world.carry_out(request)
        _, said = world.look()
    assert "1.jsonl is settled and cannot be moved to" in said
    assert world.states() == {"1.jsonl": "applied", "2.jsonl": "applied"}
    world.settle()
    assert world.texts() == {"web/a.py": "first", "api/a.py": "second"}


def test_the_command_of_a_file_that_came_too_late_works_as_typed(
    world: InboxWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also of the second of that name, which is set aside beside the first."""
    world.write("2.jsonl", "web", "new")
    world.settle()
    for text in ("old", "older"):
        world.write("1.jsonl", "web", text)
        world.look()
    command = shlex.split((world.files()["1.jsonl"].reason or "").partition("still holds: ")[2])
    assert command[:3] == ["elysiactl", "index", "sync"]
    assert run(command[1:]) == 0, capfd.readouterr().err
    assert world.texts() == {"web/a.py": "older"}


def test_a_clock_that_was_ahead_holds_up_nothing(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(ELYSIACTL_INBOX_QUIET="5")
    now = clock.now
    world.write("1.jsonl", "web", "first")
    with monkeypatch.context() as ahead:
        ahead.setattr(clock, "now", lambda: now() + timedelta(days=30))
        world.look()
    assert world.look()[0] == []
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(seconds=6))
    assert len(world.look()[0]) == 1


def test_a_line_that_holds_half_a_character_is_of_its_own_repository(world: InboxWorld) -> None:
    """The same lines are records to the inbox as to a sync."""
    lines = '{"repo": "web", "op": "add", "path": "a.py", "content": "x \\ud83d y"}\n'
    (world.inbox / "1.jsonl").write_text(lines)
    world.look()
    file = world.files()["1.jsonl"]
    assert (file.state.value, file.repositories) == ("requested", ("web",))


def test_a_packed_list_of_paths_is_applied(world: InboxWorld) -> None:
    """As README says: what ``git ls-files`` prints has no objects in it, so its name is not .jsonl."""
    repository = world.root / "web"
    repository.mkdir()
    (repository / "a.py").write_text("first")
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (world.inbox / "2026-11-23.gz").write_bytes(gzip.compress(b"web/a.py\n"))
    world.settle()
    assert list(world.texts().values()) == ["first"]
