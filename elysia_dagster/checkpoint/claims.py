"""Leases and claims: which process works on a run, and which run may write a repository.

A lease belongs to a sync run. Its token grows with every take, so that whatever an overtaken process still tries is
refused: every transition of ``ledger`` and ``runs`` checks the token in its own transaction.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import Host, Liveness, Owner
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import (
    IS_UNSETTLED,
    collections,
    documents,
    repository_claims,
    run_repositories,
    sync_runs,
)
from elysia_dagster.errors import LeaseLost, RepositoriesHeld
from elysia_dagster.models import DocumentState, RunStatus


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on a run, as long as the database still holds this token."""

    run_id: str
    sequence: int
    collection_id: int | None
    token: int
    owner: Owner
    label: str
    seconds: float


def take_lease(
    database: Database, run: RunRecord, *, collection_id: int | None, owner: Owner, label: str, seconds: float
) -> Lease:
    """Takes the run for this process. ``label`` names the Dagster run whose steps share it ('' in the shell).

    A dead owner of the same host is overtaken at once, a living one never, another host's after its expiry.
    Raises ``RepositoriesHeld`` where another process works on the run.
    """
    with database.write() as connection:
        current = _run_row(connection, run.run_id)
        if holder := live_holder(current, owner.host, taker=owner, label=label):
            raise RepositoriesHeld(
                f"Run {run.run_id} is held by {holder} since {current.lease_since}.",
                next_step=f"Wait for it, or stop that process; then: elysiactl index resume --run-id {run.run_id}",
                run_id=run.run_id,
            )
        _mark_overtaken(connection, current, owner.host)
        token = current.lease_token + 1
        moment = clock.stamp()
        connection.execute(
            update(sync_runs)
            .where(sync_runs.c.run_id == run.run_id)
            .values(
                lease_owner=owner.to_json(),
                lease_label=label,
                lease_since=moment,
                lease_heartbeat=moment,
                lease_expires_at=clock.stamp_after(seconds),
                lease_parked=False,
                lease_token=token,
            )
        )
    assert run.sequence is not None
    return Lease(
        run_id=run.run_id,
        sequence=run.sequence,
        collection_id=collection_id,
        token=token,
        owner=owner,
        label=label,
        seconds=seconds,
    )


def live_holder(run: RunRecord, host: Host, *, taker: Owner | None = None, label: str = "") -> str | None:
    """Who holds a run that ``taker`` may not take, or None where it is free (dead, expired, parked for the taker)."""
    if run.lease_owner is None or run.lease_expires_at is None:
        return None
    owner = Owner.from_json(run.lease_owner)
    if run.lease_parked and (taker == owner or (label and run.lease_label == label)):
        return None
    liveness = owner.liveness(host)
    if liveness is Liveness.DEAD:
        return None
    if liveness is Liveness.UNKNOWN and clock.parse(run.lease_expires_at) < clock.now():
        return None
    return str(owner)


def renew_lease(database: Database, lease: Lease, *, durable: bool = False) -> None:
    """Moves the lease's expiry; ``durable`` brings all that was committed before to the disk.

    Raises ``LeaseLost`` where another process has taken it.
    """
    with database.write(durable=durable) as connection:
        moved = connection.execute(
            update(sync_runs)
            .where(sync_runs.c.run_id == lease.run_id, sync_runs.c.lease_token == lease.token)
            .values(lease_heartbeat=clock.stamp(), lease_expires_at=clock.stamp_after(lease.seconds))
        )
        if moved.rowcount != 1:
            raise lease_lost(lease)


def check_token(connection: Connection, lease: Lease) -> None:
    """Raises ``LeaseLost`` unless the lease is still this process's; part of the caller's transaction."""
    token = connection.execute(
        select(sync_runs.c.lease_token).where(sync_runs.c.run_id == lease.run_id)
    ).scalar_one_or_none()
    if token != lease.token:
        raise lease_lost(lease)


def is_lost(database: Database, lease: Lease) -> bool:
    """Whether another process has taken the lease meanwhile."""
    with database.read() as connection:
        try:
            check_token(connection, lease)
        except LeaseLost:
            return True
    return False


def lease_lost(lease: Lease) -> LeaseLost:
    """The error of an overtaken process."""
    return LeaseLost(
        f"Run {lease.run_id} was taken over by another process while this one was paused.",
        next_step=f"See who holds it: elysiactl index status --run-id {lease.run_id}",
        run_id=lease.run_id,
    )


def park_lease(database: Database, lease: Lease, *, keeper: Owner, seconds: float) -> None:
    """Leaves the run to the next step of the same Dagster run: others wait while ``keeper`` lives, or until expiry.

    A run that was closed under the lease is left to nobody.
    """
    with database.write() as connection:
        connection.execute(
            update(sync_runs)
            .where(
                sync_runs.c.run_id == lease.run_id,
                sync_runs.c.lease_token == lease.token,
                sync_runs.c.status == RunStatus.RUNNING.value,
            )
            .values(lease_parked=True, lease_owner=keeper.to_json(), lease_expires_at=clock.stamp_after(seconds))
        )


def release_lease(database: Database, lease: Lease) -> None:
    """Gives the run back: anybody may take it at once. Its claims stay until the run is finished or overtaken."""
    with database.write() as connection:
        connection.execute(
            update(sync_runs)
            .where(sync_runs.c.run_id == lease.run_id, sync_runs.c.lease_token == lease.token)
            .values(lease_owner=None, lease_label=None, lease_expires_at=None, lease_parked=False)
        )


def claim_repositories(database: Database, lease: Lease, repositories: frozenset[str]) -> None:
    """Claims all of ``repositories`` for the run, or none. A claim of a run that nobody works on is taken over.

    Raises ``RepositoriesHeld`` (who holds what since when) and ``LeaseLost``.
    """
    assert lease.collection_id is not None
    with database.write() as connection:
        check_token(connection, lease)
        held = connection.execute(
            select(repository_claims.c.repository, repository_claims.c.run_id, repository_claims.c.claimed_at).where(
                repository_claims.c.collection_id == lease.collection_id, repository_claims.c.run_id != lease.run_id
            )
        ).all()
        overlapping = [row for row in held if row.repository in repositories]
        others = {row.run_id: _run_row(connection, row.run_id) for row in overlapping}
        for row in overlapping:
            other = others[row.run_id]
            if holder := live_holder(other, lease.owner.host):
                raise RepositoriesHeld(
                    f"Repository {row.repository} is held by run {row.run_id} ({holder}) since {row.claimed_at}.",
                    next_step=f"Wait for it, then: elysiactl index resume --run-id {lease.run_id}",
                    run_id=lease.run_id,
                    holder=row.run_id,
                )
        for other in others.values():
            overtake(connection, other, lease.owner.host)
        moment = clock.stamp()
        connection.execute(
            delete(repository_claims).where(
                repository_claims.c.collection_id == lease.collection_id,
                repository_claims.c.run_id.in_([lease.run_id, *others]),
            )
        )
        if not repositories:
            return
        connection.execute(
            insert(repository_claims),
            [
                {
                    "collection_id": lease.collection_id,
                    "repository": each,
                    "run_id": lease.run_id,
                    "claimed_at": moment,
                }
                for each in sorted(repositories)
            ],
        )
        connection.execute(delete(run_repositories).where(run_repositories.c.run_id == lease.run_id))
        connection.execute(
            insert(run_repositories),
            [
                {
                    "run_id": lease.run_id,
                    "repository": each,
                    "collection_id": lease.collection_id,
                    "sequence": lease.sequence,
                }
                for each in sorted(repositories)
            ],
        )


def overtake(connection: Connection, other: RunRecord, host: Host) -> None:
    """Makes whatever the other run's last process may still do be refused: its token is used up."""
    _mark_overtaken(connection, other, host)
    connection.execute(
        update(sync_runs)
        .where(sync_runs.c.run_id == other.run_id)
        .values(
            lease_token=other.lease_token + 1,
            lease_owner=None,
            lease_label=None,
            lease_expires_at=None,
            lease_parked=False,
        )
    )


def _mark_overtaken(connection: Connection, run: RunRecord, host: Host) -> None:
    """After a take-over by expiry the old process may still live: what it had in writing is suspect."""
    if run.lease_owner is None or run.lease_parked:
        return
    if Owner.from_json(run.lease_owner).liveness(host) is Liveness.UNKNOWN:
        mark_suspect(connection, run)


def mark_suspect(connection: Connection, run: RunRecord) -> None:
    """Every document that a run has in writing becomes suspect, in the caller's transaction."""
    its_collection = (
        select(collections.c.collection_id)
        .where(collections.c.store == run.store, collections.c.name == run.collection_name)
        .scalar_subquery()
    )
    connection.execute(
        update(documents)
        .where(
            documents.c.collection_id == its_collection,
            # as a range: for two equalities SQLite would rather read the whole collection by its primary key
            documents.c.version_sequence.between(run.sequence, run.sequence),
            IS_UNSETTLED,
            documents.c.state == DocumentState.WRITING.value,
        )
        .values(state=DocumentState.SUSPECT.value)
    )


def _run_row(connection: Connection, run_id: str) -> RunRecord:
    return RunRecord.from_row(
        connection.execute(select(sync_runs).where(sync_runs.c.run_id == run_id)).mappings().one()
    )
