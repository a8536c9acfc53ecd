"""Lines as they are settled: the counters are the tables' numbers of rows at every commit, whatever happens."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from checkpoint_world import Checkpoint, completed, failed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elysia_dagster.checkpoint import claims, clock, ledger, lines, queries, runs
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.models import ErrorKind, Outcome, RunStatus


def settle(checkpoint: Checkpoint, lease: Lease, *, done: Iterable[int] = (), bad: Iterable[int] = ()) -> None:
    ledger.settle_batch(
        checkpoint.database, lease, completed=[completed(n) for n in done], failed=[failed(n) for n in bad]
    )


def assert_counters_true(checkpoint: Checkpoint) -> None:
    for row in checkpoint.rows(
        "SELECT r.success_count, (SELECT COUNT(*) FROM completed_lines c WHERE c.run_id = r.run_id), r.error_count,"
        " (SELECT COUNT(*) FROM failed_lines f WHERE f.run_id = r.run_id), r.processed_lines FROM sync_runs r"
    ):
        success, completed_rows, errors, failed_rows, processed = row
        assert (success, errors, processed) == (completed_rows, failed_rows, completed_rows + failed_rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    steps=st.lists(
        st.tuples(st.sets(st.integers(1, 12), max_size=6), st.sampled_from(["completed", "failed", "mixed", "retry"])),
        max_size=10,
    )
)
def test_counters_are_true_whatever_is_settled_failed_and_tried_again(
    checkpoint: Checkpoint, steps: list[tuple[set[int], str]]
) -> None:
    lease = checkpoint.held(12)
    done: set[int] = set()
    bad: set[int] = set()
    for numbers, how in steps:
        if how == "retry":
            runs.request_retry(checkpoint.database, checkpoint.run(lease), host=None, max_retries=None)
            assert lines.pending_lines(checkpoint.database, lease.run_id) == bad
            settle(checkpoint, lease, bad=sorted(bad - numbers), done=sorted(bad & numbers))
            done, bad = done | (bad & numbers), bad - numbers
        else:
            fresh = sorted(numbers - done)
            good = {"completed": fresh, "failed": [], "mixed": fresh[::2]}[how]
            poor = [number for number in fresh if number not in good]
            settle(checkpoint, lease, done=good, bad=poor)
            done, bad = done | set(good), (bad | set(poor)) - set(good)
        assert_counters_true(checkpoint)
        run = checkpoint.run(lease)
        assert (run.success_count, run.error_count) == (len(done), len(bad))
        bitmap = lines.settled_lines_bitmap(checkpoint.database, lease.run_id, 12)
        assert {number for number in range(1, 13) if bitmap[number]} == done | bad


def test_a_failed_line_counts_its_retries_and_waits_longer_each_time(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(1)
    waits = []
    for attempt in range(5):
        before = clock.now()
        settle(checkpoint, lease, bad=[1])
        [(retries, due)] = checkpoint.rows("SELECT retry_count, next_retry_at FROM failed_lines")
        assert retries == attempt
        waits.append(clock.parse(due) - before)
    for attempt, wait in enumerate(waits):
        longest = lines.FIRST_RETRY_S * 2**attempt
        assert timedelta(seconds=longest / 2) <= wait <= timedelta(seconds=longest + 60)


def test_the_wait_has_an_end() -> None:
    assert all(lines.LONGEST_RETRY_S / 2 <= lines._backoff_s(50) <= lines.LONGEST_RETRY_S for _ in range(100))
    assert len({lines._backoff_s(None) for _ in range(100)}) > 90, "a thousand lines do not come back at once"


def test_what_no_second_try_can_mend_is_never_due(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(1)
    ledger.settle_batch(checkpoint.database, lease, failed=[failed(1, kind=ErrorKind.PERMANENT)])
    assert checkpoint.rows("SELECT next_retry_at, error_kind FROM failed_lines") == [(None, "permanent")]


def test_the_same_line_is_not_completed_twice(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(2)
    settle(checkpoint, lease, done=[1])
    before = checkpoint.dump()
    with pytest.raises(Exception, match=r"(?i)unique"):
        settle(checkpoint, lease, done=[2, 1])
    assert checkpoint.dump() == before


def finished_with_failures(checkpoint: Checkpoint, *paths: str, single: bool = True) -> Lease:
    """A finished run whose lines asked for these documents and failed."""
    lease = checkpoint.held(len(paths))
    bad = [failed(number, path, single=single) for number, path in enumerate(paths, start=1)]
    ledger.settle_batch(checkpoint.database, lease, failed=bad)
    assert runs.finish_run(checkpoint.database, lease).status is RunStatus.FAILED
    return lease


def answer(checkpoint: Checkpoint, lease: Lease, *paths: str) -> None:
    with checkpoint.database.write() as connection:
        lines.answer_older_failures(connection, lease, [("repo", path) for path in paths])


def test_a_newer_run_answers_the_failed_lines_of_older_ones(checkpoint: Checkpoint) -> None:
    older = finished_with_failures(checkpoint, "a.py", "b.py")
    newer = checkpoint.held()
    assert lines.has_older_failures(checkpoint.database, newer)
    answer(checkpoint, newer, "a.py", "unrelated.py")
    assert_counters_true(checkpoint)
    assert checkpoint.run(older).status is RunStatus.FAILED
    assert queries.count_outcomes(checkpoint.database, older.run_id) == {Outcome.SUPERSEDED.value: 1}
    answer(checkpoint, newer, "b.py")
    assert_counters_true(checkpoint)
    run = checkpoint.run(older)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.COMPLETED, 2, 0)
    assert not lines.has_older_failures(checkpoint.database, newer)
    details = checkpoint.rows("SELECT DISTINCT detail FROM completed_lines")
    assert details == [(f"answered by run {newer.run_id}",)]


@pytest.mark.parametrize("why", ["newer", "other collection", "several documents", "forgotten"])
def test_some_failed_lines_are_not_answered(why: str, checkpoint: Checkpoint) -> None:
    newer = checkpoint.held() if why == "newer" else None
    older = finished_with_failures(checkpoint, "a.py", single=why != "several documents")
    if why == "other collection":
        newer = checkpoint.held(collection="Other")
    if why == "forgotten":
        checkpoint.execute("UPDATE sync_runs SET identity = NULL")
    answer(checkpoint, newer or checkpoint.held(), "a.py")
    assert checkpoint.run(older).error_count == 1
    assert_counters_true(checkpoint)


def test_a_given_up_run_is_answered_and_stays_given_up(checkpoint: Checkpoint) -> None:
    older = finished_with_failures(checkpoint, "a.py")
    checkpoint.execute(
        "UPDATE sync_runs SET status = 'canceled', changeset_info = :info", info='{"repo": {"commit": "c1"}}'
    )
    answer(checkpoint, checkpoint.held(), "a.py")
    run = checkpoint.run(older)
    assert (run.status, run.error_count) == (RunStatus.CANCELED, 0)
    assert checkpoint.rows("SELECT 1 FROM repository_changesets") == [], "not all of its lines are in the collection"
    assert_counters_true(checkpoint)


def test_a_run_without_older_failures_is_told_so(checkpoint: Checkpoint) -> None:
    first = checkpoint.held()
    assert not lines.has_older_failures(checkpoint.database, first)
    finished_with_failures(checkpoint, "a.py")
    assert not lines.has_older_failures(checkpoint.database, first), "the failure is the newer run's"
    claims.release_lease(checkpoint.database, first)
    assert lines.has_older_failures(checkpoint.database, checkpoint.held())
    assert not lines.has_older_failures(checkpoint.database, checkpoint.held(collection="Other"))


def test_the_bitmap_of_many_lines(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(30_000)
    settle(checkpoint, lease, done=list(range(1, 30_001, 3)), bad=list(range(2, 30_001, 300)))
    bitmap = lines.settled_lines_bitmap(checkpoint.database, lease.run_id, 30_000)
    assert [number for number in range(30_001) if bitmap[number]] == sorted(
        [*range(1, 30_001, 3), *range(2, 30_001, 300)]
    )
    assert_counters_true(checkpoint)
