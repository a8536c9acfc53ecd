"""Keeps a LanceDB table quick and small: the index on ``id``, compaction, old versions, the full-text index.

Measured with lancedb 0.40, 200 rows of 1024 dimensions a write, on two cores:

- every write makes a fragment, and a fragment that the index does not cover costs a look-up by id 0.25 ms;
- building the index anew costs 0.6 µs a row, the same as bringing it up to date;
- ``optimize`` copies *all* rows of fragments under a million rows, at about 30 µs each, whatever is new. Run at fixed
  intervals it is quadratic, so it waits until the table has doubled. It peaks at 0.6 GB and more: a large one runs
  in a child process.

Run as ``python -m elysia_dagster.stores.lancedb_maintenance FOLDER TABLE STEP…`` this module is that child. Whoever
runs a step, itself or by a child, holds the table's lock; the child inherits the lock's descriptor, so that the lock
outlives a killed parent for as long as the child works.
"""

import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, cast

import lancedb
from lancedb.index import FTS, BTree
from lancedb.table import Table

from elysia_dagster.stores.file_lock import HeldLock
from elysia_dagster.stores.lancedb_durability import FileSyncer

ID_INDEX = "id_idx"
TEXT_INDEX = "content_idx"

INDEX_FROM_ROWS = 5_000
"""A smaller table is scanned for ids as fast as an index is read."""

VERSIONS_KEPT = timedelta(minutes=15)
"""Old versions stay this long, longer than any read or write takes, so that none loses its files under its feet."""

KEEP_ALL = timedelta(days=36_500)
"""Of ``optimize``: drops no version."""

CHILD_FROM_BYTES = 32_000_000
"""Tables with more data are compacted in a child process, for its memory is given back when it ends."""

STEP_LIMIT_S = 3600.0
"""Longest that a child may work, in seconds; a killed one leaves the table as it was."""


class Step(Enum):
    """One piece of maintenance."""

    INDEX_IDS = "index-ids"  # build the BTREE on id anew
    OPTIMIZE = "optimize"  # compact fragments, bring indexes up to date, drop old versions
    INDEX_TEXT = "index-text"  # build the full-text index on content


@dataclass(frozen=True, kw_only=True)
class TableShape:
    """What decides on maintenance: rows, fragments, and bytes of data of one table."""

    rows: int
    fragments: int
    data_bytes: int


def shape_of(table: Table) -> TableShape:
    """The shape of a table (1.5 ms at 300 fragments, from the manifest alone)."""
    stats = cast(dict[str, Any], table.stats())  # declared as a class, given as a dictionary (0.40)
    return TableShape(
        rows=stats["num_rows"],
        fragments=stats["fragment_stats"]["num_fragments"],
        data_bytes=stats["total_bytes"],
    )


def writes_between_looks(rows: int) -> int:
    """Writes after which the index is brought up to date.

    Balances a look-up's cost per uncovered fragment against that of building the index, which grows with ``rows``.
    """
    return max(50, rows // 20_000)


def wants_compaction(shape: TableShape) -> bool:
    """Whether a table has enough fragments that copying it pays: about when it has doubled by writes of 200 rows.

    90 is a little less than two times ``writes_between_looks``, so that the second look at a small table finds it due.
    """
    return shape.fragments >= max(90, shape.rows // 400)


def due_step(shape: TableShape) -> Step | None:
    """What a writer should do now, ``writes_between_looks`` after the last time."""
    if wants_compaction(shape):
        return Step.OPTIMIZE
    return Step.INDEX_IDS if shape.rows >= INDEX_FROM_ROWS else None


def has_index(table: Table, name: str) -> bool:
    """Whether a table has the index of that name, however current."""
    return table.index_stats(name) is not None


def run_step(folder: Path, collection: str, table: Table, step: Step, lock: HeldLock, *, limit_s: float) -> None:
    """Runs one step here, or in a child process where it would take much memory.

    Raises ``RuntimeError`` with the child's last line where the child fails or works longer than ``limit_s`` seconds.
    """
    if step is Step.INDEX_IDS or shape_of(table).data_bytes < CHILD_FROM_BYTES:
        perform(table, step, folder / f"{collection}.lance")
        return
    # A fresh interpreter, not a fork: LanceDB's threads do not survive one.
    command = [sys.executable, "-m", __name__, str(folder), collection, step.value]
    try:
        subprocess.run(
            command,
            check=True,
            pass_fds=[lock.fd],
            timeout=limit_s,
            stdin=subprocess.DEVNULL,  # ours may be a changeset
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as failed:
        raise RuntimeError(failed.stderr.strip().rpartition("\n")[2] or f"ended with {failed.returncode}") from failed
    except subprocess.TimeoutExpired as slow:
        raise RuntimeError(f"{step.value} of {collection!r} took longer than {limit_s:g} s") from slow


def perform(table: Table, step: Step, place: Path) -> None:
    """Does one step in this process; ``place`` is the table's folder. The caller holds the table's lock.

    Raises what LanceDB raises, and ``OSError``.
    """
    match step:
        case Step.INDEX_IDS:
            table.create_index("id", config=BTree(), replace=True)
        case Step.OPTIMIZE:
            table.optimize(cleanup_older_than=KEEP_ALL)
            # before the old versions go: a power loss that tears the new one would leave none
            FileSyncer(place).sync()
            table.optimize(cleanup_older_than=VERSIONS_KEPT)
            if table.count_rows() >= INDEX_FROM_ROWS and not has_index(table, ID_INDEX):
                perform(table, Step.INDEX_IDS, place)
        case Step.INDEX_TEXT:
            # Stop words stay in: `if` and `not` are what people look for in source, and BM25 weighs them down anyway.
            config = FTS(with_position=False, remove_stop_words=False)
            table.create_index("content", config=config, replace=True)


def main(arguments: list[str]) -> None:
    """The child process: performs the named steps on one table."""
    folder, collection, *steps = arguments
    table = lancedb.connect(folder).open_table(collection)
    for step in steps:
        perform(table, Step(step), Path(folder) / f"{collection}.lance")


if __name__ == "__main__":
    main(sys.argv[1:])
