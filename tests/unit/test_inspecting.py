"""What checks ask the checkpoint, on every database: counters, due lines, what the store should hold, who writes."""

from checkpoint_world import ELSEWHERE, REPOSITORY, STORE, Checkpoint, completed, failed

from elysia_dagster.checkpoint import inspecting, lines, steps
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.collections import load_collection
from elysia_dagster.checkpoint.inspecting import Counters, Holding
from elysia_dagster.checkpoint.runs import finish_run
from elysia_dagster.models import ErrorKind, RunStatus

LONG_AGO = "2020-01-01T00:00:00.000000+00:00"


def settled(checkpoint: Checkpoint, *, failures: int = 0, count: int = 3) -> Lease:
    """The lease of a run of which every line is settled."""
    lease = checkpoint.held(count)
    done = [completed(line) for line in range(1, count - failures + 1)]
    lost = [failed(line) for line in range(count - failures + 1, count + 1)]
    with checkpoint.database.write() as connection:
        lines.settle_lines(connection, lease, completed=done, failed=lost)
    return lease


def test_untrue_counters_are_found_in_all_runs_or_one(checkpoint: Checkpoint) -> None:
    good, bad = settled(checkpoint), settled(checkpoint, failures=1)
    assert inspecting.untrue_counters(checkpoint.database, STORE, "Demo") == []
    checkpoint.execute("UPDATE sync_runs SET error_count = 0 WHERE run_id = :run", run=bad.run_id)
    untrue = [Counters(bad.run_id, 2, 0, 3, 2, 1)]
    assert inspecting.untrue_counters(checkpoint.database, STORE, "Demo") == untrue
    assert inspecting.untrue_counters(checkpoint.database, STORE, "Demo", run_id=bad.run_id) == untrue
    assert inspecting.untrue_counters(checkpoint.database, STORE, "Demo", run_id=good.run_id) == []
    assert inspecting.untrue_counters(checkpoint.database, STORE, "Other") == []
    checkpoint.execute("UPDATE sync_runs SET error_count = 1, processed_lines = 4 WHERE run_id = :run", run=bad.run_id)
    assert inspecting.untrue_counters(checkpoint.database, STORE, "Demo") == [Counters(bad.run_id, 2, 1, 4, 2, 1)]


def test_lines_are_due_when_their_time_has_come_and_a_try_is_left(checkpoint: Checkpoint) -> None:
    lease = settled(checkpoint, failures=3)
    run = checkpoint.run(lease)
    assert inspecting.due_lines(checkpoint.database, [run]) == {}
    checkpoint.execute("UPDATE failed_lines SET next_retry_at = :then", then=LONG_AGO)
    assert inspecting.due_lines(checkpoint.database, [run]) == {run.run_id: 3}
    checkpoint.execute("UPDATE failed_lines SET retry_count = 3 WHERE line_number = 1")
    checkpoint.execute(
        "UPDATE failed_lines SET next_retry_at = NULL, error_kind = :kind WHERE line_number = 2",
        kind=ErrorKind.PERMANENT.value,
    )
    assert inspecting.due_lines(checkpoint.database, [run]) == {run.run_id: 1}


def test_runs_of_a_collection_without_dry_ones_and_repairs(checkpoint: Checkpoint) -> None:
    first, second = checkpoint.start(), checkpoint.start()
    checkpoint.start(dry_run=True)
    checkpoint.start(identity="reconcile:1")
    checkpoint.register("Other")
    checkpoint.start(collection="Other")
    running = inspecting.runs_of(checkpoint.database, STORE, "Demo", [RunStatus.RUNNING])
    assert [run.run_id for run in running] == [first.run_id, second.run_id]
    assert inspecting.runs_of(checkpoint.database, STORE, "Demo", [RunStatus.COMPLETED]) == []


def test_the_newest_completed_run_counts_and_no_failed_one(checkpoint: Checkpoint) -> None:
    assert inspecting.last_completed(checkpoint.database, STORE, "Demo") is None
    finish_run(checkpoint.database, settled(checkpoint, failures=1))
    assert inspecting.last_completed(checkpoint.database, STORE, "Demo") is None
    runs = [finish_run(checkpoint.database, settled(checkpoint)) for _ in range(2)]
    assert inspecting.last_completed(checkpoint.database, STORE, "Demo") == runs[1].completed_at


def test_what_the_store_should_hold_and_what_is_unsure(checkpoint: Checkpoint) -> None:
    assert inspecting.holdings(checkpoint.database, checkpoint.collection) == {}
    lease = checkpoint.held()
    checkpoint.claim(lease, REPOSITORY)
    for line, path in enumerate(("a.py", "b.py", "c.py"), start=1):
        checkpoint.intend(lease, path, line)
    checkpoint.execute("UPDATE documents SET state = 'present', chunks = 4 WHERE path = 'a.py'")
    checkpoint.execute("UPDATE documents SET state = 'absent', chunks = 7 WHERE path = 'b.py'")
    assert inspecting.holdings(checkpoint.database, checkpoint.collection) == {REPOSITORY: Holding(4, 1)}


def test_a_repository_is_held_while_a_process_works_on_its_run(checkpoint: Checkpoint) -> None:
    known = load_collection(checkpoint.database, checkpoint.collection)
    assert inspecting.held_repositories(checkpoint.database, known, checkpoint.host) == set()
    lease = checkpoint.held()
    checkpoint.claim(lease, REPOSITORY)
    assert inspecting.held_repositories(checkpoint.database, known, checkpoint.host) == {REPOSITORY}
    assert inspecting.held_repositories(checkpoint.database, known, ELSEWHERE) == {REPOSITORY}, "not expired yet"
    checkpoint.execute("UPDATE sync_runs SET lease_owner = NULL")
    assert inspecting.held_repositories(checkpoint.database, known, checkpoint.host) == set()


def test_the_sync_run_of_a_dagster_run_by_its_steps_its_lease_or_its_parent(checkpoint: Checkpoint) -> None:
    database = checkpoint.database
    by_step, by_lease = checkpoint.start(), checkpoint.start()
    steps.record_step(database, dagster_run_id="d-1", step_key="read_changeset", run_id=by_step.run_id)
    checkpoint.take(by_lease, label="d-2")
    assert steps.sync_run_of(database, ["d-3"]) is None
    for ids, run in ((["d-1"], by_step), (["d-2"], by_lease), (["d-3", "d-1"], by_step), (["d-2", "d-1"], by_lease)):
        found = steps.sync_run_of(database, ids)
        assert found is not None
        assert found.run_id == run.run_id
