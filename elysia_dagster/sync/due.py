"""Which runs have failed lines that are due for another try, and why others are left alone."""

from dataclasses import dataclass, field
from pathlib import Path

from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.checkpoint.tally import FailedTally, tally_failures
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.request import SPOOL_NAME

_SHOWN = 5
"""Runs that a summary says of why they are left out."""


@dataclass(frozen=True, kw_only=True)
class DueRuns:
    """``runs`` are to be tried now, oldest first; ``left_out`` says by run why it is not, though its lines are due.

    ``waiting``, ``used_up`` and ``permanent`` count the lines of all other runs; ``next_due`` is when the first of the
    former is due (a stamp).
    """

    runs: tuple[FailedTally, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    waiting: int = 0
    next_due: str | None = None
    used_up: int = 0
    permanent: int = 0

    def why_none(self) -> str:
        """Why nothing is tried, a sentence for each reason."""
        said = list(self.left_out.values())[:_SHOWN]
        if len(self.left_out) > _SHOWN:
            said.append(f"And {len(self.left_out) - _SHOWN} more runs are left out.")
        if self.waiting and self.next_due:
            until = f"{self.next_due[:19].replace('T', ' ')} UTC"
            said.append(f"{_lines(self.waiting, 'waits', 'wait')} for the next try, the first until {until}.")
        if self.used_up:
            said.append(f"{_lines(self.used_up, 'has', 'have')} no try left: elysiactl index retry --all")
        if self.permanent:
            mends = "cannot mend by another try"
            said.append(f"{_lines(self.permanent, '', '')} {mends}: elysiactl index retry --permanent")
        return "\n".join(said) or "There is no failed line."


def _lines(count: int, one: str, many: str) -> str:
    return f"{count:,} failed {'line' if count == 1 else 'lines'} {one if count == 1 else many}".rstrip()


def find_due(database: Database, host: Host, work: Path, *, every: bool = False, permanent: bool = False) -> DueRuns:
    """The runs whose failed lines are due, and those that a retry has left half way. ``work`` holds the runs' folders.

    ``every``: whatever their time, and with no try left, too; ``permanent``: also what no second try can mend. A run
    that somebody works on is left out, and one that was never at its end: its failed lines are tried when it goes on.
    """
    tallies = tally_failures(database)
    due = [each for each in tallies if _is_wanted(each, every=every, permanent=permanent)]
    left_out = {each.run.run_id: reason for each in due if (reason := _why_not(each, host, work))}
    wanted = {each.run.run_id for each in due}
    rest = [each for each in tallies if each.run.run_id not in wanted]
    return DueRuns(
        runs=tuple(each for each in due if each.run.run_id not in left_out),
        left_out=left_out,
        waiting=sum(each.waiting for each in rest),
        next_due=min((each.next_due for each in rest if each.next_due), default=None),
        used_up=sum(each.used_up for each in rest),
        permanent=sum(each.permanent for each in rest),
    )


def _is_wanted(tally: FailedTally, *, every: bool, permanent: bool) -> bool:
    if tally.due or tally.pending or tally.run.is_half_retried:
        return True
    return bool((every and tally.waiting + tally.used_up) or (permanent and tally.permanent))


def _why_not(tally: FailedTally, host: Host, work: Path) -> str:
    run = tally.run
    if holder := live_holder(run, host):
        return f"Left out: run {run.run_id} is held by {holder} since {run.lease_since}."
    if run.status is RunStatus.RUNNING and not run.is_half_retried:
        return (
            f"Left out: run {run.run_id} is not at its end; its failed lines are tried again when it goes on: "
            f"elysiactl index resume --run-id {run.run_id}"
        )
    if not (work / run.run_id / SPOOL_NAME).exists():
        return (
            f"Left out: the input of run {run.run_id} is not in {work / run.run_id}. Send its lines again: "
            f"elysiactl index failed --run-id {run.run_id} --as-changeset"
        )
    return ""
