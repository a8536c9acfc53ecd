"""The nouns of the project: frozen, keyword-only dataclasses and the enums of what is stored."""

import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy costs a tenth of a second, and `elysiactl index status` needs none
    import numpy as np

OBJECT_NAMESPACE = uuid.UUID("5b4c0f2e-6d0b-5a86-9d6e-3d3f1f0f7a11")
"""The namespace of every object id (UUIDv5). Never change it: ids are how a replay overwrites itself."""


def object_id(collection: str, repository: str, path: str, chunk_index: int) -> str:
    """The id of one chunk's object: UUIDv5 of the four parts joined by NUL, which none of them can contain."""
    return str(uuid.uuid5(OBJECT_NAMESPACE, f"{collection}\0{repository}\0{path}\0{chunk_index}"))


def document_id(collection: str, repository: str, path: str) -> str:
    """The id that all chunks of one document share: UUIDv5 of the three parts joined by NUL."""
    return str(uuid.uuid5(OBJECT_NAMESPACE, f"{collection}\0{repository}\0{path}"))


class Outcome(Enum):
    """Why a line is completed; of several changes in one line the first in this order names the line."""

    INDEXED = "indexed"  # chunks were written
    DELETED = "deleted"  # the document was removed, or was asked to be and is not there
    UNCHANGED = "unchanged"  # the collection already holds this content
    SKIPPED = "skipped"  # binary, empty, symbolic link or skip_index: not to be indexed
    SUPERSEDED = "superseded"  # a newer change of the same document counts
    CHANGESET = "changeset"  # a new_changeset record
    BLANK = "blank"  # an empty line


class RunStatus(Enum):
    """Where a sync run stands."""

    RUNNING = "running"  # worked on, or waits to be resumed
    COMPLETED = "completed"  # every line completed
    FAILED = "failed"  # every line settled, some of them failed
    CANCELED = "canceled"  # given up by an operator


class DocumentState(Enum):
    """What the ledger believes of a document."""

    WRITING = "writing"  # intended, not yet settled: the store may hold anything up to max_chunks
    PRESENT = "present"  # the store holds the chunks that write_hash names
    ABSENT = "absent"  # removed; kept while an older run could still write it
    SUSPECT = "suspect"  # a process that had lost its lease may have written after us


class InboxState(Enum):
    """Where a file of the inbox stands."""

    ARRIVING = "arriving"  # its size or time has changed within the quiet period, or it is not read yet
    WAITING = "waiting"  # for an earlier file of its repositories, for a free place, or for its next attempt
    REQUESTED = "requested"  # a Dagster run was asked for
    HELD = "held"  # its run was stopped by somebody, and waits for that person
    APPLIED = "applied"  # every line of it is settled
    REFUSED = "refused"  # it is no changeset, came too late, or its run was given up


class ErrorKind(Enum):
    """Whether a second try of a failed line can help."""

    RETRYABLE = "retryable"  # the file may come, the root may be mended
    PERMANENT = "permanent"  # the line itself is bad; tried again only when asked for by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a document's text; ``start_line`` and ``end_line`` are 1-based and inclusive."""

    index: int
    text: str
    start_line: int
    end_line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreObject:
    """One chunk as the vector store holds it; see the design's list of properties.

    ``vector`` is float32 of shape ``(dimensions,)``, or None where the store makes its own.
    ``last_modified`` is RFC 3339 in UTC, or None where the source does not say.
    """

    id: str
    vector: "np.ndarray | None"
    file_path: str
    relative_path: str
    file_name: str
    repository: str
    language: str
    extension: str
    content_hash: str
    write_hash: str
    content: str
    size_bytes: int
    line_count: int
    last_modified: str | None
    document_id: str
    chunk_index: int
    start_line: int
    end_line: int
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class CollectionInfo:
    """A collection as the store describes it. ``dimensions`` is 0 where the store cannot say.

    ``tenant`` is the part of it that is meant, '' where it is one whole: the incarnation does not tell a part that was
    made anew.
    """

    name: str
    incarnation: str | None
    model_id: str | None
    dimensions: int
    tenant: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannedObject:
    """What a scan tells of one object: enough to compare it with the ledger."""

    id: str
    repository: str
    relative_path: str
    chunk_index: int
    content_hash: str
    write_hash: str
    has_vector: bool


class SearchMode(Enum):
    """How a search ranks."""

    VECTOR = "vector"  # by the embedder's vectors
    TEXT = "text"  # by full-text score
    HYBRID = "hybrid"  # both, fused


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """A search: ``vector`` has shape ``(dimensions,)``; every mode but ``TEXT`` needs it, unless the store makes the
    collection's vectors itself."""

    text: str
    vector: "np.ndarray | None" = None
    mode: SearchMode = SearchMode.HYBRID
    limit: int = 10
    repository: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """One chunk found; a higher ``score`` is better, and scores compare within one search only."""

    repository: str
    relative_path: str
    start_line: int
    end_line: int
    score: float
    text: str


@dataclass(frozen=True, kw_only=True)
class MaintenanceReport:
    """What ``maintain`` did, as counts and bytes by name, for people to read."""

    collection: str
    details: dict[str, Any] = field(default_factory=dict)
