"""Waits that end where this process is asked to stop."""

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

SLICE_S = 0.2
"""Seconds that a wait goes on after somebody asked this process to stop, at most."""


@runtime_checkable
class Stoppable(Protocol):
    """A store that waits for a server: while it waits it asks ``stop_requested``, and raises ``Interrupted``."""

    stop_requested: Callable[[], bool]


def wait(seconds: float, *, stop_requested: Callable[[], bool], sleep: Callable[[float], None] = time.sleep) -> None:
    """Sleeps so long, or until ``stop_requested`` says yes."""
    left = seconds
    while left > 0 and not stop_requested():
        some = min(left, SLICE_S)
        sleep(some)
        left -= some
