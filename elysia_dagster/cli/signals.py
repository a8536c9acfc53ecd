"""SIGINT and SIGTERM: the first leaves a run that can be resumed, the second ends the process at once."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_SHOW_CURSOR = "\033[?25h"
"""What a terminal understands (DECTCEM): a bar hides its cursor, and the second signal leaves nobody to show it."""


class StopSignals:
    """Handles both signals for a block, in the main thread.

    While input is read (from ``begin_reading`` to ``input_read``) the first signal raises ``interrupted_input()``,
    since a read of a pipe may wait for ever; else it only sets what ``requested`` gives, which the engine asks between
    batches, and says so. From then on the signals have their default effect.
    """

    def __init__(self, interrupted_input: Callable[[], Exception], announcement: str = "") -> None:
        self._interrupted_input = interrupted_input
        self._announcement = announcement
        self._is_requested = False
        self._is_reading = False
        self._is_working = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._previous = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Whether somebody asked this process to stop."""
        return self._is_requested

    def begin_reading(self) -> None:
        """From now on a signal raises; one that came before raises now."""
        if self._is_requested:
            raise self._interrupted_input()
        self._is_reading = True

    def input_read(self) -> None:
        """From now on a signal only asks."""
        self._is_reading = False
        self._is_working = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_requested = True
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if self._is_reading:
            self._is_reading = False
            raise self._interrupted_input()
        if self._announcement and self._is_working:
            # not through sys.stderr, which the signal may have caught in the middle of a write
            os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}\nelysiactl: {self._announcement}\n".encode())
