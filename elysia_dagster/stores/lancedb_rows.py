"""Objects as rows of a LanceDB table: the schema, rows as Arrow, values as SQL."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import StoreObject
from elysia_dagster.stores.objects import encodable, instant

INCARNATION_KEY = b"elysia.incarnation"
MODEL_KEY = b"elysia.model_id"
"""Keys of the schema's metadata; they survive writes, deletes, ``optimize`` and reopening (contract suite)."""

_TEXTS = ("file_path", "relative_path", "file_name", "repository", "language", "extension", "content_hash")
_TEXTS_AFTER = ("write_hash", "content")
_NUMBERS = ("size_bytes", "line_count")
_POSITIONS = ("chunk_index", "start_line", "end_line")


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


def missing_columns(collection: str, there: pa.Schema, wanted: pa.Schema) -> list[pa.Field]:
    """The columns of ``wanted`` that a table lacks.

    Raises ``CollectionMismatch`` where it has one with another type, or lacks ``id`` or ``vector``.
    """
    missing: list[pa.Field] = []
    for field in wanted:
        index = there.get_field_index(field.name)
        kind = there.field(index).type if index >= 0 else None
        if kind is None and field.name not in ("id", "vector"):
            missing.append(field)
        elif kind != field.type:
            raise CollectionMismatch(
                f"Column {field.name} of table {collection} is {kind or 'missing'}, and must be {field.type}.",
                next_step="Choose another --collection: this table cannot be used.",
            )
    return missing


def to_arrow(items: Sequence[StoreObject], schema: pa.Schema) -> pa.Table:
    """The rows of accepted objects as an Arrow table of ``schema``, without its metadata."""
    bare = schema.remove_metadata()
    return pa.Table.from_arrays([_column(items, field) for field in bare], schema=bare)


def sql_text(value: str) -> str:
    """A string as a literal of DataFusion SQL, which knows no escape but the doubled quote.

    What is not UTF-8 can never have been stored: it becomes the literal NULL, which equals nothing.
    """
    return "'" + value.replace("'", "''") + "'" if encodable(value) else "NULL"


def ids_filter(ids: Iterable[str], *, column: str = "id") -> str:
    """The condition that a row has one of ``ids``, of which there must be at least one."""
    return f"{column} IN ({', '.join(map(sql_text, ids))})"


def repository_filter(repository: str) -> str:
    """The condition that a row is of one repository."""
    return f"repository = {sql_text(repository)}"


def _column(items: Sequence[StoreObject], field: pa.Field) -> pa.Array:
    if field.name == "vector":
        return _vectors(items, field.type)
    values = [getattr(item, field.name) for item in items]
    if field.name == "last_modified":
        values = [instant(value) for value in values]
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
