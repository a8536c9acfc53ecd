"""Where the sync run of a Dagster run stands, in words: what is settled, and what to type next."""

from collections.abc import Sequence
from dataclasses import dataclass

from elysia_dagster.checkpoint import queries, steps
from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.finalize import FIRST_FAILURES


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A sync run as it is now. ``holder`` is the process that works on it; ``command`` is what to type next, '' where
    nothing is left to do."""

    run: RunRecord
    holder: str | None
    command: str

    def __str__(self) -> str:
        run = self.run
        settled = f"{run.processed_lines} of {run.total_lines} lines of sync run {run.run_id} are settled"
        if run.status is RunStatus.COMPLETED:
            return f"Sync run {run.run_id} is completed: all of its {run.total_lines} lines are applied."
        if run.status is RunStatus.CANCELED:
            return f"Sync run {run.run_id} was given up by an operator; {settled}."
        if run.status is RunStatus.FAILED:
            return f"Sync run {run.run_id} is at its end: {run.error_count} of {run.total_lines} lines failed."
        if self.holder:
            return f"{settled}; {self.holder} works on it now."
        return f"{settled} and stay so; nothing is lost."


def standing_of(database: Database, dagster_run_ids: Sequence[str]) -> Standing | None:
    """Where the sync run stands that a Dagster run worked on, see ``steps.sync_run_of``; None where none is known."""
    run = steps.sync_run_of(database, dagster_run_ids)
    if run is None:
        return None
    holder = live_holder(run, this_host()) if run.status is RunStatus.RUNNING else None
    failures = queries.failed_lines_of(database, run.run_id, limit=FIRST_FAILURES)
    return Standing(run=run, holder=holder, command=queries.next_command(run, failures, is_held=holder is not None))
