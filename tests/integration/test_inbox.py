"""The inbox end to end: files dropped, ticks of the real sensor, runs of the real job on a real Dagster instance."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dagster import DagsterRunStatus
from inbox_world import COLLECTION, InboxWorld, MakeWorld, raise_bug

from elysia_dagster.checkpoint import runs
from elysia_dagster.cli import run
from elysia_dagster.defs.config import ReadChangesetConfig, request_of
from elysia_dagster.defs.inbox_sensor import inbox_sensor
from elysia_dagster.defs.jobs import changeset_to_collection
from elysia_dagster.defs.wiring import resources
from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.inbox.outcome import Asked
from elysia_dagster.sync.cleanup import cleanup_checkpoints
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.read import read_changeset


@pytest.fixture
def world(make_world: MakeWorld) -> InboxWorld:
    """The world with its usual settings."""
    return make_world()


def test_a_file_is_applied_and_moved_and_the_same_again_is_not(world: InboxWorld) -> None:
    world.write("1.jsonl", "web", "first")
    world.settle()
    assert world.texts() == {"web/a.py": "first"}
    assert world.started == ["1.jsonl"]
    assert (world.inbox / "done" / "1.jsonl").exists()
    world.write("1.jsonl", "web", "first")
    requests, said = world.look()
    assert requests == []
    assert said == "The inbox is empty."
    (dagster_run,) = world.runs_of("1.jsonl")
    assert dagster_run.tags["elysiactl/collection"] == COLLECTION
    assert dagster_run.tags["elysiactl/repositories"] == "web"
    assert len(list((world.inbox / "done").iterdir())) == 2, "neither drop is lost"
    assert world.files()["1.jsonl"].reason.startswith("The same bytes were applied under this name: run sync-")  # type: ignore[union-attr]


def test_the_same_name_with_other_bytes_is_another_changeset(world: InboxWorld) -> None:
    world.write("web.jsonl", "web", "first")
    world.settle()
    world.write("web.jsonl", "web", "second")
    world.settle()
    assert world.texts() == {"web/a.py": "second"}
    assert len(list((world.inbox / "done").iterdir())) == 2


def test_thirty_files_in_any_order_are_applied_by_name_within_each_repository(
    world: InboxWorld, monkeypatch: Any
) -> None:
    monkeypatch.setattr("elysia_dagster.defs.inbox_sensor.asked_runs", world.played)
    files = [(f"{number:02}-r{number % 10}.jsonl", f"r{number % 10}", f"text {number}") for number in range(30)]
    random.Random(7).shuffle(files)
    for name, repository, text in files:
        world.write(name, repository, text)
    world.settle(how=world.play)
    assert world.texts() == {f"r{n}/a.py": f"text {20 + n}" for n in range(10)}
    assert len(world.started) == 30
    for repository in range(10):
        mine = [name for name in world.started if name.endswith(f"r{repository}.jsonl")]
        assert mine == sorted(mine)


def test_a_name_that_comes_too_late_is_set_aside_and_says_why(world: InboxWorld) -> None:
    world.write("2.jsonl", "web", "new")
    world.settle()
    world.write("1.jsonl", "web", "old")
    requests, said = world.look()
    assert requests == []
    assert "1.jsonl is set aside. It came too late: 2.jsonl, which sorts after it, has been applied to" in said
    place = world.inbox / "failed" / "1.jsonl"
    assert place.exists()
    reason = (world.inbox / "failed" / "1.jsonl.reason.txt").read_text()
    assert f"elysiactl index sync {place} --collection {COLLECTION}" in reason
    assert world.texts() == {"web/a.py": "new"}
    assert world.look() == ([], "The inbox is empty.")


def test_a_bad_file_is_reported_once_and_stops_no_other(world: InboxWorld) -> None:
    (world.inbox / "1.jsonl.gz").write_bytes(b"\x1f\x8bbroken")
    world.write("2.jsonl", "web", "good")
    requests, _ = world.look()
    assert [each.tags["elysiactl/inbox_file"] for each in requests] == ["2.jsonl"]
    assert "is broken" in (world.inbox / "failed" / "1.jsonl.gz.reason.txt").read_text()
    world.settle()
    assert world.started == ["2.jsonl"]
    assert world.states() == {"1.jsonl.gz": "refused", "2.jsonl": "applied"}


def test_a_file_that_still_grows_or_has_another_s_name_does_not_count(make_world: MakeWorld) -> None:
    world = make_world(ELYSIACTL_INBOX_QUIET="3600")
    world.write("1.jsonl", "web", "first")
    for name in (".hidden.jsonl", "a.jsonl.part", "a.part.jsonl", "a.tmp.gz", "notes.txt"):
        (world.inbox / name).write_text("{}")
    (world.inbox / "folder.jsonl").mkdir()
    (world.inbox / "link.jsonl").symlink_to(world.inbox / "1.jsonl")
    requests, said = world.look()
    assert requests == []
    assert "1.jsonl is arriving" in said
    assert said.count("is no regular file") == 2
    assert "notes.txt' is left alone: its name ends in none of .gz, .jsonl, .zst." in said
    assert world.states() == {"1.jsonl": "arriving"}
    with Engine.open(world.settings).database.write() as connection:  # an hour later
        connection.exec_driver_sql("UPDATE inbox_files SET seen_at = '2026-01-01T00:00:00.000000+00:00'")
    before = world.files()["1.jsonl"].seen_at
    with (world.inbox / "1.jsonl").open("a") as file:
        file.write("\n")
    assert world.look()[0] == []
    assert world.files()["1.jsonl"].seen_at > before, "it changed: the quiet period begins again"


def test_a_file_that_was_taken_out_before_its_turn_is_forgotten(make_world: MakeWorld) -> None:
    world = make_world(ELYSIACTL_INBOX_QUIET="3600")
    world.write("1.jsonl", "web", "first").rename(world.base / "elsewhere")
    world.write("2.jsonl", "web", "second")
    world.look()
    (world.inbox / "2.jsonl").unlink()
    assert world.look() == ([], "The inbox is empty.")
    assert world.files() == {}


def test_a_tick_that_was_not_heard_asks_again_under_the_same_key(world: InboxWorld) -> None:
    world.write("1.jsonl", "web", "first")
    (first,), _ = world.look()
    (second,), _ = world.look()
    assert first.run_key == second.run_key
    assert first.run_config == second.run_config
    assert world.carry_out(second)
    assert world.look() == ([], "The inbox is empty.")


def test_an_outage_is_asked_for_again_after_a_while_and_goes_on(world: InboxWorld, monkeypatch: Any) -> None:
    world.write("1.jsonl", "web", "first")
    world.write("2.jsonl", "web", "second")
    (request,), _ = world.look()
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "store", _no_store)
        assert not world.carry_out(request)
    requests, said = world.look()
    assert requests == []
    assert "1.jsonl is asked for again at" in said
    assert "2.jsonl waits for 1.jsonl (waiting) in repository web" in said
    file = world.files()["1.jsonl"]
    assert (file.state.value, file.attempt) == ("waiting", 1)
    world.wait_no_longer()
    (again,), _ = world.look()
    assert again.run_key != request.run_key
    assert world.carry_out(again)
    world.settle()
    assert world.texts() == {"web/a.py": "second"}
    assert world.started == ["1.jsonl", "1.jsonl", "2.jsonl"]


def test_a_run_that_meets_a_claim_is_asked_for_again(world: InboxWorld) -> None:
    world.write("1.jsonl", "web", "first")
    world.settle()
    world.write("2.jsonl", "web", "second")
    (request,), _ = world.look()
    with _claimed(world):
        assert not world.carry_out(request)
    _, said = world.look()
    assert "2.jsonl is asked for again at" in said
    assert "web" in said
    world.wait_no_longer()
    world.settle()
    assert world.texts() == {"web/a.py": "second"}
    assert world.states() == {"1.jsonl": "applied", "2.jsonl": "applied"}


def test_failed_lines_are_settled_and_the_run_may_pass_or_fail(make_world: MakeWorld, monkeypatch: Any) -> None:
    world = make_world()
    lines = [{"repo": "web", "op": "modify", "path": "missing.py"}]
    world.drop("1.jsonl", [*lines, {"repo": "web", "op": "add", "path": "a.py", "content": "there"}])
    world.settle()
    (dagster_run,) = world.runs_of("1.jsonl")
    assert dagster_run.status is DagsterRunStatus.SUCCESS
    file = world.files()["1.jsonl"]
    assert file.state.value == "applied"
    assert file.reason == f"1 of its lines failed: elysiactl index retry --run-id {file.run_id}"
    monkeypatch.setenv("ELYSIACTL_INBOX_FAILED_LINES", "fail")
    world.drop("2.jsonl", lines)
    world.settle()
    (dagster_run,) = world.runs_of("2.jsonl")
    assert dagster_run.status is DagsterRunStatus.FAILURE
    assert world.states()["2.jsonl"] == "applied"


def test_an_abandoned_run_s_file_is_set_aside_and_those_after_it_go_on(world: InboxWorld, monkeypatch: Any) -> None:
    world.write("1.jsonl", "web", "first")
    world.write("2.jsonl", "web", "second")
    (request,), _ = world.look()
    with monkeypatch.context() as broken:
        broken.setattr("elysia_dagster.sync.upsert.BatchUpserter.upsert", raise_bug)
        assert not world.carry_out(request)
    world.look()
    file = world.files()["1.jsonl"]
    assert file.run_id is not None
    engine = Engine.open(world.settings)
    runs.abandon_run(engine.database, file.run_id, engine.host)
    engine.close()
    world.wait_no_longer()
    world.settle()
    assert world.texts() == {"web/a.py": "second"}


def test_with_keep_settled_files_stay_and_only_another_content_counts(make_world: MakeWorld) -> None:
    world = make_world(ELYSIACTL_INBOX_SETTLED="keep")
    path = world.write("1.jsonl", "web", "first")
    for _ in range(3):
        for request in world.look()[0]:
            world.carry_out(request)
    assert world.there() == ["1.jsonl"]
    assert world.started == ["1.jsonl"]
    os.utime(path, ns=(1, 1))
    assert world.look() == ([], "The inbox is empty.")
    world.write("1.jsonl", "web", "second")
    for _ in range(3):
        for request in world.look()[0]:
            world.carry_out(request)
    assert world.texts() == {"web/a.py": "second"}


def test_applied_to_one_collection_a_file_is_not_applied_to_another(world: InboxWorld, monkeypatch: Any) -> None:
    world.write("1.jsonl", "web", "first")
    world.settle()
    monkeypatch.setenv("ELYSIACTL_COLLECTION", "Other")
    world.write("1.jsonl", "web", "first")
    world.settle()
    assert len(world.runs_of("1.jsonl")) == 2
    assert {run.tags["elysiactl/collection"] for run in world.runs_of("1.jsonl")} == {COLLECTION, "Other"}


def test_with_a_state_that_was_lost_the_same_file_is_applied_anew(world: InboxWorld) -> None:
    """Dagster still knows the run of the same name and bytes, which has succeeded."""
    world.write("1.jsonl", "web", "first")
    world.settle()
    shutil.rmtree(world.state)
    world.write("1.jsonl", "web", "first")
    world.settle()
    assert world.texts() == {"web/a.py": "first"}
    assert len(world.runs_of("1.jsonl")) == 2


def test_a_canceled_run_is_held_until_somebody_goes_on_with_it_or_takes_the_file_out(world: InboxWorld) -> None:
    world.write("1.jsonl", "web", "first")
    (request,), _ = world.look()
    assert request.run_key is not None
    run = world.instance.create_run_for_job(
        changeset_to_collection.to_job(name="sync_changeset", resource_defs=resources()),
        run_config=request.run_config,
        tags={**request.tags, "dagster/run_key": request.run_key},
    )
    assert "1.jsonl is being applied" in world.look()[1]
    world.instance.report_run_canceled(run)
    world.write("2.jsonl", "web", "second")
    requests, said = world.look()
    assert requests == []
    assert "1.jsonl is held: Its Dagster run was canceled." in said
    assert "2.jsonl waits for 1.jsonl (held) in repository web" in said
    (world.inbox / "1.jsonl").unlink()
    world.settle()
    assert world.texts() == {"web/a.py": "second"}
    assert world.states() == {"1.jsonl": "refused", "2.jsonl": "applied"}


def test_old_rows_go_with_cleanup_and_a_name_that_was_forgotten_still_comes_too_late(world: InboxWorld) -> None:
    world.write("2.jsonl", "web", "new")
    world.settle()
    engine = Engine.open(world.settings)
    cleanup_checkpoints(engine, keep_days=1)
    assert world.states() == {"2.jsonl": "applied"}
    cleanup_checkpoints(engine, keep_days=0)
    engine.close()
    assert world.states() == {}
    world.write("1.jsonl", "web", "old")
    assert "It came too late: 2.jsonl" in world.look()[1]


def test_the_shell_shows_what_became_of_each_file(world: InboxWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["index", "inbox"]) == 0
    assert capfd.readouterr().out == f"Nothing was seen in {world.inbox} yet.\n"
    world.write("2.jsonl", "web", "new")
    world.settle()
    world.write("1.jsonl", "web", "old")
    world.write("3.jsonl", "web", "newest")
    world.look()
    assert run(["index", "inbox", "--json"]) == 0
    told = {each["name"]: each for each in json.loads(capfd.readouterr().out)}
    assert {name: each["state"] for name, each in told.items()} == {
        "3.jsonl": "requested",
        "1.jsonl": "refused",
        "2.jsonl": "applied",
    }
    assert told["1.jsonl"]["place"] == str(world.inbox / "failed" / "1.jsonl")
    assert run(["index", "inbox"]) == 0
    out = capfd.readouterr().out
    assert "It came too late" in out
    assert told["2.jsonl"]["run_id"] in out


def test_an_inbox_that_is_not_there_is_a_sentence(world: InboxWorld, monkeypatch: Any) -> None:
    world.inbox.rmdir()
    with pytest.raises(Exception, match=r"The inbox .* cannot be read: No such file"):
        world.look()
    monkeypatch.delenv("ELYSIACTL_INBOX")
    requests, said = world.look()
    assert requests == []
    assert said.startswith("There is no inbox yet: mkdir -p ")


def test_a_large_file_is_read_over_several_ticks(world: InboxWorld, monkeypatch: Any) -> None:
    world.drop("1.jsonl", [{"repo": "web", "path": f"{n}.py", "content": "x" * 1000} for n in range(5000)])
    monkeypatch.setattr("elysia_dagster.inbox.tick.TICK_BYTES", 1 << 20)
    sensor = inbox_sensor()
    said = [world.look(sensor) for _ in range(4)]
    assert [bool(requests) for requests, _ in said] == [False] * 4
    assert all("1.jsonl is being read" in each for _, each in said)
    ticks = 0
    while not (requests := world.look(sensor)[0]):
        ticks += 1
        assert ticks < 10
    assert requests[0].tags["elysiactl/inbox_file"] == "1.jsonl"


def test_ten_thousand_files_wait_and_all_get_done(make_world: MakeWorld, monkeypatch: Any) -> None:
    """Their runs are played: what is looked at is the ticks, none of which reads more than its budget."""
    count = 10_000 if os.environ.get("LONG") == "1" else 2_000
    world = make_world(ELYSIACTL_INBOX_RUNS="1000")
    for number in range(count):
        (world.inbox / f"{number:05}.jsonl").write_text(json.dumps({"repo": f"r{number % 500}", "path": "a"}) + "\n")
    applied: list[str] = []
    monkeypatch.setattr("elysia_dagster.defs.inbox_sensor.asked_runs", lambda _instance, keys: _all_done(keys, applied))
    sensor = inbox_sensor()
    asked: list[str] = []
    for _ in range(200):
        requests, _said = world.look(sensor)
        asked += [each.run_key or "" for each in requests]
        applied += [each.run_key or "" for each in requests]
        if len(applied) == count and not world.there():
            break
    assert len(set(asked)) == len(asked) == count
    assert set(world.states().values()) == {"applied"}
    assert len(list((world.inbox / "done").iterdir())) == count
    for repository in (0, 77, 499):
        mine = [key for key in asked if int(key[:5]) % 500 == repository]
        assert mine == sorted(mine)


def _all_done(keys: list[str], applied: list[str]) -> dict[str, Any]:
    done = set(applied)
    return {key: Asked(dagster_run_ids=["x"], is_finished=True, succeeded=True) for key in keys if key in done}


def _no_store(*_: Any) -> None:
    raise StoreUnavailable("The store does not answer.", next_step="Start it.")


@contextmanager
def _claimed(world: InboxWorld) -> Iterator[None]:
    """Another run holds the repository while the block lasts."""
    other = world.base / "other.jsonl"
    other.write_text(json.dumps({"repo": "web", "op": "add", "path": "b.py", "content": "other"}) + "\n")
    engine = Engine.open(world.settings)
    try:
        request = request_of(ReadChangesetConfig(changeset=str(other)), engine.settings)
        with engine.work_on(read_changeset(engine, request).run_id) as work:
            plan_batches(work)
            yield
        runs.abandon_run(engine.database, work.run.run_id, engine.host)
    finally:
        engine.close()
