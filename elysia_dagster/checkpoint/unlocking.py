"""An operator takes a run from a process that nobody here can tell is dead: who holds what, and the transition.

Where a lease's owner is known to be dead, or its lease has run out, any run takes over by itself. What is left for a
person is a process of another host, or of another container of this one, whose lease has not run out.
"""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, update

from elysia_dagster.checkpoint import clock, queries
from elysia_dagster.checkpoint.claims import mark_suspect, overtake
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.lookup import load_within
from elysia_dagster.checkpoint.owner import Host, Liveness, Owner
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import IS_UNSETTLED, collections, documents, repository_claims, sync_runs
from elysia_dagster.errors import RepositoriesHeld, UsageError
from elysia_dagster.models import DocumentState, RunStatus


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A run that a process holds: ``owner``, and what can be told of it from the host that asks."""

    run: RunRecord
    repositories: tuple[str, ...]
    owner: Owner
    liveness: Liveness

    @property
    def has_run_out(self) -> bool:
        """Whether the lease has: then another host takes over by itself."""
        ends = self.run.lease_expires_at
        return ends is None or clock.parse(ends) < clock.now()


def holdings(database: Database, host: Host, *, run_id: str | None = None) -> list[Holding]:
    """Every unfinished run that a process holds, or that one, oldest first."""
    where = [sync_runs.c.status == RunStatus.RUNNING.value, sync_runs.c.lease_owner.is_not(None)]
    if run_id is not None:
        where.append(sync_runs.c.run_id == run_id)
    with database.read() as connection:
        rows = connection.execute(select(sync_runs).where(*where).order_by(sync_runs.c.sequence)).mappings()
        found = [RunRecord.from_row(row) for row in rows]
        claimed: dict[str, list[str]] = {run.run_id: [] for run in found}
        for row in connection.execute(select(repository_claims).order_by(repository_claims.c.repository)):
            if row.run_id in claimed:
                claimed[row.run_id].append(row.repository)
    owners = {run.run_id: Owner.from_json(run.lease_owner or "") for run in found}
    return [
        Holding(
            run=run,
            repositories=tuple(claimed[run.run_id]),
            owner=owners[run.run_id],
            liveness=owners[run.run_id].liveness(host),
        )
        for run in found
    ]


def claimants(database: Database, repository: str) -> list[str]:
    """The runs that claim a repository, one for each collection at most, whether anybody works on them or not."""
    with database.read() as connection:
        return list(
            connection.execute(
                select(repository_claims.c.run_id)
                .where(repository_claims.c.repository == repository)
                .order_by(repository_claims.c.run_id)
                .distinct()
            ).scalars()
        )


def unlock_run(database: Database, holding: Holding, host: Host) -> int:
    """Takes the run from its holder, as it was seen in ``holding``: nobody holds it, and anybody may go on with it.

    The token grows, so that whatever the holder still tries is refused; what it had in writing is suspect, and its
    claims are gone. Returns how many documents are suspect now of what the run has written. Raises ``UsageError``
    where the run is another's meanwhile or its holder has given a sign of life, ``RepositoriesHeld`` where the holder
    lives on this host.
    """
    seen = holding.run
    with database.write() as connection:
        run = load_within(connection, seen.run_id)
        again = f"Look again: elysiactl index unlock --run-id {run.run_id}"
        if run.status is not RunStatus.RUNNING or (run.lease_token, run.lease_owner) != (
            seen.lease_token,
            seen.lease_owner,
        ):
            raise UsageError(f"Run {run.run_id} is no longer held by {holding.owner}.", next_step=again)
        if run.lease_heartbeat != seen.lease_heartbeat:
            raise UsageError(
                f"Meanwhile {holding.owner} has renewed its lease of run {run.run_id}, at {run.lease_heartbeat}: it is "
                "alive.",
                next_step=f"Stop it there. {again}",
            )
        if holding.owner.liveness(host) is Liveness.ALIVE:
            raise is_alive(holding)
        mark_suspect(connection, run)  # whatever can be told of the holder
        overtake(connection, run, host)
        connection.execute(delete(repository_claims).where(repository_claims.c.run_id == run.run_id))
        connection.execute(
            update(sync_runs)
            .where(sync_runs.c.run_id == run.run_id)
            .values(last_error=f"Taken from {holding.owner} by an operator.")
        )
        suspects: int = connection.execute(
            select(func.count())
            .select_from(documents)
            .join(collections, collections.c.collection_id == documents.c.collection_id)
            .where(
                collections.c.store == run.store,
                collections.c.name == run.collection_name,
                documents.c.version_sequence.between(run.sequence, run.sequence),
                IS_UNSETTLED,
                documents.c.state == DocumentState.SUSPECT.value,
            )
        ).scalar_one()
    return suspects


def is_alive(holding: Holding) -> RepositoriesHeld:
    """The error for a holder that lives on this host: it can be stopped, and then the run is free by itself."""
    what = "the Dagster run of " if holding.run.lease_parked else ""
    return RepositoriesHeld(
        f"Run {holding.run.run_id} is held by {what}{holding.owner}, which is alive, since {holding.run.lease_since}.",
        next_step=f"Stop it (kill {holding.owner.pid}; where that does not help, kill -9), then: "
        f"{queries.next_command(holding.run, (), is_held=False)}",
        run_id=holding.run.run_id,
    )
