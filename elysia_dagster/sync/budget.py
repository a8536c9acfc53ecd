"""The failure budget: how many lines may fail before a run stops, so that a wrong setting does not fail a million.

Counted is what one start of a run settles (in Dagster, one step): a resume after the cause is mended begins at zero
and cannot stop at once on what had failed before. Looked at between two batches, and between two slices of the lines
that need no store; whoever stops leaves the run as an interruption does, to be resumed.
"""

import re
from dataclasses import dataclass

from elysia_dagster.checkpoint import clock, queries
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import FailureBudgetSpent, UsageError

SMALLEST_SAMPLE_LINES = 100
"""Settled lines below which a share is not looked at: a few bad lines at the start say nothing of the rest."""

_SHOWN_FAILURES = 3
_REASON_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class FailureLimit:
    """The most lines that may fail: so many, or (``is_share``) so many of a hundred settled ones."""

    most: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> "FailureLimit | None":
        """From ``N`` or ``N%``; None for '', which is no limit. Raises ``UsageError``."""
        if not text:
            return None
        found = re.fullmatch(r"(\d{1,12})|(\d{1,3}(?:\.\d{1,6})?)%", text, re.ASCII)
        lines, share = found.groups() if found else (None, None)
        if lines is not None:
            return cls(most=int(lines), is_share=False)
        if share is not None and 0 < float(share) <= 100:
            return cls(most=float(share), is_share=True)
        raise UsageError(
            f"{text!r:.60} is no number of failures: lines (25; 0 stops at the first) or a share of them (2.5%).",
            next_step="Mend --max-failures, max_failures or ELYSIACTL_MAX_FAILURES, or leave it out for no limit.",
        )

    def is_passed(self, *, settled: int, failed: int) -> bool:
        """Whether more lines failed than may. A share counts from 100 settled lines on, and never for one failure."""
        if not self.is_share:
            return failed > self.most
        return settled >= max(SMALLEST_SAMPLE_LINES, 100 / self.most) and 100 * failed > self.most * settled

    def __str__(self) -> str:
        return f"{self.most:g}%" if self.is_share else f"{self.most:.0f}"


class FailureBudget:
    """What one start of a run has settled, held against its limit."""

    def __init__(self, limit: FailureLimit | None) -> None:
        self.limit = limit
        self.settled = 0
        self.failed = 0
        self._began = clock.stamp()

    def count(self, *, settled: int, failed: int) -> None:
        """Adds lines that were settled, the failed ones among them."""
        self.settled += settled
        self.failed += failed

    @property
    def is_spent(self) -> bool:
        """Whether more lines failed than may."""
        return self.limit is not None and self.limit.is_passed(settled=self.settled, failed=self.failed)

    def spent(self, database: Database, run: RunRecord) -> FailureBudgetSpent:
        """The error of a start that stops here: counts, the first failures, and what to type next."""
        failures = queries.failures_since(database, run.run_id, self._began, limit=_SHOWN_FAILURES)
        shown = "; ".join(
            ", ".join(filter(None, [f"line {each['line_number']}", each["file_path"]]))
            + f": {(each['error_message'] or '').rstrip('.')[:_REASON_CHARACTERS]}"
            for each in failures
        )
        resume = f"elysiactl index resume --run-id {run.run_id}"
        return FailureBudgetSpent(
            f"Run {run.run_id} stopped, since more lines failed than --max-failures {self.limit} allows: "
            f"{self.failed:,} of the {self.settled:,} that this start settled. Nothing more is sent; the run can be "
            f"resumed. The first: {shown}.",
            next_step=f"See them all (elysiactl index failed --run-id {run.run_id}), mend the cause, then go on: "
            f"{resume}; or let more fail: {resume} --max-failures {self._more()}; or give the run up: "
            f"elysiactl index abandon --run-id {run.run_id}",
            run_id=run.run_id,
        )

    def _more(self) -> str:
        assert self.limit is not None
        if not self.limit.is_share:
            return str(max(10, 10 * int(self.limit.most)))
        return f"{min(100.0, 10 * self.limit.most):g}%"
