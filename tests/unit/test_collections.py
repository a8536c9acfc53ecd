"""Where repositories stand: commits that move forward, gaps that stay known, what is incomplete."""

import time

import pytest
from checkpoint_world import REPOSITORY, Checkpoint, failed
from sqlalchemy import insert

from elysia_dagster.checkpoint import claims, collections, ledger
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.schema import failed_lines, repository_changesets, run_repositories


def move(
    checkpoint: Checkpoint, lease: Lease, commit: str, parent: str = "", repository: str = REPOSITORY
) -> str | None:
    record = {"commit": commit, "parent": parent} if parent else {"commit": commit}
    return collections.move_commit(checkpoint.database, lease, repository, record)


def test_a_gap_is_known_still_when_the_same_run_is_finalized_again(checkpoint: Checkpoint) -> None:
    move(checkpoint, checkpoint.held(), "c1")
    lease = checkpoint.held()
    gap = move(checkpoint, lease, "c3", parent="c2")
    assert gap == "repo: the changeset follows c2, the collection stands at c1"
    before = checkpoint.rows("SELECT * FROM repository_changesets")
    assert move(checkpoint, lease, "c3", parent="c2") == gap
    assert checkpoint.rows("SELECT * FROM repository_changesets") == before
    assert move(checkpoint, checkpoint.held(), "c4", parent="c3") is None


def incomplete(checkpoint: Checkpoint) -> set[str]:
    collections.mark_incomplete(checkpoint.database, checkpoint.collection)
    return {row[0] for row in checkpoint.rows("SELECT repository FROM repository_changesets WHERE incomplete")}


def with_failure(checkpoint: Checkpoint, failure_of: str, *repositories: str) -> Lease:
    """A run of some repositories whose first line has failed: of one of them, or of nobody knows which ('')."""
    lease = checkpoint.held(1)
    checkpoint.claim(lease, *repositories)
    ledger.settle_batch(checkpoint.database, lease, failed=[failed(1)])
    checkpoint.execute("UPDATE failed_lines SET repository = :r WHERE run_id = :run", r=failure_of, run=lease.run_id)
    claims.release_lease(checkpoint.database, lease)
    return lease


def test_a_commit_is_incomplete_while_a_run_up_to_it_has_a_failed_line_there(checkpoint: Checkpoint) -> None:
    move(checkpoint, checkpoint.held(), "c0", repository="before")
    older = with_failure(checkpoint, "a", "a", "b", "before")
    newer = checkpoint.held()
    for repository in ("a", "b"):
        move(checkpoint, newer, "c1", repository=repository)
    assert incomplete(checkpoint) == {"a"}
    with_failure(checkpoint, "b", "b")
    assert incomplete(checkpoint) == {"a"}, "the failure of b is of a newer run than its commit"
    checkpoint.execute("DELETE FROM failed_lines WHERE run_id = :run", run=older.run_id)
    assert incomplete(checkpoint) == set()


def test_an_unreadable_line_counts_for_every_repository_of_its_run(checkpoint: Checkpoint) -> None:
    with_failure(checkpoint, "", "a", "b")
    newer = checkpoint.held()
    for repository in ("a", "b", "c"):
        move(checkpoint, newer, "c1", repository=repository)
    assert incomplete(checkpoint) == {"a", "b"}


@pytest.mark.parametrize("change", ["collection_name = 'Other'", "identity = NULL"])
def test_failures_of_another_collection_do_not_count(change: str, checkpoint: Checkpoint) -> None:
    older = with_failure(checkpoint, "a", "a")
    checkpoint.execute(f"UPDATE sync_runs SET {change} WHERE run_id = :run", run=older.run_id)
    move(checkpoint, checkpoint.held(), "c1", repository="a")
    assert incomplete(checkpoint) == set()


@pytest.mark.parametrize("failure_of", ["", "r0"])
def test_a_thousand_repositories_and_many_failed_lines_take_no_time(failure_of: str, checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(20_000)
    of_run = {"collection_id": checkpoint.collection, "run_id": lease.run_id, "sequence": lease.sequence}
    names = [f"r{number}" for number in range(1000)]
    stands = {**of_run, "record": "{}", "incomplete": False, "moved_at": ""}
    with checkpoint.database.write() as connection:
        connection.execute(insert(run_repositories), [{**of_run, "repository": name} for name in names])
        connection.execute(insert(repository_changesets), [{**stands, "repository": name} for name in names])
        connection.execute(
            insert(failed_lines),
            [{"run_id": lease.run_id, "line_number": line, "repository": failure_of} for line in range(20_000)],
        )
    begun = time.process_time()
    assert incomplete(checkpoint) == ({failure_of} if failure_of else set(names))
    assert time.process_time() - begun < 2
