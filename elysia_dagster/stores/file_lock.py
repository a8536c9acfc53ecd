"""A lock between processes (and threads) that dies with its holder: ``flock`` on a file that is never removed.

The kernel drops the lock when the last descriptor of the open file is closed, so a process ended by SIGKILL leaves
nothing stale. The file stays, because removing it would let two processes lock two files of one name.
"""

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elysia_dagster.errors import StoreUnavailable

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.02


class HeldLock:
    """The lock in hand. ``fd`` may be handed to a child (``pass_fds``), which then keeps the lock alive with us.

    The file's text carries one integer from holder to holder; anything unreadable in it counts as 0.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read_number(self) -> int:
        """The integer that an earlier holder left, 0 where there is none."""
        text = os.pread(self.fd, 32, 0)
        return int(text) if text.isdigit() else 0

    def write_number(self, number: int) -> None:
        """Leaves an integer (at least 0) for the holders to come; best effort, never synced."""
        text = b"%d" % number
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))


@contextmanager
def exclusive_lock(path: Path, *, wait_s: float) -> Iterator[HeldLock]:
    """Holds the lock file ``path`` (made where missing, mode 0600); its folder must exist.

    Raises ``StoreUnavailable`` when others hold it for longer than ``wait_s`` seconds; ``OSError`` as the system gives
    it where the file cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(fd, path, wait_s)
        yield HeldLock(fd)
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, wait_s: float) -> None:
    # Polled, because a blocking flock cannot be given a time limit without a signal of the whole process.
    give_up_at = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            if time.monotonic() >= give_up_at:
                raise StoreUnavailable(
                    f"The lock {path} was held by another process for {wait_s:g} seconds.",
                    next_step="Wait for the other writer or maintenance to end, then run the same command again "
                    f"(`fuser {path}` names the holder).",
                ) from busy
            time.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        else:
            return
