"""Leases and claims: one process works on a run, one run writes a repository, and an overtaken process is refused."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from checkpoint_world import ELSEWHERE, REPOSITORY, Checkpoint, completed, failed

from elysia_dagster.checkpoint import claims, clock, collections, ledger, runs, suspects
from elysia_dagster.checkpoint import heartbeat as beats
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.heartbeat import Heartbeat
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.checkpoint.records import Settlement
from elysia_dagster.errors import LeaseLost, RepositoriesHeld
from elysia_dagster.models import DocumentState, Outcome, RunStatus

AWAY = Owner(host=ELSEWHERE, pid=1, started="1")


@pytest.fixture
def other_process() -> Iterator["subprocess.Popen[bytes]"]:
    """A living process that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_living_owner_is_never_overtaken_and_named(
    checkpoint: Checkpoint, other_process: "subprocess.Popen[bytes]"
) -> None:
    run = checkpoint.start()
    checkpoint.take(run, Owner.of(other_process.pid), seconds=-1000)  # expired long ago: it lives all the same
    with pytest.raises(RepositoriesHeld, match=rf"held by process {other_process.pid} on .* since 20") as held:
        checkpoint.take(run)
    assert held.value.exit_code == 4
    assert f"resume --run-id {run.run_id}" in str(held.value)


def test_a_dead_owner_is_overtaken_at_once(checkpoint: Checkpoint, other_process: "subprocess.Popen[bytes]") -> None:
    run = checkpoint.start()
    before = checkpoint.take(run, Owner.of(other_process.pid))
    other_process.kill()
    os.waitid(os.P_PID, other_process.pid, os.WEXITED | os.WNOWAIT)  # ended, and a zombie until it is waited for
    lease = checkpoint.take(run)
    assert lease.token > before.token


def test_another_host_is_overtaken_after_its_expiry_only(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    checkpoint.take(run, AWAY, seconds=60)
    with pytest.raises(RepositoriesHeld, match="process 1 on elsewhere"):
        checkpoint.take(run)
    checkpoint.execute("UPDATE sync_runs SET lease_expires_at = :past", past=clock.stamp_after(-1))
    assert checkpoint.take(run).token == 2


def test_a_take_over_by_expiry_makes_what_was_in_writing_suspect(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    lease = checkpoint.take(run, AWAY, seconds=-1)
    checkpoint.intend(lease, "a.py", 1)
    checkpoint.take(run)
    assert checkpoint.document("a.py").state is DocumentState.SUSPECT


def test_a_take_over_from_the_dead_leaves_what_was_in_writing(
    checkpoint: Checkpoint, other_process: "subprocess.Popen[bytes]"
) -> None:
    run = checkpoint.start()
    checkpoint.intend(checkpoint.take(run, Owner.of(other_process.pid)), "a.py", 1)
    other_process.kill()
    other_process.wait()
    checkpoint.take(run)
    assert checkpoint.document("a.py").state is DocumentState.WRITING


def test_this_process_does_not_take_its_own_run_twice(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    with pytest.raises(RepositoriesHeld):
        checkpoint.take(checkpoint.run(lease))
    claims.release_lease(checkpoint.database, lease)
    assert checkpoint.take(checkpoint.run(lease)).token == lease.token + 1


@pytest.mark.parametrize(
    ("keeper", "taker", "label", "is_free"),
    [
        ("another", "me", "dagster-1", True),  # the next step of the same Dagster run
        ("another", "me", "dagster-2", False),
        ("another", "me", "", False),
        ("me", "me", "", True),  # the very process
        ("dead", "me", "dagster-2", True),
        ("away", "me", "dagster-2", False),
        ("away, expired", "me", "dagster-2", True),
        ("another, expired", "me", "dagster-2", False),
    ],
)
def test_a_parked_run_waits_for_its_own(
    keeper: str,
    taker: str,
    label: str,
    is_free: bool,
    checkpoint: Checkpoint,
    other_process: "subprocess.Popen[bytes]",
) -> None:
    who, _, expired = keeper.partition(", ")
    owner = {"me": checkpoint.me, "away": AWAY}.get(who) or Owner.of(other_process.pid)
    lease = checkpoint.take(checkpoint.start(), label="dagster-1")
    claims.park_lease(checkpoint.database, lease, keeper=owner, seconds=-1 if expired else 900)
    if who == "dead":
        other_process.kill()
        other_process.wait()
    if is_free:
        assert checkpoint.take(checkpoint.run(lease), label=label).token == lease.token + 1
    else:
        with pytest.raises(RepositoriesHeld):
            checkpoint.take(checkpoint.run(lease), label=label)


def test_a_parked_run_without_a_label_is_nobodys_else(
    checkpoint: Checkpoint, other_process: "subprocess.Popen[bytes]"
) -> None:
    lease = checkpoint.take(checkpoint.start())
    claims.park_lease(checkpoint.database, lease, keeper=Owner.of(other_process.pid), seconds=900)
    with pytest.raises(RepositoriesHeld):
        checkpoint.take(checkpoint.run(lease))


def test_claims_are_taken_all_or_none(checkpoint: Checkpoint) -> None:
    first, second = checkpoint.held(), checkpoint.held()
    checkpoint.claim(first, "b")
    with pytest.raises(RepositoriesHeld, match=rf"Repository b is held by run {first.run_id} .*since 20") as held:
        checkpoint.claim(second, "a", "b", "c")
    assert held.value.ids["holder"] == first.run_id
    assert checkpoint.claimed() == {"b": first.run_id}
    checkpoint.claim(second, "a", "c")
    assert checkpoint.claimed() == {"a": second.run_id, "b": first.run_id, "c": second.run_id}


def test_a_run_claims_again_what_it_holds(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    checkpoint.claim(lease, "a", "b")
    checkpoint.claim(lease, "b", "c")
    assert checkpoint.claimed() == {"b": lease.run_id, "c": lease.run_id}
    checkpoint.claim(lease)
    assert checkpoint.claimed() == {}


def test_claims_of_another_collection_are_not_in_the_way(checkpoint: Checkpoint) -> None:
    first = checkpoint.held()
    checkpoint.claim(first, "a")
    run = checkpoint.start(collection="Other")
    lease = claims.take_lease(
        checkpoint.database,
        run,
        collection_id=checkpoint.register("Other"),
        owner=checkpoint.me,
        label="",
        seconds=60,
    )
    checkpoint.claim(lease, "a")
    assert len(checkpoint.rows("SELECT 1 FROM repository_claims")) == 2


@pytest.mark.parametrize("how", ["released", "dead", "expired"])
def test_claims_of_a_run_that_nobody_works_on_are_taken_over(
    how: str, checkpoint: Checkpoint, other_process: "subprocess.Popen[bytes]"
) -> None:
    owner = {"released": checkpoint.me, "expired": AWAY}.get(how) or Owner.of(other_process.pid)
    first = checkpoint.take(checkpoint.start(), owner, seconds=-1)
    checkpoint.claim(first, "a", "b")
    if how == "released":
        claims.release_lease(checkpoint.database, first)
    other_process.kill()
    other_process.wait()
    second = checkpoint.held()
    checkpoint.claim(second, "b", "c")
    assert checkpoint.claimed() == {"b": second.run_id, "c": second.run_id}, "the overtaken run keeps none"
    with pytest.raises(LeaseLost):
        checkpoint.intend(first, "a.py", 1)
    again = checkpoint.take(checkpoint.run(first))
    with pytest.raises(RepositoriesHeld):
        checkpoint.claim(again, "a", "b")


def _settle(checkpoint: Checkpoint, lease: Lease) -> None:
    ledger.settle_batch(
        checkpoint.database,
        lease,
        settlements=[
            Settlement(
                repository=REPOSITORY,
                path="a.py",
                line=1,
                state=DocumentState.PRESENT,
                outcome=Outcome.INDEXED,
                is_written=True,
            )
        ],
        completed=[completed(1)],
        failed=[failed(2)],
    )


REFUSED: dict[str, Callable[[Checkpoint, Lease], object]] = {
    "renew": lambda checkpoint, lease: claims.renew_lease(checkpoint.database, lease),
    "claim": lambda checkpoint, lease: checkpoint.claim(lease, "a"),
    "intend": lambda checkpoint, lease: checkpoint.intend(lease, "b.py", 3),
    "settle": _settle,
    "settle lines": lambda checkpoint, lease: ledger.settle_batch(
        checkpoint.database, lease, completed=[completed(1)], failed=[failed(2)]
    ),
    "clear suspicion": lambda checkpoint, lease: suspects.clear_suspicion(checkpoint.database, lease, []),
    "record the plan": lambda checkpoint, lease: runs.record_plan(
        checkpoint.database, lease, changeset_info="{}", self_contained=True
    ),
    "move a commit": lambda checkpoint, lease: collections.move_commit(
        checkpoint.database, lease, "a", {"commit": "c"}
    ),
    "finish": lambda checkpoint, lease: runs.finish_run(checkpoint.database, lease),
}

IGNORED: dict[str, Callable[[Checkpoint, Lease], object]] = {
    "release": lambda checkpoint, lease: claims.release_lease(checkpoint.database, lease),
    "park": lambda checkpoint, lease: claims.park_lease(checkpoint.database, lease, keeper=checkpoint.me, seconds=900),
    "say why it stopped": lambda checkpoint, lease: runs.record_interruption(checkpoint.database, lease, "late"),
}


@pytest.mark.parametrize("transition", [*REFUSED, *IGNORED])
def test_whatever_an_overtaken_process_still_tries_changes_nothing(transition: str, checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    old = checkpoint.take(run, AWAY, seconds=-1)
    checkpoint.claim(old, "a")
    checkpoint.intend(old, "a.py", 1)
    checkpoint.take(run)
    before = checkpoint.dump()
    if transition in REFUSED:
        with pytest.raises(LeaseLost, match="taken over by another process") as lost:
            REFUSED[transition](checkpoint, old)
        assert lost.value.exit_code == 4
    else:
        IGNORED[transition](checkpoint, old)
    assert checkpoint.dump() == before


def test_an_overtaken_process_does_not_close_a_run_that_is_settled(checkpoint: Checkpoint) -> None:
    """The one that took over is at its last steps still."""
    run = checkpoint.start(1)
    old = checkpoint.take(run, AWAY, seconds=-1)
    ledger.settle_batch(checkpoint.database, checkpoint.take(run), completed=[completed(1)])
    before = checkpoint.dump()
    with pytest.raises(LeaseLost):
        runs.finish_run(checkpoint.database, old)
    assert checkpoint.dump() == before


def test_a_closed_run_is_parked_for_nobody(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(0)
    runs.finish_run(checkpoint.database, lease)
    claims.park_lease(checkpoint.database, lease, keeper=checkpoint.me, seconds=900)
    run = checkpoint.run(lease)
    assert (run.status, run.lease_owner, run.lease_parked) == (RunStatus.COMPLETED, None, False)


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 30 s")


def test_the_heartbeat_renews_and_says_when_the_lease_is_lost(checkpoint: Checkpoint) -> None:
    lease = checkpoint.take(checkpoint.start(), seconds=0.3)
    first = checkpoint.run(lease).lease_heartbeat or ""
    with Heartbeat(checkpoint.database, lease) as heartbeat:
        _wait_for(lambda: (checkpoint.run(lease).lease_heartbeat or "") > first)
        heartbeat.check()
        checkpoint.execute("UPDATE sync_runs SET lease_token = lease_token + 1")

        with pytest.raises(LeaseLost):
            _wait_for(lambda: heartbeat.check() is not None)


def test_a_lease_that_would_end_too_soon_is_renewed_here_and_now(checkpoint: Checkpoint) -> None:
    lease = checkpoint.take(checkpoint.start(), seconds=60)
    heartbeat = Heartbeat(checkpoint.database, lease)  # not started: only what is asked for happens
    before = checkpoint.run(lease).lease_expires_at
    heartbeat.ensure(1)
    assert checkpoint.run(lease).lease_expires_at == before
    heartbeat.ensure(60)
    assert (checkpoint.run(lease).lease_expires_at or "") > (before or "")
    checkpoint.execute("UPDATE sync_runs SET lease_token = lease_token + 1")
    with pytest.raises(LeaseLost):
        heartbeat.ensure(60)


@pytest.mark.parametrize("jump_s", [-3600, 0, 3600])
def test_a_lease_is_renewed_in_time_whatever_the_clock_says(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    """Set back by an hour, the clock would tell that the lease has an hour more."""
    lease = checkpoint.take(checkpoint.start(), seconds=10.0)
    heartbeat = Heartbeat(checkpoint.database, lease)
    real, monotonic, renewed = clock.now, time.monotonic, []
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=jump_s + 6))
    monkeypatch.setattr(beats.time, "monotonic", lambda: monotonic() + 6)
    monkeypatch.setattr(beats, "renew_lease", lambda *_: renewed.append(True))
    heartbeat.ensure(5.0)
    assert renewed == [True]
