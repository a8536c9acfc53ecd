"""A batch on its way from the plan to the store: what is to become of every change, and the vectors of its chunks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from elysia_dagster.models import Chunk, Outcome
from elysia_dagster.sync.planfile import PlannedChange


class Action(Enum):
    """What a prepared change asks of the store."""

    WRITE = "write"  # its chunks are to be there, and no others
    REMOVE = "remove"  # nothing of it is to be there
    KEEP = "keep"  # what is there is what is wanted
    SUPERSEDED = "superseded"  # a newer version stands
    FAIL = "fail"  # it cannot be applied


class PreparedChange(NamedTuple):
    """A change whose content has been looked at. ``rows`` are its chunks' places in the batch's vectors.

    ``reason`` says why a document is skipped or failed; ``modified_at`` is in seconds since the epoch.
    A tuple, since one is made for every line.
    """

    planned: PlannedChange
    action: Action
    outcome: Outcome | None = None
    reason: str | None = None
    permanent: bool = False
    content_hash: str | None = None
    size_bytes: int = 0
    line_count: int = 0
    modified_at: float | None = None
    chunks: tuple[Chunk, ...] = ()
    rows: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class EmbeddedBatch:
    """A batch that is ready for the store.

    ``vectors`` is float32 of shape ``(chunks of all changes, dimensions)``; ``write_hashes`` go with its rows.
    """

    number: int
    changes: tuple[PreparedChange, ...]
    vectors: np.ndarray
    write_hashes: tuple[str, ...]
    embedded: int
    """Chunks embedded for it in this process: 0 where the vectors came from a file."""


def write_hash(text: str, vector: np.ndarray, *, model_id: str, chunker: str, content_hash: str | None) -> str:
    """What an object is known by: SHA-256 in hex of its document's content hash, chunk text, vector, model and chunker.

    The document's, since other versions of it may have chunks of the same text, at other lines.
    """
    digest = hashlib.sha256(f"{model_id}\0{chunker}\0{content_hash}\0".encode())
    digest.update(text.encode())
    digest.update(b"\0")
    digest.update(np.ascontiguousarray(vector, dtype="<f4").tobytes())
    return digest.hexdigest()


def document_write_hash(chunk_hashes: Sequence[str]) -> str:
    """What the ledger knows a document's objects by: SHA-256 in hex of their write hashes in order."""
    return hashlib.sha256("\0".join(chunk_hashes).encode()).hexdigest()
