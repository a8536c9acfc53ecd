"""What the end of a file's run means for the file. The sync run's own row is the truth, not how Dagster calls it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from elysia_dagster.checkpoint.inbox import InboxFile
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import FailureBudgetSpent, InputError
from elysia_dagster.models import RunStatus

FIRST_WAIT_S = 30.0
LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What became of the Dagster runs that were asked for under one key, re-executions among them.

    ``error`` is the type of the error that ended the newest, '' where none is known; ``reason`` its sentence.
    """

    dagster_run_ids: Sequence[str]
    is_finished: bool
    succeeded: bool = False
    was_canceled: bool = False
    error: str = ""
    reason: str = ""


class Verdict(Enum):
    """What to do with the file."""

    LEAVE = "leave"  # its run goes on, or waits for somebody
    APPLIED = "applied"  # every line is settled
    REFUSED = "refused"  # the file cannot be read, or its run was given up
    AGAIN = "again"  # the run ended before: asked for again after a while
    HOLD = "hold"  # somebody stopped it, or has to mend something first


def judge(file: InboxFile, asked: Asked, run: RunRecord | None) -> tuple[Verdict, str]:
    """Of a file that a run was asked for: what to do, and why. ``run`` is the sync run that it became, if known."""
    if not asked.is_finished:
        return Verdict.LEAVE, ""
    if run is not None and run.status is RunStatus.CANCELED:
        return Verdict.REFUSED, f"Its run {run.run_id} was given up: to apply it after all, drop it again."
    # a Dagster run that succeeded may have been of a single step; a second attempt of a sync run is a retry of its
    # failed lines, so every line was settled before
    if asked.succeeded if run is None else run.status is not RunStatus.RUNNING or run.attempt > 1:
        failed = run.error_count if run is not None else 0
        retry = f"{failed} of its lines failed: elysiactl index retry --run-id {run.run_id}" if run and failed else ""
        return Verdict.APPLIED, retry
    if asked.error == InputError.__name__:
        return Verdict.REFUSED, asked.reason
    if asked.was_canceled or asked.error == FailureBudgetSpent.__name__:
        go_on = (
            f"Go on with: elysiactl index resume --run-id {run.run_id}; or give it up: elysiactl index abandon "
            f"--run-id {run.run_id}"
            if run is not None
            else "Re-execute its Dagster run; or take the file out of the inbox."
        )
        why = "Its Dagster run was canceled." if asked.was_canceled else asked.reason
        return Verdict.HOLD, f"{why} {go_on}"
    return Verdict.AGAIN, asked.reason or "Its Dagster run ended before every line was settled."


def wait_seconds(file: InboxFile) -> float:
    """How long until the file's run is asked for again: 30 s, doubled each time, an hour at most."""
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (max(file.tries, 1) - 1)))
