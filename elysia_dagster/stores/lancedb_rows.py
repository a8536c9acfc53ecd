"""Objects as rows of a LanceDB table: the schema, what is rejected and why, requests cut to size, values as SQL."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter

import numpy as np
import pyarrow as pa

from elysia_dagster.models import StoreObject
from elysia_dagster.stores.base import MAX_BYTES_PER_REQUEST, MAX_OBJECTS_PER_REQUEST

INCARNATION_KEY = b"elysia.incarnation"
MODEL_KEY = b"elysia.model_id"
"""Keys of the schema's metadata; they survive writes, deletes, ``optimize`` and reopening (contract suite)."""

_TEXTS = ("file_path", "relative_path", "file_name", "repository", "language", "extension", "content_hash")
_TEXTS_AFTER = ("write_hash", "content")
_NUMBERS = ("size_bytes", "line_count")
_POSITIONS = ("chunk_index", "start_line", "end_line")
_INT64 = range(-(2**63), 2**63)
_texts_of = attrgetter("id", *_TEXTS, *_TEXTS_AFTER, "document_id", "commit")
_numbers_of = attrgetter(*_NUMBERS, *_POSITIONS)


def table_schema(*, incarnation: str, model_id: str, dimensions: int) -> pa.Schema:
    """The columns of a collection whose vectors have shape ``(dimensions,)``, in the order of ``StoreObject``."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions)),
            *(pa.field(name, pa.string()) for name in (*_TEXTS, *_TEXTS_AFTER)),
            *(pa.field(name, pa.int64()) for name in _NUMBERS),
            pa.field("last_modified", pa.timestamp("us", "UTC")),
            pa.field("document_id", pa.string()),
            *(pa.field(name, pa.int64()) for name in _POSITIONS),
            pa.field("commit", pa.string()),
        ],
        metadata={INCARNATION_KEY: incarnation.encode(), MODEL_KEY: model_id.encode()},
    )


def vector_dimensions(schema: pa.Schema) -> int:
    """The length of the vectors of a table, 0 where it has no column ``vector`` of one fixed length."""
    index = schema.get_field_index("vector")
    if index < 0 or not pa.types.is_fixed_size_list(schema.field(index).type):
        return 0
    return int(schema.field(index).type.list_size)


def why_rejected(item: StoreObject, dimensions: int) -> str | None:
    """The reason why an object cannot be a row, or None. NUL is fine in every text, a lone surrogate in none."""
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
        _instant(item.last_modified)
    except (ValueError, OverflowError):
        return f"last_modified {item.last_modified!r} is not an RFC 3339 time"
    return None


def to_arrow(items: Sequence[StoreObject], schema: pa.Schema) -> pa.Table:
    """The rows of accepted objects as an Arrow table of ``schema``, without its metadata."""
    bare = schema.remove_metadata()
    return pa.Table.from_arrays([_column(items, field) for field in bare], schema=bare)


def requests(items: Iterable[StoreObject]) -> Iterator[list[StoreObject]]:
    """Cuts objects into write requests within the limits of every store; an object over the limit goes alone."""
    request: list[StoreObject] = []
    size_bytes = 0
    for item in items:
        item_bytes = _size_bytes(item)
        if request and (len(request) >= MAX_OBJECTS_PER_REQUEST or size_bytes + item_bytes > MAX_BYTES_PER_REQUEST):
            yield request
            request, size_bytes = [], 0
        request.append(item)
        size_bytes += item_bytes
    if request:
        yield request


def sql_text(value: str) -> str:
    """A string as a literal of DataFusion SQL, which knows no escape but the doubled quote.

    What is not UTF-8 can never have been stored: it becomes the literal NULL, which equals nothing.
    """
    return "'" + value.replace("'", "''") + "'" if encodable(value) else "NULL"


def ids_filter(ids: Iterable[str]) -> str:
    """The condition that a row has one of ``ids``, of which there must be at least one."""
    return f"id IN ({', '.join(map(sql_text, ids))})"


def repository_filter(repository: str) -> str:
    """The condition that a row is of one repository."""
    return f"repository = {sql_text(repository)}"


def encodable(value: str) -> bool:
    """Whether a text can be UTF-8: a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _column(items: Sequence[StoreObject], field: pa.Field) -> pa.Array:
    if field.name == "vector":
        return _vectors(items, field.type)
    values = [getattr(item, field.name) for item in items]
    if field.name == "last_modified":
        values = [_instant(value) for value in values]
    return pa.array(values, field.type)


def _vectors(items: Sequence[StoreObject], kind: pa.FixedSizeListType) -> pa.Array:
    flat = np.zeros((len(items), kind.list_size), dtype=np.float32)
    missing = np.zeros(len(items), dtype=bool)
    for row, item in enumerate(items):
        if item.vector is None:
            missing[row] = True
        else:
            flat[row] = item.vector
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=kind, mask=pa.array(missing))


def _instant(value: str | None) -> datetime | None:
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
