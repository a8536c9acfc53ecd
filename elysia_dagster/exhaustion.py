"""What says that disk, memory, file handles or threads are used up, wherever it is raised: nothing of it is a bug."""

import errno
import mmap
import os
import re

from elysia_dagster.errors import ElysiaError, ResourceExhausted

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HANDLES = frozenset({errno.EMFILE, errno.ENFILE})
_MEMORY = frozenset({errno.ENOMEM})
USED_UP = _DISK | _HANDLES | _MEMORY
"""Errors of the operating system; ``EFBIG`` is that of a limit on the size of files."""

FOR_A_THREAD_BYTES = 32 << 20
"""Its stack, 8 MiB as a rule (``ulimit -s``), and what it takes to begin."""

_TEXTS = re.compile(
    r"can't start new thread|Failed to launch worker thread|Too many open files|Cannot allocate memory"
    r"|failed to map segment|[Mm]alloc of size"
)
"""Of errors that no number tells: of a thread (Python, Arrow), of a module that is imported when first used."""


def exhausted(error: BaseException) -> ResourceExhausted | None:
    """The project's error for one that says that a resource is used up, or None."""
    if isinstance(error, ElysiaError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number in _MEMORY:
        return _error("Memory is used up.", "Go on with more of it, or a smaller --batch-size: elysiactl index resume")
    if number in USED_UP:
        assert isinstance(error, OSError)
        what = "No file handle is left" if number in _HANDLES else f"Cannot write: {error.strerror}"
        named = f" ({error.filename})" if error.filename else ""
        raised = "Raise the limit (ulimit -n)" if number in _HANDLES else "Make room"
        return _error(f"{what}{named}.", f"{raised}, then give the same command again: it goes on where it stopped.")
    if isinstance(error, Exception) and (found := _TEXTS.search(str(error))):
        return _error(f"A resource is used up: {found[0]}.", "Free some, then give the same command again: it goes on.")
    return None


def check_memory_for_thread() -> None:
    """Raises ``MemoryError`` where there is too little for one more thread to begin.

    ``Thread.start`` waits for the new thread, for ever where that finds no memory and ends before it has said that it
    began (CPython 3.11; seen below a limit on the address space). So it is asked for before, and given back.
    """
    try:
        mmap.mmap(-1, FOR_A_THREAD_BYTES).close()
    except OSError as error:
        raise MemoryError("no memory for a thread") from error


def handles_are_left() -> bool:
    """Whether this process can open one more file: SQLite does not say why it cannot."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in USED_UP
    return True


def _error(message: str, next_step: str) -> ResourceExhausted:
    return ResourceExhausted(message, next_step=next_step)
