"""Puts the changes of a line together: a line is settled once its last change is, as one outcome or one failure."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from elysia_dagster.checkpoint.records import CompletedLine, FailedLine
from elysia_dagster.models import ErrorKind, Outcome
from elysia_dagster.sync.payload import payload_of
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.scan import OP_NAMES
from elysia_dagster.sync.unsent import storable
from elysia_dagster.sync.winners import ChangeKind

_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}


@dataclass(kw_only=True, slots=True)
class _Line:
    named_by: PlannedChange
    outcome: Outcome | None = None
    detail: str | None = None
    failures: int = 0
    first_failure: str = ""
    kind: ErrorKind = ErrorKind.RETRYABLE
    is_single: bool = False


@dataclass(kw_only=True, slots=True)
class _Open:
    lines: dict[int, _Line] = field(default_factory=dict)
    complete: list[int] = field(default_factory=list)


class LineTracker:
    """Lines whose changes are being settled. Only a line of more changes than a batch holds lives through several."""

    def __init__(self, raw_line: Callable[[PlannedChange], bytes]) -> None:
        self._raw_line = raw_line
        self._open = _Open()
        self._before = _Open()

    def begin_batch(self) -> None:
        """What comes from now on can be taken back, until the next batch."""
        self._before = copy.deepcopy(self._open)  # lines of more than one batch: one or none

    def take_back_batch(self) -> None:
        """Forgets what has come since ``begin_batch``: the batch was not settled and is made anew."""
        self._open = self._before

    def done(self, change: PlannedChange, outcome: Outcome, detail: str | None) -> None:
        """A change of the line has come to its end."""
        line = self._line(change)
        if line.outcome is None or _RANK[outcome] < _RANK[line.outcome]:
            line.outcome, line.detail = outcome, detail

    def failed(self, change: PlannedChange, message: str, kind: ErrorKind) -> None:
        """A change of the line cannot be applied: the line fails."""
        line = self._line(change)
        line.failures += 1
        if line.failures == 1:
            line.first_failure, line.kind = message, kind

    def left_alone(self, change: PlannedChange) -> None:
        """A change of the line is not made, since another of the same line has failed."""
        self._line(change)

    def finished(self, milliseconds: int) -> tuple[list[CompletedLine], list[FailedLine]]:
        """The lines whose last change has come since the last call, as they go into their tables."""
        completed: list[CompletedLine] = []
        failed: list[FailedLine] = []
        for number in self._open.complete:
            line = self._open.lines.pop(number)
            change = line.named_by
            operation = OP_NAMES[change.kind]
            if line.failures:
                more = f" (and {line.failures - 1} more of this line)" if line.failures > 1 else ""
                failed.append(
                    FailedLine(
                        line=number,
                        path=change.path,
                        operation=operation,
                        repository=change.repository,
                        message=storable(line.first_failure) + more,
                        kind=line.kind,
                        payload=payload_of(self._raw_line(change)),
                        single_document=line.is_single,
                    )
                )
                continue
            assert line.outcome is not None
            completed.append(
                CompletedLine(
                    line=number,
                    path=change.path,
                    operation=operation,
                    repository=change.repository,
                    outcome=line.outcome,
                    detail=line.detail,
                    milliseconds=milliseconds,
                )
            )
        self._open.complete.clear()
        return completed, failed

    def _line(self, change: PlannedChange) -> _Line:
        line = self._open.lines.get(change.line)
        if line is None:
            line = self._open.lines[change.line] = _Line(named_by=change, is_single=change.is_single)
        elif change.kind is ChangeKind.RENAME_NEW:
            line.named_by = change  # a renamed document goes by its new name
        if change.is_last:
            self._open.complete.append(change.line)
        return line
