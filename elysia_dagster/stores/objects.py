"""Objects before any store sees them: what is rejected and why, and requests cut to size."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter

import numpy as np

from elysia_dagster.models import StoreObject

_INT64 = range(-(2**63), 2**63)
_texts_of = attrgetter(
    "id",
    "file_path",
    "relative_path",
    "file_name",
    "repository",
    "language",
    "extension",
    "content_hash",
    "write_hash",
    "content",
    "document_id",
    "commit",
)
_numbers_of = attrgetter("size_bytes", "line_count", "chunk_index", "start_line", "end_line")


def why_rejected(item: StoreObject, dimensions: int) -> str | None:
    """The reason why an object cannot be stored, or None. NUL is fine in every text, a lone surrogate in none."""
    vector = item.vector
    if vector is not None:
        if vector.shape != (dimensions,):
            return f"the vector has shape {vector.shape}, the collection takes ({dimensions},)"
        if not np.isfinite(vector).all():
            return "the vector holds NaN or infinite values"
    try:
        _joined_text(item).encode()
    except UnicodeEncodeError as error:
        return f"a text cannot be stored as UTF-8: {error.reason}"
    if any(number not in _INT64 for number in _numbers_of(item)):
        return "a number does not fit 64 bits"
    try:
        instant(item.last_modified)
    except (ValueError, OverflowError):
        return f"last_modified {item.last_modified!r} is not an RFC 3339 time"
    return None


def requests(items: Iterable[StoreObject], *, most_objects: int, most_bytes: int) -> Iterator[list[StoreObject]]:
    """Cuts objects into write requests of so many objects and bytes at most; an object over the limit goes alone."""
    request: list[StoreObject] = []
    size_bytes = 0
    for item in items:
        item_bytes = _size_bytes(item)
        if request and (len(request) >= most_objects or size_bytes + item_bytes > most_bytes):
            yield request
            request, size_bytes = [], 0
        request.append(item)
        size_bytes += item_bytes
    if request:
        yield request


def encodable(value: str) -> bool:
    """Whether a text can be UTF-8: a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def instant(value: str | None) -> datetime | None:
    """An RFC 3339 time in UTC. Raises ``ValueError``."""
    if value is None:
        return None
    instant = datetime.fromisoformat(value)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _joined_text(item: StoreObject) -> str:
    return "\n".join(filter(None, _texts_of(item)))


def _size_bytes(item: StoreObject) -> int:
    text = _joined_text(item)
    text_bytes = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return text_bytes + (0 if item.vector is None else item.vector.nbytes)
