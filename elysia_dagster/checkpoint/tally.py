"""How the failed lines of every run stand: which may be tried again now, which wait, which are given up."""

from dataclasses import dataclass, replace

from sqlalchemy import and_, case, func, or_, select

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.queries import REPAIR_IDENTITY
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import failed_lines, sync_runs
from elysia_dagster.models import ErrorKind, RunStatus


@dataclass(frozen=True, kw_only=True)
class FailedTally:
    """The failed lines of a run, each counted once.

    ``due`` may be tried now; ``pending`` are asked for again by a retry that has not come to its end; ``waiting`` have
    tries left and wait for their time, the first until ``next_due`` (a stamp); ``used_up`` have none left; no second
    try mends ``permanent`` ones.
    """

    run: RunRecord
    due: int = 0
    pending: int = 0
    waiting: int = 0
    next_due: str | None = None
    used_up: int = 0
    permanent: int = 0


_CAN_BE_RETRIED = and_(
    # none: nothing takes the run up again
    sync_runs.c.identity.is_not(None),
    sync_runs.c.identity.not_like(f"{REPAIR_IDENTITY}%"),
    or_(
        and_(sync_runs.c.status == RunStatus.FAILED.value, sync_runs.c.error_count > 0),
        and_(sync_runs.c.status == RunStatus.RUNNING.value, or_(sync_runs.c.error_count > 0, sync_runs.c.attempt > 1)),
    ),
)


def tally_failures(database: Database) -> list[FailedTally]:
    """Every run with failed lines that can be tried again, or with a retry that is not at its end; oldest first."""
    is_due = case(
        (or_(failed_lines.c.next_retry_at.is_(None), failed_lines.c.next_retry_at <= clock.stamp()), True), else_=False
    )
    with database.read() as connection:
        runs = connection.execute(select(sync_runs).where(_CAN_BE_RETRIED).order_by(sync_runs.c.sequence)).mappings()
        tallies = {row["run_id"]: FailedTally(run=RunRecord.from_row(row)) for row in runs}
        of_line = (failed_lines.c.run_id, failed_lines.c.retry_count, failed_lines.c.error_kind, failed_lines.c.pending)
        counts = connection.execute(
            select(
                *of_line,
                is_due.label("is_due"),
                func.count().label("lines"),
                func.min(failed_lines.c.next_retry_at).label("next_due"),
            )
            .join(sync_runs, sync_runs.c.run_id == failed_lines.c.run_id)
            .where(_CAN_BE_RETRIED)
            .group_by(*of_line, "is_due")
        ).all()
    for row in counts:
        tally = tallies[row.run_id]
        options = tally.run.options
        if row.pending:
            tally = replace(tally, pending=tally.pending + row.lines)
        elif row.error_kind == ErrorKind.PERMANENT.value:
            tally = replace(tally, permanent=tally.permanent + row.lines)
        elif options is None or row.retry_count >= options.max_retries:
            tally = replace(tally, used_up=tally.used_up + row.lines)
        elif row.is_due:
            tally = replace(tally, due=tally.due + row.lines)
        else:
            first = min(filter(None, [tally.next_due, row.next_due]))
            tally = replace(tally, waiting=tally.waiting + row.lines, next_due=first)
        tallies[row.run_id] = tally
    return list(tallies.values())
