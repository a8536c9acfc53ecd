"""The plan on disk: an Arrow file whose record batches are the batches of the run, written once.

Columns: ``line`` int32, ``offset`` int64 and ``length`` int32 of the line in the spool, ``repository`` (an index into
the names that the file's metadata lists), ``path``, ``kind`` (``ChangeKind``), ``flags`` (``FLAG_…``).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from elysia_dagster.errors import InputError
from elysia_dagster.exhaustion import exhausted
from elysia_dagster.sync.columns import array_of, numbers, texts
from elysia_dagster.sync.winners import ChangeIndex, ChangeKind

FLAG_RECORD = 1
"""The line is a JSON record."""

FLAG_EXPANDED = 2
"""The path is not the line's own (a file of a folder): its content comes from the repository's folder."""

FLAG_LAST = 4
"""The last change of its line."""

FLAG_SINGLE = 8
"""The only change that its line asks for."""

FLAG_CONTESTED = 16
"""The new side of a rename whose file a later rename of the same stretch may have moved on."""

SCHEMA = pa.schema(
    [
        ("line", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int32()),
        ("repository", pa.int32()),
        ("path", pa.string()),
        ("kind", pa.int8()),
        ("flags", pa.int8()),
    ]
)


class PlannedChange(NamedTuple):
    """One change of the plan; ``is_last`` of its line, ``is_single`` where the line asks for nothing else.

    A tuple, since one is made for every line.
    """

    line: int
    offset: int
    length: int
    repository: str
    path: str
    kind: ChangeKind
    is_record: bool
    is_expanded: bool
    is_last: bool
    is_single: bool
    is_contested: bool


_KINDS = {kind.value: kind for kind in ChangeKind}


class PlanFile:
    """A finished plan, read one batch at a time: memory does not grow with the plan."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pa.OSFile(str(path))
            self._reader = pa.ipc.open_file(self._file)
            fields = json.loads(self._reader.schema.metadata[b"plan"])
            self.repositories: list[str] = fields["repositories"]
            self.folders: dict[str, str] = fields["folders"]
            self.commits: dict[str, str | None] = fields["commits"]
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            if known := exhausted(error):
                raise known from error
            raise InputError(
                f"The plan {path} cannot be read: {error}.",
                next_step="Remove it and resume the run: it is made again.",
            ) from error

    @property
    def batches(self) -> int:
        """How many batches there are."""
        return int(self._reader.num_record_batches)

    def lines(self, batch: int) -> np.ndarray:
        """int32: the line of every change of a batch, in order."""
        return array_of(self._reader.get_batch(batch).column(0))

    def changes(self, batch: int) -> list[PlannedChange]:
        """The changes of a batch, in order."""
        columns = [column.to_pylist() for column in self._reader.get_batch(batch).columns]
        return [
            PlannedChange(
                line=line,
                offset=offset,
                length=length,
                repository=self.repositories[repository],
                path=path,
                kind=_KINDS[kind],
                is_record=bool(flags & FLAG_RECORD),
                is_expanded=bool(flags & FLAG_EXPANDED),
                is_last=bool(flags & FLAG_LAST),
                is_single=bool(flags & FLAG_SINGLE),
                is_contested=bool(flags & FLAG_CONTESTED),
            )
            for line, offset, length, repository, path, kind, flags in zip(*columns, strict=True)
        ]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class DraftWriter:
    """Collects every change of a changeset, before it is known which of them count: the rows in a file of its own, in
    slices, and what decides between them in ``index``."""

    SLICE = 65_536

    def __init__(self, path: Path, index: ChangeIndex) -> None:
        self._index = index
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, SCHEMA)
        self.rows: list[tuple[Any, ...]] = []
        """Changes not written yet: the columns of ``SCHEMA``, then segment and size in bytes. Append to it."""

    def flush_if_full(self) -> None:
        """To be called every now and then, so that memory stays bounded."""
        if len(self.rows) >= self.SLICE:
            self.flush()

    def flush(self) -> None:
        """Writes what has been collected."""
        if not self.rows:
            return
        *columns, segments, sizes = zip(*self.rows, strict=True)
        self.rows.clear()
        arrays = [
            texts(column, field.type) if field.type == pa.string() else numbers(column, field.type)
            for column, field in zip(columns, SCHEMA, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._index.extend(
            lines=array_of(arrays[0]),
            kinds=array_of(arrays[5]),
            segments=np.array(segments, dtype=np.int32),
            sizes=np.minimum(np.array(sizes, dtype=np.int64), 0xFFFF_FFFF).astype(np.uint32),
            repositories=columns[3],
            paths=columns[4],
        )

    def close(self) -> None:
        """Ends the file."""
        self.flush()
        self._writer.close()
        self._sink.close()


def read_draft(path: Path) -> Iterator[pa.RecordBatch]:
    """The slices that a ``DraftWriter`` wrote."""
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield from reader


def cut_batches(lines: np.ndarray, sizes: np.ndarray, batch_size: int, batch_bytes: int) -> Iterator[tuple[int, int]]:
    """Where each batch begins and ends, for changes with these lines and sizes (bytes), all of one length.

    A line stays in one batch unless it has more changes than a batch holds; the two sides of a rename always do, since
    the old one waits for the new one.
    """
    count = len(lines)
    total = np.cumsum(sizes, dtype=np.int64)
    start = 0
    while start < count:
        before = int(total[start - 1]) if start else 0
        by_bytes = int(np.searchsorted(total, before + batch_bytes, side="right"))
        end = min(start + batch_size, max(by_bytes, start + 1), count)
        if end < count and lines[end] == lines[end - 1]:
            first = int(np.searchsorted(lines, lines[end], side="left"))
            after = int(np.searchsorted(lines, lines[end], side="right"))
            if first > start:
                end = first
            elif first == start and after - start == 2:
                end = after
        yield start, end
        start = end


def write_batches(
    sink: Any, slices: Iterator[pa.RecordBatch], cuts: Iterator[tuple[int, int]], metadata: dict[str, Any]
) -> None:
    """Writes the plan: ``slices`` hold the changes that count, ``cuts`` says where batches begin and end."""
    schema = SCHEMA.with_metadata({b"plan": json.dumps(metadata).encode()})
    with pa.ipc.new_file(sink, schema) as writer:
        rest = pa.Table.from_batches([], schema=SCHEMA)  # empty_table() loads pandas (see ``columns``)
        for start, end in cuts:
            while rest.num_rows < end - start:
                rest = pa.concat_tables([rest, pa.Table.from_batches([next(slices)])])
            for batch in rest.slice(0, end - start).combine_chunks().to_batches():
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            rest = rest.slice(end - start)
