"""What LanceDB's errors mean. It raises untyped ``RuntimeError``, ``OSError`` and ``ValueError``, so the text decides.

Each text below was seen with lancedb 0.40; an error that matches none of them is a bug and propagates.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import tenacity

from elysia_dagster.errors import CollectionMismatch, ElysiaError, ResourceExhausted, StoreUnavailable

RETRY_FOR_S = 20.0
"""Seconds that an operation is tried again while other processes are in its way."""

_Result = TypeVar("_Result")

_IN_THE_WAY = re.compile(
    # compaction or a newer writer took away what our handle named: a manifest, a data file, an index
    r"Not found|commit conflict|Too many concurrent writers|Retryable commit|concurrent (commit|transaction)",
    re.IGNORECASE,
)
_NO_TABLE = re.compile(r"Table '.*' was not found", re.DOTALL)
_USED_UP = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|Too many open files|Cannot allocate memory"
    r"|os error (28|122|27|24|23|12)\b",
    re.IGNORECASE,
)
_NOT_WRITABLE = re.compile(
    r"Permission denied|Operation not permitted|Read-only file system|Input/output error|Stale file handle"
    r"|Not a directory|File exists|os error (1|5|13|17|20|30|116)\b",
    re.IGNORECASE,
)
_DAMAGED = re.compile(
    # a manifest, a data file or an index that is empty, cut off, or full of zeros
    r"Invalid range \d+\.\.\d+ for object of size|file size is too small|does not have sufficient data"
    r"|failed to fill whole buffer|invalid magic|failed to decode Protobuf",
    re.IGNORECASE,
)
_TYPES = (RuntimeError, OSError, ValueError)


def is_in_the_way(error: BaseException) -> bool:
    """Whether an error says that another process changed the table under us: a fresh handle and another try help."""
    if not isinstance(error, _TYPES) or isinstance(error, ElysiaError):
        return False
    text = str(error)
    if _NO_TABLE.search(text) or _USED_UP.search(text) or _NOT_WRITABLE.search(text):
        return False
    return bool(_IN_THE_WAY.search(text))


def why_unreadable(error: BaseException) -> str | None:
    """What an error says of a file of the table that is damaged or missing; None where it says something else."""
    text = str(error)
    if not isinstance(error, _TYPES) or _NO_TABLE.search(text) or _USED_UP.search(text) or _NOT_WRITABLE.search(text):
        return None
    return _first_line(text) if _DAMAGED.search(text) or "Not found" in text else None


def translated(error: BaseException, *, collection: str, url: str) -> ElysiaError | None:
    """The project's error for one of LanceDB or the file system, or None where its meaning is not known."""
    if type(error).__name__ == "RustPanic":  # of pyo3's runtime; what broke is on standard error, and not in the error
        return StoreUnavailable(
            f"LanceDB broke off in the middle of a call to {url}: {_first_line(str(error))}.",
            next_step="See that memory and threads are left (ulimit -v, ulimit -u), then run the same command again: "
            "nothing was charged to a line.",
            collection=collection,
            store=url,
        )
    if not isinstance(error, _TYPES):
        return None
    text = str(error)
    ids = {"collection": collection, "store": url}
    if _NO_TABLE.search(text):
        return missing_collection(collection, url)
    if _DAMAGED.search(text):
        return damaged(collection, url, _first_line(text))
    if _USED_UP.search(text):
        return ResourceExhausted(
            f"The store {url} ran out of disk, memory or file handles: {_first_line(text)}.",
            next_step="Free some (or raise the limit that it names), then run the same command again.",
            **ids,
        )
    if _NOT_WRITABLE.search(text):
        return StoreUnavailable(
            f"The store {url} cannot be read or written: {_first_line(text)}.",
            next_step="Mend the folder's permissions or disk, then run the same command again.",
            **ids,
        )
    if is_in_the_way(error):
        return StoreUnavailable(
            f"Collection {collection!r} of {url} kept changing under this process: {_first_line(text)}.",
            next_step="Run the same command again; if it stays so, end other programs that write to this folder.",
            **ids,
        )
    return None


def missing_collection(collection: str, url: str) -> CollectionMismatch:
    """The error for a collection that is not there."""
    return CollectionMismatch(
        f"Collection {collection!r} does not exist in {url}.",
        next_step="Check the names of store and collection; a sync creates a collection that was never there.",
        collection=collection,
        store=url,
    )


def damaged(collection: str, url: str, reason: str) -> StoreUnavailable:
    """The error for a table that was whole on the disk, and cannot be read."""
    return StoreUnavailable(
        f"The table of collection {collection!r} in {url} is damaged: {reason}.",
        next_step=f"Put a copy of {url.removeprefix('lancedb:')}/{collection}.lance back; or remove that folder, sync "
        f"every repository again, and first: elysiactl index forget --collection {collection} --yes",
        collection=collection,
        store=url,
    )


@contextmanager
def translating(*, collection: str, url: str) -> Iterator[None]:
    """Turns LanceDB's errors of the body into the project's; an unknown one goes through."""
    try:
        yield
    except ElysiaError:
        raise
    except Exception as error:
        known = translated(error, collection=collection, url=url)
        if known is None:
            raise
        raise known from error


def retrying(attempt: Callable[[], _Result], *, refresh: Callable[[], None]) -> _Result:
    """Runs ``attempt``, again after ``refresh`` while another process is in its way, for ``RETRY_FOR_S`` seconds.

    The last error propagates as LanceDB gave it.
    """
    retryer = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_in_the_way),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=2.0),
        stop=tenacity.stop_after_delay(RETRY_FOR_S),
        before_sleep=lambda _state: refresh(),
        reraise=True,
    )
    return retryer(attempt)


def _first_line(text: str) -> str:
    # LanceDB ends its messages with the place in its own source, a path of the machine that built it.
    plain = re.sub(r",? ?/\S+\.rs:\d+:\d+", "", text).strip()
    return plain.splitlines()[0][:300].rstrip(".") if plain else "no reason given"
