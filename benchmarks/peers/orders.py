"""What a contender's script is asked, and what it answers: each one JSON object."""

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.embedder import CountingEmbedder


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Weaviate server on the loopback interface."""

    host: str
    http_port: int
    grpc_port: int


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """Make the collection hold exactly these documents. ``options`` are the contender's own settings."""

    server: Server
    collection: str
    documents: Path
    """JSON lines, see ``documents.py``."""
    state: Path
    """A folder for what is to be remembered until the next run."""
    progress: Path
    """Where every embedded text is noted at once, see ``embedder.py``."""
    short_text: str | None = None
    """This text's vector is to be one dimension short, so that the server rejects it."""
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "WorkOrder":
        """What ``to_json`` gave."""
        found = json.loads(text)
        paths = {name: Path(found[name]) for name in ("documents", "state", "progress")}
        return cls(**{**found, **paths, "server": Server(**found["server"])})


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One run of a script, as it saw itself."""

    seconds: float
    """From before the documents are read until everything is written and remembered, the connection included."""
    start_s: float
    """Before that: from the process's first Python line to the end of the imports."""
    embedded: int
    """Texts embedded."""
    error: str | None = None
    """What was raised, or that a run answered with a failure; None if the run called itself a success."""
    logged: int = 0
    """Records of level ERROR that the libraries logged meanwhile."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the library says that it did."""


Sync = Callable[[WorkOrder, CountingEmbedder], dict[str, int]]


class _ErrorCounter(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def carry_out(sync: Sync, loggers: list[str], began: float) -> None:
    """Does the order of the command line with ``sync`` and prints the result as the last line.

    ``began`` is ``time.perf_counter()`` at the script's first line. A run that raises is a result too: what is measured
    is also whether a failure is said. ``loggers`` are those of the libraries.
    """
    order = WorkOrder.from_json(sys.argv[1])
    order.state.mkdir(parents=True, exist_ok=True)
    embedder = CountingEmbedder(order.progress, order.short_text)
    errors = _ErrorCounter()
    for name in loggers:
        logging.getLogger(name).addHandler(errors)
    start = time.perf_counter()
    counts: dict[str, int] = {}
    error = None
    try:
        counts = sync(order, embedder)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"[:500]
    result = RunResult(
        seconds=time.perf_counter() - start,
        start_s=start - began,
        embedded=embedder.embedded,
        error=error,
        logged=errors.count,
        counts=counts,
    )
    print(json.dumps(asdict(result)))
