"""``batch-<n>.arrow``: an embedded batch on disk, so that an embedding that was paid for is never paid again."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elysia_dagster.exhaustion import exhausted
from elysia_dagster.models import Chunk, Outcome
from elysia_dagster.sync import columns
from elysia_dagster.sync.batch import Action, EmbeddedBatch, PreparedChange
from elysia_dagster.sync.files import write_aside
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.winners import ChangeKind

_DIGEST_BYTES = hashlib.sha256().digest_size


def batch_path(folder: Path, number: int) -> Path:
    """Where a batch's embeddings lie."""
    return folder / f"batch-{number}.arrow"


def remove_batches(folder: Path) -> None:
    """Removes the batch files of a run that is closed."""
    for each in folder.glob("batch-*.arrow"):
        each.unlink(missing_ok=True)


def save_batch(path: Path, batch: EmbeddedBatch, *, model_id: str, chunker: str) -> None:
    """Writes a batch: its chunks as rows, its changes in the metadata. Raises ``ResourceExhausted``."""
    chunks = [chunk for change in batch.changes for chunk in change.chunks]
    schema = pa.schema(
        [
            ("text", pa.large_string()),
            ("start_line", pa.int32()),
            ("end_line", pa.int32()),
            ("write_hash", pa.string()),
        ],
        metadata={b"batch": _header(batch, model_id, chunker)},
    )
    arrays = [
        columns.texts([chunk.text for chunk in chunks], pa.large_string()),
        columns.numbers([chunk.start_line for chunk in chunks], pa.int32()),
        columns.numbers([chunk.end_line for chunk in chunks], pa.int32()),
        columns.texts(batch.write_hashes, pa.string()),
    ]
    if dimensions := batch.vectors.shape[1]:  # of no dimensions where the store makes the vectors
        flat = columns.numbers(batch.vectors.reshape(-1), pa.float32())
        schema = schema.append(pa.field("vector", pa.list_(pa.float32(), dimensions)))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, dimensions))
    table = pa.RecordBatch.from_arrays(arrays, schema=schema)
    whole = pa.BufferOutputStream()
    with pa.ipc.new_file(whole, schema) as writer:
        writer.write_batch(table)
    content = whole.getvalue().to_pybytes()
    with write_aside(path) as file:
        file.write(content)
        file.write(hashlib.sha256(content).digest())


def _header(batch: EmbeddedBatch, model_id: str, chunker: str) -> bytes:
    changes: list[dict[str, Any]] = []
    for change in batch.changes:
        fields = {name: value for name, value in change._asdict().items() if name != "chunks"}
        fields["planned"] = change.planned._asdict()
        fields["action"] = change.action.value
        fields["outcome"] = change.outcome.value if change.outcome else None
        fields["planned"]["kind"] = int(change.planned.kind)
        changes.append(fields)
    header = {"number": batch.number, "model": model_id, "chunker": chunker, "changes": changes}
    return json.dumps(header).encode()


def load_batch(path: Path, planned: list[PlannedChange], *, model_id: str, chunker: str) -> EmbeddedBatch | None:
    """The batch that was saved for just these changes, or None where there is none, or a torn or another one.

    A digest follows the Arrow file and is looked at first: of damaged bytes Arrow may make anything, or die. Raises
    ``ResourceExhausted`` where it cannot be read for want of memory or file handles.
    """
    try:
        content = path.read_bytes()
        content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        with pa.ipc.open_file(pa.BufferReader(content)) as reader:
            header = json.loads(reader.schema.metadata[b"batch"])
            if (header["model"], header["chunker"]) != (model_id, chunker):
                return None
            batch = _made_of(header, reader.get_batch(0))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:  # none, or an earlier version's
        if known := exhausted(error):  # it may be whole: what is in it is not to be paid for again
            raise known from error
        return None
    return batch if [change.planned for change in batch.changes] == planned else None


def _made_of(header: dict[str, Any], table: pa.RecordBatch) -> EmbeddedBatch:
    texts = table.column("text").to_pylist()
    starts, ends = table.column("start_line").to_pylist(), table.column("end_line").to_pylist()
    hashes = tuple(table.column("write_hash").to_pylist())
    vectors = np.zeros((len(texts), 0), dtype=np.float32)
    if "vector" in table.schema.names:
        vectors = columns.array_of(table.column("vector").flatten()).reshape(len(texts), -1)
    changes = tuple(_change(fields, texts, starts, ends) for fields in header["changes"])
    return EmbeddedBatch(number=header["number"], changes=changes, vectors=vectors, write_hashes=hashes, embedded=0)


def _change(fields: dict[str, Any], texts: list[str], starts: list[int], ends: list[int]) -> PreparedChange:
    planned = PlannedChange(**{**fields["planned"], "kind": ChangeKind(fields["planned"]["kind"])})
    first, end = fields["rows"]
    chunks = tuple(
        Chunk(index=row - first, text=texts[row], start_line=starts[row], end_line=ends[row])
        for row in range(first, end)
    )
    return PreparedChange(
        **{
            **fields,
            "planned": planned,
            "action": Action(fields["action"]),
            "outcome": Outcome(fields["outcome"]) if fields["outcome"] else None,
            "rows": (first, end),
            "chunks": chunks,
        }
    )
