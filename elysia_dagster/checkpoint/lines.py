"""Lines as they are settled: rows of ``completed_lines`` and ``failed_lines``, and the counters of their run.

The counters move in the transaction that writes the rows, so that they are the tables' numbers of rows at every commit.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from elysia_dagster.checkpoint import clock, lookup
from elysia_dagster.checkpoint.bulk import BulkStatement
from elysia_dagster.checkpoint.claims import Lease, lease_lost
from elysia_dagster.checkpoint.collections import move_commit_of
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import CompletedLine, FailedLine
from elysia_dagster.checkpoint.schema import completed_lines, failed_lines, sync_runs
from elysia_dagster.models import ErrorKind, Outcome, RunStatus

FIRST_RETRY_S = 60.0
"""Seconds until a failed line is due for its first retry; doubled with each further one, up to ``LONGEST_RETRY_S``."""

LONGEST_RETRY_S = 86_400.0


def settle_lines(
    connection: Connection, lease: Lease, *, completed: Sequence[CompletedLine], failed: Sequence[FailedLine]
) -> None:
    """Writes the rows of some lines and moves the run's counters, checking the token by the same statement.

    A line that had failed before and is completed now leaves ``failed_lines``; one that fails again counts a retry.
    Raises ``LeaseLost``.
    """
    retried = _failed_before(connection, lease, [*completed, *failed])
    mended = [each.line for each in completed if each.line in retried]
    new_failures = sum(each.line not in retried for each in failed)
    moved = connection.execute(
        _COUNT,
        {
            "b_run": lease.run_id,
            "b_token": lease.token,
            "b_success": len(completed),
            "b_errors": new_failures - len(mended),
        },
    )
    if moved.rowcount != 1:
        raise lease_lost(lease)
    if mended:
        connection.execute(
            delete(failed_lines).where(failed_lines.c.run_id == lease.run_id, failed_lines.c.line_number.in_(mended))
        )
    moment = clock.stamp()
    if completed:
        _COMPLETE.execute(connection, [_completed_row(lease.run_id, each, moment) for each in completed])
    for each in failed:
        _write_failure(connection, lease.run_id, each, retried.get(each.line))


_COUNT = (
    update(sync_runs)
    .where(sync_runs.c.run_id == bindparam("b_run"), sync_runs.c.lease_token == bindparam("b_token"))
    .values(
        success_count=sync_runs.c.success_count + bindparam("b_success"),
        error_count=sync_runs.c.error_count + bindparam("b_errors"),
        processed_lines=sync_runs.c.processed_lines + bindparam("b_success") + bindparam("b_errors"),
    )
)

_COMPLETE_NAMES = (
    "run_id",
    "line_number",
    "file_path",
    "operation",
    "repository",
    "completed_at",
    "processing_time_ms",
    "outcome",
    "detail",
)

_COMPLETE = BulkStatement(
    _COMPLETE_NAMES,
    lambda _dialect, _of: insert(completed_lines).values({name: bindparam(name) for name in _COMPLETE_NAMES}),
)


def _failed_before(connection: Connection, lease: Lease, lines: Sequence[CompletedLine | FailedLine]) -> dict[int, int]:
    """Retry counts, by line, of those lines that have a row in ``failed_lines`` already."""
    if not lines:
        return {}
    low, high = min(each.line for each in lines), max(each.line for each in lines)
    rows = connection.execute(_FAILED_BETWEEN, {"b_run": lease.run_id, "b_low": low, "b_high": high})
    wanted = {each.line for each in lines}
    return {row.line_number: row.retry_count for row in rows if row.line_number in wanted}


_FAILED_BETWEEN = select(failed_lines.c.line_number, failed_lines.c.retry_count).where(
    failed_lines.c.run_id == bindparam("b_run"),
    failed_lines.c.line_number.between(bindparam("b_low"), bindparam("b_high")),
)


def _completed_row(run_id: str, each: CompletedLine, moment: str) -> tuple[Any, ...]:
    place = (run_id, each.line, each.path, each.operation, each.repository, moment)
    return (*place, each.milliseconds, each.outcome.value, each.detail)


def _write_failure(connection: Connection, run_id: str, each: FailedLine, retries: int | None) -> None:
    values: dict[str, Any] = {
        "file_path": each.path,
        "operation": each.operation,
        "repository": each.repository,
        "error_message": each.message,
        "payload": each.payload,
        "error_kind": each.kind.value,
        "last_attempt": clock.stamp(),
        "pending": False,
        "single_document": each.single_document,
        "retry_count": 0 if retries is None else retries + 1,
        "next_retry_at": None if each.kind is ErrorKind.PERMANENT else clock.stamp_after(_backoff_s(retries)),
    }
    if retries is None:
        connection.execute(insert(failed_lines).values(run_id=run_id, line_number=each.line, **values))
        return
    connection.execute(
        update(failed_lines)
        .where(failed_lines.c.run_id == run_id, failed_lines.c.line_number == each.line)
        .values(**values)
    )


def _backoff_s(retries: int | None) -> float:
    """Seconds until the next try: exponential, with jitter so that a thousand lines do not come back at once."""
    longest = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (0 if retries is None else retries + 1))
    return random.uniform(longest / 2, longest)


def answer_older_failures(connection: Connection, lease: Lease, keys: Sequence[tuple[str, str]]) -> None:
    """Failed lines of older runs that ask one thing of these documents are completed as superseded.

    A run whose last failed line goes that way is completed, but one that was given up stays so; where the last one of a
    repository does, its commit moves.
    """
    run = connection.execute(select(sync_runs).where(sync_runs.c.run_id == lease.run_id)).one()
    paths: dict[str, list[str]] = {}
    for repository, path in keys:
        paths.setdefault(repository, []).append(path)
    for repository, some in paths.items():
        answered = connection.execute(
            select(failed_lines)
            .join(sync_runs, sync_runs.c.run_id == failed_lines.c.run_id)
            .where(
                failed_lines.c.repository == repository,
                failed_lines.c.file_path.in_(some),
                failed_lines.c.single_document.is_(True),
                sync_runs.c.store == run.store,
                sync_runs.c.collection_name == run.collection_name,
                sync_runs.c.sequence < lease.sequence,
                sync_runs.c.identity.is_not(None),  # not those of a forgotten collection of the same name
            )
        ).all()
        for line in answered:
            _answer(connection, line, lease.run_id)
        for older in {line.run_id for line in answered}:
            _move_commit(connection, lease, older, repository)


def _move_commit(connection: Connection, lease: Lease, older: str, repository: str) -> None:
    """Moves a repository's commit to the one of an older run that is finished and has no failed line there now."""
    run = connection.execute(select(sync_runs).where(sync_runs.c.run_id == older)).one()
    record = json.loads(run.changeset_info or "{}").get(repository)
    if record is None or run.status in (RunStatus.RUNNING.value, RunStatus.CANCELED.value):
        return
    left = connection.execute(
        select(failed_lines.c.line_number)
        .where(failed_lines.c.run_id == older, failed_lines.c.repository == repository)
        .limit(1)
    ).first()
    if left is None:
        assert lease.collection_id is not None
        move_commit_of(connection, lease.collection_id, older, run.sequence, repository, record)


def _answer(connection: Connection, line: Any, by_run: str) -> None:
    superseded = CompletedLine(
        line=line.line_number,
        path=line.file_path,
        operation=line.operation,
        repository=line.repository,
        outcome=Outcome.SUPERSEDED,
        detail=f"answered by run {by_run}",
    )
    connection.execute(
        delete(failed_lines).where(failed_lines.c.run_id == line.run_id, failed_lines.c.line_number == line.line_number)
    )
    _COMPLETE.execute(connection, [_completed_row(line.run_id, superseded, clock.stamp())])
    connection.execute(
        update(sync_runs)
        .where(sync_runs.c.run_id == line.run_id)
        .values(success_count=sync_runs.c.success_count + 1, error_count=sync_runs.c.error_count - 1)
    )
    connection.execute(
        update(sync_runs)
        .where(
            sync_runs.c.run_id == line.run_id,
            sync_runs.c.status == RunStatus.FAILED.value,
            sync_runs.c.error_count == 0,
        )
        .values(status=RunStatus.COMPLETED.value)
    )


def has_older_failures(database: Database, lease: Lease) -> bool:
    """Whether an older run of the same collection has a failed line at all.

    Asked once, under the claim: no older run of the claimed repositories can add one meanwhile.
    """
    run = sync_runs.alias("run")
    older = sync_runs.alias("older")
    with database.read() as connection:
        found = connection.execute(
            select(failed_lines.c.run_id)
            .join(older, older.c.run_id == failed_lines.c.run_id)
            .join(
                run,
                and_(
                    run.c.run_id == lease.run_id,
                    run.c.store == older.c.store,
                    run.c.collection_name == older.c.collection_name,
                    older.c.sequence < run.c.sequence,
                ),
            )
            .limit(1)
        ).first()
    return found is not None


def settled_lines_bitmap(database: Database, run_id: str, total_lines: int) -> bytearray:
    """One byte for each line number up to ``total_lines``: 1 where the line is settled for the present attempt."""
    settled = bytearray(total_lines + 2)
    with database.read() as connection:
        for statement in (
            select(completed_lines.c.line_number).where(completed_lines.c.run_id == run_id),
            select(failed_lines.c.line_number).where(
                failed_lines.c.run_id == run_id, failed_lines.c.pending.is_(False)
            ),
        ):
            rows = connection.execute(statement.execution_options(yield_per=20_000))
            for slice_ in rows.partitions():
                for (line,) in slice_:
                    settled[line] = 1
    return settled


def has_unsettled_lines(database: Database, run_id: str) -> bool:
    """Whether a line of the run is not settled yet, or is a failed one that is asked for again."""
    run = lookup.load_run(database, run_id)
    return run.processed_lines < run.total_lines or bool(pending_lines(database, run_id))


def pending_lines(database: Database, run_id: str) -> frozenset[int]:
    """Failed lines of a run that are asked for again."""
    with database.read() as connection:
        return frozenset(
            connection.execute(
                select(failed_lines.c.line_number).where(
                    failed_lines.c.run_id == run_id, failed_lines.c.pending.is_(True)
                )
            ).scalars()
        )
