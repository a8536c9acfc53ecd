"""What is dropped and when: tombstones behind the oldest run that can still write, in slices and by an index."""

import time

import pytest
from checkpoint_world import REPOSITORY, STORE, Checkpoint, failed
from sqlalchemy import insert

from elysia_dagster.checkpoint import claims, folders, ledger, lookup, queries, retention, runs
from elysia_dagster.checkpoint.schema import documents, sync_runs
from elysia_dagster.errors import LeaseLost, UsageError
from elysia_dagster.models import RunStatus


def add_tombstones(checkpoint: Checkpoint, *sequences: int, prefix: str = "gone", state: str = "absent") -> None:
    """One document for each sequence, last changed by that run."""
    rows = [
        {
            "collection_id": checkpoint.collection,
            "repository": REPOSITORY,
            "path": f"{prefix}/{number}.py",
            "state": state,
            "version_sequence": sequence,
            "version_line": 1,
            "chunks": 0,
            "max_chunks": 0,
        }
        for number, sequence in enumerate(sequences)
    ]
    with checkpoint.database.write() as connection:
        connection.execute(insert(documents), rows)


def versions_left(checkpoint: Checkpoint) -> list[int]:
    return [row[0] for row in checkpoint.rows("SELECT version_sequence FROM documents ORDER BY 1")]


def finished_with_failure(checkpoint: Checkpoint) -> int:
    """The sequence of a finished run that may be retried."""
    lease = checkpoint.held(1)
    ledger.settle_batch(checkpoint.database, lease, failed=[failed(1)])
    runs.finish_run(checkpoint.database, lease)
    return lease.sequence


@pytest.mark.parametrize("how", ["unfinished", "failed lines"])
def test_tombstones_go_up_to_the_oldest_run_that_can_still_write(how: str, checkpoint: Checkpoint) -> None:
    for _ in range(3):
        runs.finish_run(checkpoint.database, checkpoint.held(0))
    oldest = checkpoint.held().sequence if how == "unfinished" else finished_with_failure(checkpoint)
    checkpoint.held()
    add_tombstones(checkpoint, 1, 2, oldest - 1, oldest, oldest + 1)
    assert retention.drop_tombstones(checkpoint.database) == 3
    assert versions_left(checkpoint) == [oldest, oldest + 1], "a folder line of its own may still come"


def test_only_tombstones_go_and_those_of_one_collection_wait_for_its_runs_alone(checkpoint: Checkpoint) -> None:
    checkpoint.register("Other")
    checkpoint.held(collection="Other")
    add_tombstones(checkpoint, 1, 2)
    add_tombstones(checkpoint, 1, prefix="here", state="present")
    assert retention.drop_tombstones(checkpoint.database) == 2
    assert versions_left(checkpoint) == [1]


def test_tombstones_go_in_slices(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TOMBSTONE_SLICE", 10)
    add_tombstones(checkpoint, *range(1, 36))
    assert retention.drop_tombstones(checkpoint.database) == 35
    assert versions_left(checkpoint) == []


def test_many_tombstones_behind_many_runs_take_no_time(checkpoint: Checkpoint) -> None:
    """Each one compared with every run took 20 s under the write lock."""
    with checkpoint.database.write() as connection:
        connection.execute(
            insert(sync_runs),
            [
                {
                    "run_id": f"r{sequence}",
                    "sequence": sequence,
                    "store": STORE,
                    "collection_name": "Demo",
                    "status": RunStatus.COMPLETED.value,
                }
                for sequence in range(1, 2001)
            ],
        )
    add_tombstones(checkpoint, *(1 + number % 2000 for number in range(20_000)))
    begun = time.process_time()
    assert retention.drop_tombstones(checkpoint.database) == 20_000
    assert time.process_time() - begun < 5


def forget(checkpoint: Checkpoint) -> int:
    return retention.forget_collection(checkpoint.database, STORE, "Demo", checkpoint.host)


def test_the_unfinished_runs_of_a_forgotten_collection_are_given_up(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    checkpoint.claim(lease, REPOSITORY)
    checkpoint.intend(lease, "a.py", 2)
    folders.record_removed_folders(checkpoint.database, lease, [(REPOSITORY, "gone", 3)])
    ledger.settle_batch(checkpoint.database, lease, failed=[failed(1)])
    runs.request_retry(checkpoint.database, checkpoint.run(lease), host=None, max_retries=3)
    claims.release_lease(checkpoint.database, lease)
    other = checkpoint.held(collection="Other")
    assert forget(checkpoint) == 1
    run = checkpoint.run(lease)
    assert (run.status, run.lease_owner) == (RunStatus.CANCELED, None)
    assert run.lease_token > lease.token
    assert checkpoint.rows("SELECT 1 FROM failed_lines WHERE pending") == []
    assert checkpoint.run(other).status is RunStatus.RUNNING
    with pytest.raises(LeaseLost):
        ledger.settle_batch(checkpoint.database, lease, failed=[failed(2)])


def test_no_finished_run_of_a_forgotten_collection_is_taken_up_again(checkpoint: Checkpoint) -> None:
    sequence = finished_with_failure(checkpoint)
    [(run_id,)] = checkpoint.rows("SELECT run_id FROM sync_runs")
    before = lookup.load_run(checkpoint.database, run_id)
    forget(checkpoint)
    checkpoint.collection = checkpoint.register("Demo")
    with pytest.raises(UsageError, match="was forgotten, or replaced"):
        runs.request_retry(checkpoint.database, before, host=checkpoint.host, max_retries=None)
    assert lookup.find_finished(checkpoint.database, before.identity or "") is None, (
        "the same changeset is applied anew"
    )
    assert queries.runs_with_failures(checkpoint.database) == []
    assert lookup.load_run(checkpoint.database, run_id).status is RunStatus.FAILED
    add_tombstones(checkpoint, sequence)
    assert retention.drop_tombstones(checkpoint.database) == 1, "it writes nothing any more"
