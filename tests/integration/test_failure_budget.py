"""A run with more failed lines than it may have stops, says why, and is gone on with when the cause is mended."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sync_world import RecordingStore, World

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.errors import FailureBudgetSpent, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.drive import carry_out
from elysia_dagster.sync.resume import resume_run
from elysia_dagster.sync.upsert import BATCHES_AT_ONCE

LINES = [{"repo": "repo", "path": f"f{number}.py", "op": "modify"} for number in range(1, 13)]
GOOD = [
    {"repo": "repo", "path": f"g{number}.py", "op": "modify", "content": f"x = {number}\n"} for number in range(100)
]


def stopped(world: World, *lines: Any, **options: Any) -> FailureBudgetSpent:
    """The error of a sync that stops."""
    with pytest.raises(FailureBudgetSpent) as error:
        world.sync(*lines, batch_size=2, **options)
    return error.value


def only_run(world: World) -> Any:
    """The one run there is."""
    ((run_id,),) = world.query("SELECT run_id FROM sync_runs")
    return load_run(world.engine.database, run_id)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """A store that settles one batch before the next is sent."""
    store = RecordingStore()
    store.takes_calls_at_once = False
    with World(tmp_path, store=store) as made:
        (made.root / "repo").mkdir()
        yield made


def test_it_stops_after_a_batch_and_can_be_resumed(world: World) -> None:
    """Files that are not there: a wrong root. Mended, the run goes on, and does not stop on what had failed before."""
    error = stopped(world, *LINES, max_failures="3")
    run = only_run(world)
    assert (run.status, run.lease_owner, run.success_count) == (RunStatus.RUNNING, None, 0)
    assert run.error_count == run.processed_lines == 4
    assert error.exit_code == 2
    message = str(error)
    assert "4 of the 4 that this start settled" in message
    assert "line 1, f1.py: " in message
    for command in ("resume", "failed", "abandon"):
        assert f"elysiactl index {command} --run-id {run.run_id}" in message
    assert message in (run.last_error or "")

    for line in LINES:
        world.write(f"repo/{line['path']}", "x = 1\n")
    run = world.resume(run.run_id)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.FAILED, 8, 4)
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert len(world.held()) == 12


def test_the_same_command_goes_on_too(world: World) -> None:
    changeset = world.changeset(*LINES)
    for settled in (4, 8):  # each start has a budget of its own, and comes further
        with pytest.raises(FailureBudgetSpent):
            world.sync_file(changeset, batch_size=2, max_failures="3")
        assert only_run(world).processed_lines == settled
    assert world.sync_file(changeset, batch_size=2).status is RunStatus.FAILED, "the last word counts: no limit"


def test_a_resume_with_a_larger_budget(world: World) -> None:
    stopped(world, *LINES, max_failures="0")
    run_id = only_run(world).run_id
    assert only_run(world).processed_lines == 2
    with pytest.raises(FailureBudgetSpent, match="--max-failures 5 "):
        world.finish(resume_run(world.engine, run_id, max_failures="5"))
    assert only_run(world).processed_lines == 8
    run = world.finish(resume_run(world.engine, run_id, max_failures="100%"))
    assert (run.status, run.error_count) == (RunStatus.FAILED, 12)


def test_the_last_batch_ends_the_run(world: World) -> None:
    """There is nothing left that it would keep from being sent."""
    assert world.sync(*LINES[:2], batch_size=2, max_failures="0").status is RunStatus.FAILED


@pytest.mark.parametrize("beside", [False, True], ids=["one after the other", "read back beside the next"])
def test_what_was_in_hand_is_settled_and_nothing_after_it_is_sent(world: World, beside: bool) -> None:
    assert world.recording is not None
    world.recording.takes_calls_at_once = beside
    stopped(world, *LINES[:2], *GOOD, max_failures="1")
    run = only_run(world)
    sent = world.recording.take_sent()
    assert len(sent) == (2 * BATCHES_AT_ONCE if beside else 0), "what was on its way while this one was settled"
    assert run.processed_lines == 2 + len(sent)
    assert run.success_count == len(world.recording.objects) == len(sent)
    assert world.query("SELECT COUNT(*) FROM documents WHERE state = 'writing'") == [(0,)]


def test_a_share_of_the_lines(world: World) -> None:
    run = world.sync(*LINES[:6], *GOOD[:94], batch_size=10, max_failures="5%")
    assert run.status is RunStatus.FAILED, "6 of 100, seen when nothing was left to send"
    late = [*LINES[:6], *GOOD]
    with pytest.raises(FailureBudgetSpent, match=r"--max-failures 5% allows: 6 of the 100 "):
        world.sync(*late, batch_size=10, max_failures="5%")


def test_lines_that_need_no_store_count_before_anything_is_sent(world: World) -> None:
    """Written as another program writes it: nothing is sent, and what could be applied waits."""
    error = stopped(world, *["{broken"] * 5, *GOOD, max_failures="4")
    assert "5 of the 5 " in str(error)
    run = only_run(world)
    assert (run.processed_lines, run.error_count) == (5, 5)
    assert world.recording is not None
    assert world.recording.sent == []
    assert world.resume(run.run_id).success_count == 100


def test_they_are_looked_at_slice_by_slice(world: World) -> None:
    stopped(world, *["{broken"] * 2100, max_failures="1%")
    assert only_run(world).processed_lines == 2000
    assert world.resume(only_run(world).run_id).status is RunStatus.FAILED, "the rest is one slice, and nothing waits"


def test_a_retry_has_a_budget(world: World) -> None:
    run = world.sync(*LINES, batch_size=2)
    assert run.error_count == 12
    with pytest.raises(FailureBudgetSpent, match=r"2 of the 2 "):
        world.retry(run.run_id, max_failures="1")
    waiting = only_run(world)
    assert (waiting.status, waiting.error_count) == (RunStatus.RUNNING, 12)
    assert world.query("SELECT COUNT(*) FROM failed_lines WHERE pending") == [(10,)]
    for line in LINES:
        world.write(f"repo/{line['path']}", "x = 1\n")
    assert world.resume(run.run_id).error_count == 2


def test_a_dry_run_has_none(world: World) -> None:
    assert world.preview(*LINES, max_failures="0").failed == 12


def test_a_run_of_an_earlier_version_has_none(world: World) -> None:
    manifest = world.begin(*LINES, batch_size=2, max_failures="1")
    with closing(sqlite3.connect(world.state / "sync_checkpoints.db")) as connection, connection:
        ((options,),) = connection.execute("SELECT options FROM sync_runs")
        options = {name: value for name, value in json.loads(options).items() if name != "max_failures"}
        connection.execute("UPDATE sync_runs SET options = ?", [json.dumps(options)])
    carry_out(world.engine, manifest, lambda _work, _report: None)
    assert only_run(world).error_count == 12


@pytest.mark.parametrize("text", ["many", "-1", "101%"])
def test_what_is_no_number_opens_no_run(world: World, text: str) -> None:
    with pytest.raises(UsageError, match="no number of failures"):
        world.sync(*LINES, max_failures=text)
    assert world.query("SELECT * FROM sync_runs") == []


def test_from_the_shell(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = "".join(f"missing{number}.py\n" for number in range(6)).encode()
    done = shell.call("sync", "--stdin", "--batch-size", "2", "--max-failures", "1", stdin=names)
    assert (done.code, done.out) == (2, "")
    assert "more lines failed than --max-failures 1 allows: 2 of the 2 " in done.err
    ((run_id,),) = shell.query("SELECT run_id FROM sync_runs")
    shown = shell.call("status", "--run-id", run_id).out
    assert "waits to be resumed" in shown
    assert "last error   Run" in shown
    assert f"next         elysiactl index resume --run-id {run_id}" in shown
    assert shell.call("resume", "--run-id", run_id, "--max-failures", "3").code == 1, "four more, then none is left"
    again = shell.call("retry", "--run-id", run_id, "--max-failures", "1")
    assert (again.code, "4 of the" in again.err) == (2, False)
    monkeypatch.setenv("ELYSIACTL_MAX_FAILURES", "0")
    set_once = shell.call("sync", "--stdin", "--batch-size", "1", stdin=b"missing1.py\nmissing2.py\n")
    assert (set_once.code, "--max-failures 0 allows: 1 of the 1" in set_once.err) == (2, True)
    assert shell.call("sync", "--stdin", "--max-failures", "x", stdin=b"a.py\n").code == 2
