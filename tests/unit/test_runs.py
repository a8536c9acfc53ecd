"""The life of a sync run: started once, reopened for a retry, finished when every line is settled, or given up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from checkpoint_world import REPOSITORY, Checkpoint, completed, failed

from elysia_dagster.checkpoint import claims, clock, collections, ledger, lookup, queries, retention, runs
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import CheckpointError, RepositoriesHeld, UsageError
from elysia_dagster.models import DocumentState, ErrorKind, RunStatus


def settle_all(checkpoint: Checkpoint, lease: Lease, *, bad: dict[int, ErrorKind] | None = None) -> RunRecord:
    """Every line of a run of three is settled, and the run closed."""
    bad = bad or {}
    ledger.settle_batch(
        checkpoint.database,
        lease,
        completed=[completed(number) for number in (1, 2, 3) if number not in bad],
        failed=[failed(number, kind=kind) for number, kind in bad.items()],
    )
    return runs.finish_run(checkpoint.database, lease)


def test_a_start_of_the_same_identity_gives_the_unfinished_run(checkpoint: Checkpoint) -> None:
    first = checkpoint.start(identity="same")
    assert checkpoint.start(identity="same") == first
    assert lookup.find_unfinished(checkpoint.database, "same") == first
    settle_all(checkpoint, checkpoint.take(first))
    second = checkpoint.start(identity="same")
    assert second.run_id != first.run_id
    assert (second.sequence or 0) > (first.sequence or 0)


def test_starts_of_one_moment_open_one_run(checkpoint: Checkpoint) -> None:
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: checkpoint.start(identity="same"), range(16)))
    assert len({run.run_id for run in started}) == 1
    assert checkpoint.rows("SELECT COUNT(*) FROM sync_runs") == [(1,)]


def test_starts_of_one_moment_get_sequences_of_their_own(checkpoint: Checkpoint) -> None:
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: checkpoint.start(), range(24)))
    assert sorted(run.sequence or 0 for run in started) == list(range(1, 25))


def test_the_sequence_grows_also_when_runs_are_cleaned_up(checkpoint: Checkpoint) -> None:
    last = checkpoint.start()
    checkpoint.execute("DELETE FROM sync_runs")
    assert (checkpoint.start().sequence or 0) > (last.sequence or 0)


def test_a_run_is_loaded_as_it_was_started(checkpoint: Checkpoint) -> None:
    run = checkpoint.start(7, dry_run=True)
    assert lookup.load_run(checkpoint.database, run.run_id) == run
    assert (run.total_lines, run.dry_run, run.status, run.attempt) == (7, True, RunStatus.RUNNING, 1)
    assert run.options is not None
    assert run.options.roots == ("/src",)
    with pytest.raises(UsageError, match="There is no run nothing"):
        lookup.load_run(checkpoint.database, "nothing")


def test_an_unknown_status_is_an_error(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    checkpoint.execute("UPDATE sync_runs SET status = 'paused'")
    with pytest.raises(ValueError, match="paused"):
        lookup.load_run(checkpoint.database, run.run_id)


def test_a_run_with_an_unsettled_line_cannot_end(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(3)
    ledger.settle_batch(checkpoint.database, lease, completed=[completed(1)], failed=[failed(3)])
    with pytest.raises(CheckpointError, match=r"has 1 unsettled lines and cannot end"):
        runs.finish_run(checkpoint.database, lease)
    assert checkpoint.run(lease).status is RunStatus.RUNNING
    runs.request_retry(checkpoint.database, checkpoint.run(lease), host=None, max_retries=3)
    ledger.settle_batch(checkpoint.database, lease, completed=[completed(2)])
    with pytest.raises(CheckpointError, match="unsettled"):
        runs.finish_run(checkpoint.database, lease)  # the third waits to be tried again


def test_a_counter_that_is_not_its_tables_rows_is_a_bug_and_said(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(1)
    ledger.settle_batch(checkpoint.database, lease, completed=[completed(1)])
    checkpoint.execute("UPDATE sync_runs SET success_count = 2")
    with pytest.raises(CheckpointError, match="counts 2 completed and 0 failed lines, its tables hold 1 and 0"):
        runs.finish_run(checkpoint.database, lease)


@pytest.mark.parametrize("bad", [{}, {2: ErrorKind.RETRYABLE}])
def test_a_finished_run_gives_lease_and_claims_back(bad: dict[int, ErrorKind], checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(3)
    checkpoint.claim(lease, "repo")
    run = settle_all(checkpoint, lease, bad=bad)
    assert run.status is (RunStatus.FAILED if bad else RunStatus.COMPLETED)
    assert (run.lease_owner, run.lease_expires_at) == (None, None)
    assert run.completed_at is not None
    assert checkpoint.claimed() == {}


def test_a_dry_run_ends_without_line_rows(checkpoint: Checkpoint) -> None:
    assert runs.finish_run(checkpoint.database, checkpoint.held(5, dry_run=True)).status is RunStatus.COMPLETED


PERMANENT, RETRYABLE = ErrorKind.PERMANENT, ErrorKind.RETRYABLE


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ({}, {1}),
        ({"permanent": True}, {1, 2}),
        ({"max_retries": None}, {1, 3}),
        ({"max_retries": None, "permanent": True}, {1, 2, 3}),
        ({"lines": [2]}, {2}),
        ({"lines": [3, 1]}, {1, 3}),
        ({"due_only": True}, set()),
    ],
)
def test_which_failed_lines_are_tried_again(asked: dict[str, object], lines: set[int], checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(3)
    finished = settle_all(checkpoint, lease, bad={1: RETRYABLE, 2: PERMANENT, 3: RETRYABLE})
    checkpoint.execute("UPDATE failed_lines SET retry_count = 3 WHERE line_number = 3")
    options: dict[str, object] = {"max_retries": 3, **asked}
    count = runs.request_retry(checkpoint.database, finished, host=checkpoint.host, **options)  # type: ignore[arg-type]
    assert count == len(lines)
    pending = checkpoint.rows("SELECT line_number FROM failed_lines WHERE pending")
    assert {number for (number,) in pending} == lines
    run = checkpoint.run(lease)
    assert (run.status, run.attempt) == ((RunStatus.RUNNING, 2) if lines else (RunStatus.FAILED, 1))
    assert run.error_count == 3, "asking moves no counter"


def test_a_line_is_due_once_its_time_has_come(checkpoint: Checkpoint) -> None:
    finished = settle_all(checkpoint, checkpoint.held(3), bad={1: RETRYABLE, 2: RETRYABLE})
    checkpoint.execute(
        "UPDATE failed_lines SET next_retry_at = :past WHERE line_number = 2", past=clock.stamp_after(-1)
    )
    asked = runs.request_retry(checkpoint.database, finished, host=checkpoint.host, max_retries=3, due_only=True)
    assert asked == 1
    assert checkpoint.rows("SELECT line_number FROM failed_lines WHERE pending") == [(2,)]
    assert queries.summarize(checkpoint.database)["due_failed_lines"] == 1


def _give_up(checkpoint: Checkpoint, run: RunRecord) -> None:
    checkpoint.execute("UPDATE sync_runs SET status = 'canceled' WHERE run_id = :run", run=run.run_id)


def _start_beside(checkpoint: Checkpoint, run: RunRecord) -> None:
    checkpoint.start(identity=run.identity or "")


@pytest.mark.parametrize(
    ("meanwhile", "says"), [(_give_up, "was given up"), (_start_beside, "cannot be reopened beside it")]
)
def test_a_retry_that_cannot_be_changes_nothing(
    meanwhile: Callable[[Checkpoint, RunRecord], None], says: str, checkpoint: Checkpoint
) -> None:
    finished = settle_all(checkpoint, checkpoint.held(3), bad={1: RETRYABLE})
    meanwhile(checkpoint, finished)
    before = checkpoint.dump()
    with pytest.raises(UsageError, match=says):
        runs.request_retry(checkpoint.database, finished, host=checkpoint.host, max_retries=3)
    assert checkpoint.dump() == before


def test_a_retry_of_a_run_that_is_worked_on_is_refused(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(3)
    ledger.settle_batch(checkpoint.database, lease, failed=[failed(1)])
    with pytest.raises(RepositoriesHeld, match="is held by process"):
        runs.request_retry(checkpoint.database, checkpoint.run(lease), host=checkpoint.host, max_retries=3)


def test_a_run_is_given_up_for_good(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(3)
    checkpoint.claim(lease, "repo")
    with pytest.raises(RepositoriesHeld, match="Stop that process first"):
        runs.abandon_run(checkpoint.database, lease.run_id, checkpoint.host)
    ledger.settle_batch(checkpoint.database, lease, completed=[completed(1)], failed=[failed(2)])
    runs.request_retry(checkpoint.database, checkpoint.run(lease), host=None, max_retries=3)
    claims.release_lease(checkpoint.database, lease)
    run = runs.abandon_run(checkpoint.database, lease.run_id, checkpoint.host)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.CANCELED, 1, 1)
    assert run.lease_token > lease.token, "whatever its last process still tries is refused"
    assert checkpoint.claimed() == {}
    assert checkpoint.rows("SELECT 1 FROM failed_lines WHERE pending") == []
    with pytest.raises(UsageError, match="is canceled, not running"):
        runs.abandon_run(checkpoint.database, lease.run_id, checkpoint.host)


def test_what_a_given_up_run_had_in_writing_is_suspect(checkpoint: Checkpoint) -> None:
    lease, other = checkpoint.held(), checkpoint.held()
    checkpoint.intend(lease, "a.py", 1)
    checkpoint.intend(other, "b.py", 1)
    claims.release_lease(checkpoint.database, lease)
    runs.abandon_run(checkpoint.database, lease.run_id, checkpoint.host)
    assert checkpoint.document("a.py").state is DocumentState.SUSPECT, "it will never be written anew"
    assert checkpoint.document("b.py").state is DocumentState.WRITING


def test_the_latest_finished_run_counts_and_a_given_up_one_does_not(checkpoint: Checkpoint) -> None:
    first = checkpoint.start(identity="same")
    settle_all(checkpoint, checkpoint.take(first))
    second = checkpoint.start(identity="same")
    settle_all(checkpoint, checkpoint.take(second), bad={1: RETRYABLE})
    runs.abandon_run(checkpoint.database, checkpoint.start(identity="same").run_id, checkpoint.host)
    found = lookup.find_finished(checkpoint.database, "same")
    assert found is not None
    assert found.run_id == second.run_id
    assert lookup.find_finished(checkpoint.database, "another") is None


def test_a_later_claim_of_a_repository_touches_it(checkpoint: Checkpoint) -> None:
    first, second = checkpoint.held(), checkpoint.held()
    checkpoint.claim(first, "a", "b")
    checkpoint.claim(second, "c")
    assert not lookup.touched_since(checkpoint.database, checkpoint.run(first))
    claims.release_lease(checkpoint.database, first)
    checkpoint.claim(second, "b", "c")
    assert lookup.touched_since(checkpoint.database, checkpoint.run(first))
    assert not lookup.touched_since(checkpoint.database, checkpoint.run(second))


@pytest.mark.parametrize("left", ["document", "commit"])
def test_a_later_run_touches_it_also_when_it_was_cleaned_up(left: str, checkpoint: Checkpoint) -> None:
    first = checkpoint.held(0)
    checkpoint.claim(first, REPOSITORY)
    checkpoint.intend(first, "a.py", 1)
    collections.move_commit(checkpoint.database, first, REPOSITORY, {"commit": "c1"})
    finished = runs.finish_run(checkpoint.database, first)
    second = checkpoint.held(0)
    checkpoint.claim(second, REPOSITORY)
    if left == "document":
        checkpoint.intend(second, "a.py", 1)
    else:
        collections.move_commit(checkpoint.database, second, REPOSITORY, {"commit": "c2"})
    runs.finish_run(checkpoint.database, second)
    assert retention.drop_run(checkpoint.database, second.run_id, checkpoint.host) is not None
    assert lookup.touched_since(checkpoint.database, finished)
