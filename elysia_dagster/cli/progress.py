"""How far a run is: a bar on a terminal, a line every few seconds in a pipe."""

import sys
import time
from typing import TYPE_CHECKING, Any

from elysia_dagster.checkpoint import queries
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.cli.terminal import Terminal, printable
from elysia_dagster.models import Outcome
from elysia_dagster.sync.upsert import BatchReport

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_S = 3.0
"""Seconds between two lines in a pipe."""

_BAR_EVERY_S = 0.2


class RunProgress:
    """Shows one run while it is worked on. Use it as a context manager around ``carry_out``.

    What it says is what the checkpoint says. A line that is tried again counts as settled when it is settled anew.
    """

    def __init__(self, terminal: Terminal, database: Database, run_id: str, *, dry_run: bool) -> None:
        self._terminal = terminal
        self._database = database
        self._run_id = run_id
        self._dry_run = dry_run
        self._began = time.monotonic()
        self._said = self._began
        self.total, self.settled, self.failed = self._look()
        self._at_start = self.settled
        self._said_of = (-1, -1)
        self._bar: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> "RunProgress":
        if not self._terminal.quiet and sys.stderr.isatty():
            self._bar = self._make_bar()
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._dry_run:
            self._refresh()
        if self._bar is not None:
            self._bar.stop()
        elif not self._dry_run and self._said_of != (self.settled, self.failed):
            self._terminal.note(self._line())

    @property
    def newly_settled(self) -> int:
        """Lines that were settled since the start of this process's work."""
        return max(0, self.settled - self._at_start)

    @property
    def lines_per_second(self) -> float:
        """Lines settled in each second of this process's work."""
        return self.newly_settled / max(1e-9, time.monotonic() - self._began)

    def batch_settled(self, _work: object, report: BatchReport) -> None:
        """Takes what the engine says of a settled batch."""
        waited = time.monotonic() - self._said
        if self._terminal.verbose:
            self._refresh()
            self._say_batch(report)
        elif waited >= (_BAR_EVERY_S if self._bar is not None else LINE_EVERY_S):
            self._refresh()
            if self._bar is None:
                self._terminal.note(self._line())
        else:
            return
        self._said = time.monotonic()
        self._said_of = (self.settled, self.failed)

    def _look(self) -> tuple[int, int, int]:
        """Lines in all, settled, and failed, as the checkpoint has them now."""
        run, pending = queries.progress_of(self._database, self._run_id)
        return run.total_lines, run.processed_lines - pending, run.error_count - pending

    def _refresh(self) -> None:
        self.total, self.settled, self.failed = self._look()
        if self._bar is not None:
            self._bar.update(
                self._task,
                description="syncing",
                total=self.total,
                completed=self.settled,
                failed=f"{self.failed} failed",
                speed=self._speed(),
                left=self._time_left(),
            )

    def _speed(self) -> str:
        speed = self.lines_per_second
        return f"{speed:,.0f} lines/s" if speed >= 10 else f"{speed:.1f} lines/s"

    def _time_left(self) -> str:
        if not self.newly_settled or self.settled >= self.total:
            return ""
        seconds = round((self.total - self.settled) / self.lines_per_second)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"

    def _line(self) -> str:
        parts = [
            f"{self.settled:,}/{self.total:,} lines settled",
            f"{self.failed:,} failed",
            self._speed(),
            self._time_left(),
        ]
        return ", ".join(filter(None, parts))

    def _say_batch(self, report: BatchReport) -> None:
        outcomes = ", ".join(f"{report.outcomes[each]} {each.value}" for each in Outcome if each in report.outcomes)
        what = ", ".join(filter(None, [outcomes, f"{report.failed} failed" if report.failed else ""]))
        sentence = (
            f"batch {report.number + 1}: {what or 'nothing'}; {report.chunks:,} chunks written in "
            f"{report.seconds:.2f} s; {self._line()}"
        )
        if self._bar is not None:
            self._bar.console.print(printable(sentence))
        else:
            self._terminal.note(sentence)

    def _make_bar(self) -> "Progress":
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.fields[lines]}"),
            TextColumn("{task.fields[failed]}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._terminal.console(sys.stderr),
            expand=True,
            transient=self._dry_run,
        )
        self._task = bar.add_task(
            "looking" if self._dry_run else "planning",
            total=None,
            completed=self.settled,
            lines=f"{self.total:,}",
            failed="",
            speed="",
            left="",
        )
        return bar
