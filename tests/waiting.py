"""Waits for what another process, or a server, does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 240.0
"""Long, since a step in a process of its own takes half a minute to begin where two cores are shared by many."""

LOOK_EVERY_S = 0.1


def wait_until(what: str, look: Callable[[], T], *, patience_s: float = PATIENCE_S, every_s: float = LOOK_EVERY_S) -> T:
    """The first answer of ``look`` that is true. Raises ``AssertionError`` that says ``what`` did not come."""
    deadline = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience_s:g} s; last seen {found!r}")
        time.sleep(every_s)
