"""A run is taken from its holder: who that is, and that it can do no more afterwards."""

from collections.abc import Callable

import pytest
from checkpoint_world import ELSEWHERE, REPOSITORY, Checkpoint, completed

from elysia_dagster.checkpoint import claims, ledger, runs
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.owner import Liveness, Owner
from elysia_dagster.checkpoint.unlocking import Holding, claimants, holdings, unlock_run
from elysia_dagster.errors import LeaseLost, RepositoriesHeld, UsageError
from elysia_dagster.models import DocumentState, RunStatus

STRANGER = Owner(host=ELSEWHERE, pid=4711, started="1")


def held_elsewhere(checkpoint: Checkpoint, **options: object) -> Lease:
    """A run that a process of another host works on: one document in writing, one settled."""
    lease = checkpoint.take(checkpoint.start(), STRANGER, **options)  # type: ignore[arg-type]
    checkpoint.claim(lease, REPOSITORY, "other")
    checkpoint.intend(lease, "settled.py", 1)
    settled = ledger.Settlement(
        repository=REPOSITORY,
        path="settled.py",
        line=1,
        state=DocumentState.PRESENT,
        outcome=completed(1).outcome,
        is_written=True,
        content_hash="h",
        write_hash="w",
        chunker="c",
        chunks=1,
        max_chunks=1,
    )
    ledger.settle_batch(checkpoint.database, lease, settlements=[settled], completed=[completed(1, "settled.py")])
    checkpoint.intend(lease, "writing.py", 2, chunks=3)
    return lease


def the_holding(checkpoint: Checkpoint) -> Holding:
    """The one there is."""
    (found,) = holdings(checkpoint.database, checkpoint.host)
    return found


def test_who_holds_what_is_told(checkpoint: Checkpoint) -> None:
    assert holdings(checkpoint.database, checkpoint.host) == []
    lease = held_elsewhere(checkpoint)
    found = the_holding(checkpoint)
    assert (found.run.run_id, found.owner, found.liveness) == (lease.run_id, STRANGER, Liveness.UNKNOWN)
    assert found.repositories == ("other", REPOSITORY)
    assert not found.has_run_out
    assert claimants(checkpoint.database, REPOSITORY) == [lease.run_id]
    assert claimants(checkpoint.database, "none") == []
    mine = checkpoint.held()
    alive = holdings(checkpoint.database, checkpoint.host, run_id=mine.run_id)
    assert [each.liveness for each in alive] == [Liveness.ALIVE]
    claims.release_lease(checkpoint.database, mine)
    assert holdings(checkpoint.database, checkpoint.host, run_id=mine.run_id) == []


@pytest.mark.parametrize("options", [{}, {"seconds": -1.0}], ids=["lease runs", "lease has run out"])
def test_what_the_holder_still_tries_is_refused(checkpoint: Checkpoint, options: dict[str, float]) -> None:
    lease = held_elsewhere(checkpoint, **options)
    assert unlock_run(checkpoint.database, the_holding(checkpoint), checkpoint.host) == 1

    run = checkpoint.run(lease)
    assert (run.status, run.lease_owner, run.lease_token) == (RunStatus.RUNNING, None, lease.token + 1)
    assert run.last_error == "Taken from process 4711 on elsewhere by an operator."
    assert checkpoint.claimed() == {}
    assert checkpoint.document("writing.py").state is DocumentState.SUSPECT
    assert checkpoint.document("writing.py").max_chunks == 3
    assert checkpoint.document("settled.py").state is DocumentState.PRESENT

    before = checkpoint.dump()
    tries: list[Callable[[], object]] = [
        lambda: claims.renew_lease(checkpoint.database, lease),
        lambda: checkpoint.claim(lease, REPOSITORY),
        lambda: checkpoint.intend(lease, "late.py", 3),
        lambda: ledger.settle_batch(checkpoint.database, lease, completed=[completed(2)]),
        lambda: runs.finish_run(checkpoint.database, lease),
    ]
    for attempt in tries:
        with pytest.raises(LeaseLost):
            attempt()
    claims.release_lease(checkpoint.database, lease)
    claims.park_lease(checkpoint.database, lease, keeper=STRANGER, seconds=60)
    assert checkpoint.dump() == before

    again = checkpoint.take(run)
    checkpoint.claim(again, REPOSITORY)
    assert checkpoint.claimed() == {REPOSITORY: run.run_id}


def test_another_run_may_claim_at_once(checkpoint: Checkpoint) -> None:
    held_elsewhere(checkpoint)
    other = checkpoint.held()
    with pytest.raises(RepositoriesHeld):
        checkpoint.claim(other, REPOSITORY)
    (theirs,) = [each for each in holdings(checkpoint.database, checkpoint.host) if each.owner == STRANGER]
    unlock_run(checkpoint.database, theirs, checkpoint.host)
    checkpoint.claim(other, REPOSITORY)


def test_a_living_process_of_this_host_is_to_be_stopped(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    before = checkpoint.dump()
    with pytest.raises(RepositoriesHeld, match=rf"which is alive.*kill {lease.owner.pid}") as refused:
        unlock_run(checkpoint.database, the_holding(checkpoint), checkpoint.host)
    assert refused.value.exit_code == 4
    assert checkpoint.dump() == before


def test_what_has_changed_since_it_was_seen_is_left_alone(checkpoint: Checkpoint) -> None:
    lease = held_elsewhere(checkpoint)
    seen = the_holding(checkpoint)
    claims.renew_lease(checkpoint.database, lease)
    with pytest.raises(UsageError, match=r"process 4711 on elsewhere has renewed its lease .* it is alive"):
        unlock_run(checkpoint.database, seen, checkpoint.host)
    seen = the_holding(checkpoint)
    claims.release_lease(checkpoint.database, lease)
    taken = checkpoint.take(checkpoint.run(lease), STRANGER)
    with pytest.raises(UsageError, match="no longer held by process 4711"):
        unlock_run(checkpoint.database, seen, checkpoint.host)
    assert checkpoint.run(taken).lease_token == taken.token
    seen = the_holding(checkpoint)
    unlock_run(checkpoint.database, seen, checkpoint.host)
    with pytest.raises(UsageError, match="no longer held"):
        unlock_run(checkpoint.database, seen, checkpoint.host)


def test_a_dead_one_of_this_host_is_no_obstacle(checkpoint: Checkpoint) -> None:
    dead = Owner(host=checkpoint.host, pid=4711, started="long ago")
    lease = checkpoint.take(checkpoint.start(), dead)
    assert the_holding(checkpoint).liveness is Liveness.DEAD
    assert unlock_run(checkpoint.database, the_holding(checkpoint), checkpoint.host) == 0
    assert checkpoint.run(lease).lease_token == lease.token + 1


def test_a_parked_one_is_taken_too(checkpoint: Checkpoint) -> None:
    """Between two steps of a Dagster run whose host is gone."""
    lease = held_elsewhere(checkpoint, label="dagster")
    claims.park_lease(checkpoint.database, lease, keeper=STRANGER, seconds=900)
    assert unlock_run(checkpoint.database, the_holding(checkpoint), checkpoint.host) == 1
    with pytest.raises(LeaseLost):
        claims.renew_lease(checkpoint.database, lease)
