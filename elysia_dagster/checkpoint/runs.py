"""The life of a sync run, as named transitions: started, reopened for a retry, finished, given up."""

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.claims import Lease, check_token, live_holder, mark_suspect
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.folders import take_back_removed_folders
from elysia_dagster.checkpoint.lookup import load_within
from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.checkpoint.records import RunOptions, RunRecord
from elysia_dagster.checkpoint.schema import (
    completed_lines,
    failed_lines,
    repository_claims,
    sequences,
    sync_runs,
)
from elysia_dagster.errors import CheckpointError, RepositoriesHeld, UsageError
from elysia_dagster.models import ErrorKind, RunStatus


def new_run_id() -> str:
    """A run's name: its moment to the second in UTC, and eight random hex digits."""
    return f"sync-{clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def start_run(
    database: Database,
    *,
    run_id: str,
    identity: str,
    digest: str,
    input_source: str,
    total_lines: int,
    store: str,
    collection: str,
    dry_run: bool,
    options: RunOptions,
) -> tuple[RunRecord, bool]:
    """Opens a run, or gives the unfinished one of the same identity that another process has just opened.

    Returns the run and whether it is the new one.
    """
    with database.write() as connection:
        row = connection.execute(
            select(sync_runs).where(sync_runs.c.identity == identity, sync_runs.c.status == RunStatus.RUNNING.value)
        ).mappings()
        if unfinished := next(iter(row), None):
            return RunRecord.from_row(unfinished), False
        sequence = _next_sequence(connection)
        connection.execute(
            insert(sync_runs).values(
                run_id=run_id,
                started_at=clock.stamp(),
                input_source=input_source,
                total_lines=total_lines,
                processed_lines=0,
                success_count=0,
                error_count=0,
                collection_name=collection,
                dry_run=dry_run,
                status=RunStatus.RUNNING.value,
                sequence=sequence,
                identity=identity,
                digest=digest,
                store=store,
                options=options.to_json(),
            )
        )
        return load_within(connection, run_id), True


def _next_sequence(connection: Connection) -> int:
    """Grows for ever, also when the runs that used it are cleaned up: the fence compares by it."""
    moved = connection.execute(
        update(sequences).where(sequences.c.name == "run").values(value=sequences.c.value + 1)
    ).rowcount
    if not moved:
        connection.execute(insert(sequences).values(name="run", value=1))
    return int(connection.execute(select(sequences.c.value).where(sequences.c.name == "run")).scalar_one())


def replace_options(database: Database, run: RunRecord, options: RunOptions) -> RunRecord:
    """Gives other options to a run that nobody works on: what each of them may still change is the caller's to know.

    Raises ``UsageError`` where it has meanwhile been taken.
    """
    with database.write() as connection:
        changed = connection.execute(
            update(sync_runs)
            .where(
                sync_runs.c.run_id == run.run_id,
                sync_runs.c.lease_token == run.lease_token,
                sync_runs.c.status == RunStatus.RUNNING.value,
            )
            .values(options=options.to_json())
        )
        if changed.rowcount != 1:
            raise UsageError(
                f"Run {run.run_id} of this changeset is being worked on with other options.",
                next_step=f"See: elysiactl index status --run-id {run.run_id}",
            )
        return load_within(connection, run.run_id)


def record_plan(database: Database, lease: Lease, *, changeset_info: str | None, self_contained: bool) -> None:
    """What the pass over the spool found out about the whole changeset."""
    with database.write() as connection:
        check_token(connection, lease)
        connection.execute(
            update(sync_runs)
            .where(sync_runs.c.run_id == lease.run_id)
            .values(changeset_info=changeset_info, self_contained=self_contained)
        )


def record_interruption(database: Database, lease: Lease, reason: str) -> None:
    """Why the run stopped before its end, for ``status``. Quietly nothing where the lease is lost."""
    with database.write() as connection:
        connection.execute(
            update(sync_runs)
            .where(sync_runs.c.run_id == lease.run_id, sync_runs.c.lease_token == lease.token)
            .values(last_error=reason)
        )


def request_retry(
    database: Database,
    run: RunRecord,
    *,
    host: Host | None,
    max_retries: int | None,
    lines: Sequence[int] = (),
    permanent: bool = False,
    due_only: bool = False,
) -> int:
    """Asks for failed lines of a run to be tried again: they are unsettled from now on, and the run is running.

    ``lines`` names lines, whatever their kind and count; else every line with fewer than ``max_retries`` retries
    (None: any number), those of kind ``permanent`` only where asked for. ``host`` None says that the caller holds the
    lease. Returns how many lines wait now, those included that an earlier retry has asked for and a killed process has
    not settled. Raises ``UsageError``, and asks for nothing, where one of ``lines`` is not a failed line or another
    unfinished run of the same identity stands in the way; ``RepositoriesHeld`` where another process works on the run.
    """
    named = [failed_lines.c.run_id == run.run_id]
    if lines:
        named.append(failed_lines.c.line_number.in_(list(lines)))
    condition = list(named)
    if not lines:
        if max_retries is not None:
            condition.append(failed_lines.c.retry_count < max_retries)
        if not permanent:
            condition.append(
                or_(failed_lines.c.error_kind.is_(None), failed_lines.c.error_kind != ErrorKind.PERMANENT.value)
            )
        if due_only:
            condition.append(or_(failed_lines.c.next_retry_at.is_(None), failed_lines.c.next_retry_at <= clock.stamp()))
    with database.write() as connection:
        current = load_within(connection, run.run_id)
        if current.status is RunStatus.CANCELED:
            raise UsageError(
                f"Run {run.run_id} was given up.",
                next_step="Send its lines again as a new changeset.",
                run_id=run.run_id,
            )
        if current.identity is None:
            raise UsageError(
                f"The collection that run {run.run_id} wrote was forgotten, or replaced by another one, since.",
                next_step="Send its lines again as a new changeset.",
                run_id=run.run_id,
            )
        if host is not None and (holder := live_holder(current, host)):
            raise RepositoriesHeld(
                f"Run {run.run_id} is held by {holder} since {current.lease_since}.", next_step="Wait for it."
            )
        connection.execute(update(failed_lines).where(*condition).values(pending=True))
        asked = connection.execute(
            select(func.count()).select_from(failed_lines).where(*named, failed_lines.c.pending.is_(True))
        ).scalar_one()
        if lines and asked != len(set(lines)):
            raise UsageError(
                f"Of the lines {', '.join(map(str, lines))} only {asked} are failed lines of run {run.run_id}.",
                next_step=f"See: elysiactl index status --failed --run-id {run.run_id}",
                run_id=run.run_id,
            )
        if asked and current.status is not RunStatus.RUNNING:
            other = connection.execute(
                select(sync_runs.c.run_id).where(
                    sync_runs.c.identity == run.identity, sync_runs.c.status == RunStatus.RUNNING.value
                )
            ).scalar_one_or_none()
            if other:
                raise UsageError(
                    f"Run {other} of the same changeset is not finished; {run.run_id} cannot be reopened beside it.",
                    next_step=f"First: elysiactl index resume --run-id {other}",
                    run_id=run.run_id,
                )
            connection.execute(
                update(sync_runs)
                .where(sync_runs.c.run_id == run.run_id)
                .values(status=RunStatus.RUNNING.value, completed_at=None, attempt=current.attempt + 1)
            )
    return int(asked)


def finish_run(database: Database, lease: Lease) -> RunRecord:
    """Closes a run whose every line is settled: ``completed``, or ``failed`` where lines failed; gives its claims back.

    Raises ``CheckpointError`` where a line is unsettled or a counter is not its table's number of rows: that is a bug.
    """
    with database.write() as connection:
        check_token(connection, lease)
        run = load_within(connection, lease.run_id)
        completed, failed, pending = count_lines(connection, lease.run_id)
        if not run.dry_run:
            if (completed, failed, completed + failed) != (run.success_count, run.error_count, run.processed_lines):
                raise CheckpointError(
                    f"Run {run.run_id} counts {run.success_count} completed and {run.error_count} failed lines, its "
                    f"tables hold {completed} and {failed}.",
                    next_step="Please report this; the rows are the truth.",
                )
            if pending or completed + failed != run.total_lines:
                unsettled = run.total_lines - completed - failed + pending
                raise CheckpointError(
                    f"Run {run.run_id} has {unsettled} unsettled lines and cannot end.",
                    next_step=f"Give: elysiactl index resume --run-id {run.run_id}",
                )
        close_run(connection, run.run_id, RunStatus.FAILED if failed else RunStatus.COMPLETED)
        return load_within(connection, run.run_id)


def count_lines(connection: Connection, run_id: str) -> tuple[int, int, int]:
    """Rows of ``completed_lines``, of ``failed_lines``, and those of the latter that wait for another try."""
    completed = connection.execute(
        select(func.count()).select_from(completed_lines).where(completed_lines.c.run_id == run_id)
    ).scalar_one()
    failed, pending = connection.execute(
        select(func.count(), func.count().filter(failed_lines.c.pending.is_(True))).where(
            failed_lines.c.run_id == run_id
        )
    ).one()
    return completed, failed, pending


def close_run(connection: Connection, run_id: str, status: RunStatus) -> None:
    """Sets a final status and gives lease and claims back, in the caller's transaction."""
    connection.execute(delete(repository_claims).where(repository_claims.c.run_id == run_id))
    values: dict[str, Any] = {
        "status": status.value,
        "completed_at": clock.stamp(),
        "lease_owner": None,
        "lease_label": None,
        "lease_expires_at": None,
        "lease_parked": False,
    }
    if status is not RunStatus.CANCELED:
        values["last_error"] = None
    connection.execute(update(sync_runs).where(sync_runs.c.run_id == run_id).values(**values))


def abandon_run(database: Database, run_id: str, host: Host) -> RunRecord:
    """Gives a run up for good (``canceled``); what it settled stays.

    Raises ``UsageError`` for a finished run, ``RepositoriesHeld`` while it is worked on.
    """
    with database.write() as connection:
        run = load_within(connection, run_id)
        if run.status is not RunStatus.RUNNING:
            raise UsageError(
                f"Run {run_id} is {run.status.value}, not running.", next_step="See: elysiactl index status"
            )
        if holder := live_holder(run, host):
            raise RepositoriesHeld(
                f"Run {run_id} is held by {holder} since {run.lease_since}.", next_step="Stop that process first."
            )
        cancel_run(connection, run)
        return load_within(connection, run_id)


def cancel_run(connection: Connection, run: RunRecord) -> None:
    """Ends an unfinished run that nobody works on, in the caller's transaction.

    What it had in writing is suspect: the store may hold some of it, and the run will never write it anew.
    """
    mark_suspect(connection, run)
    take_back_removed_folders(connection, run)
    connection.execute(
        update(sync_runs).where(sync_runs.c.run_id == run.run_id).values(lease_token=run.lease_token + 1)
    )
    connection.execute(update(failed_lines).where(failed_lines.c.run_id == run.run_id).values(pending=False))
    close_run(connection, run.run_id, RunStatus.CANCELED)
