"""Objects on their way to Weaviate: what the client takes, how much goes in one request, what came back."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from weaviate.classes.data import DataObject

from elysia_dagster.models import ScannedObject, StoreObject
from elysia_dagster.stores.objects import instant

SCANNED = ["repository", "relative_path", "chunk_index", "content_hash", "write_hash"]
"""Properties that a scan reads."""


def to_data_object(item: StoreObject, vector_name: str | None) -> DataObject[dict[str, Any], None]:
    """An object as the client takes it.

    A commit that is not known is an empty text: Weaviate's Elysia takes the shortest of a text property's values, and
    stops where a property has none.
    """
    properties: dict[str, Any] = {
        "file_path": item.file_path,
        "relative_path": item.relative_path,
        "file_name": item.file_name,
        "repository": item.repository,
        "language": item.language,
        "extension": item.extension,
        "content_hash": item.content_hash,
        "write_hash": item.write_hash,
        "content": item.content,
        "size_bytes": item.size_bytes,
        "line_count": item.line_count,
        "document_id": item.document_id,
        "chunk_index": item.chunk_index,
        "start_line": item.start_line,
        "end_line": item.end_line,
        "commit": item.commit or "",
    }
    if (modified := instant(item.last_modified)) is not None:
        properties["last_modified"] = modified.isoformat()
    return DataObject(properties=properties, uuid=item.id, vector=_vector(item.vector, vector_name))


def _vector(vector: np.ndarray | None, name: str | None) -> Any:
    if vector is None:
        return None
    values = vector.tolist()
    return values if name is None else {name: values}


def scanned(found: Any, vector_name: str | None) -> ScannedObject:
    """What a scan tells of an object of the client."""
    properties = found.properties
    return ScannedObject(
        id=str(found.uuid),
        repository=properties.get("repository") or "",
        relative_path=properties.get("relative_path") or "",
        chunk_index=int(properties.get("chunk_index") or 0),
        content_hash=properties.get("content_hash") or "",
        write_hash=properties.get("write_hash") or "",
        has_vector=has_vector(found, vector_name),
    )


def has_vector(found: Any, vector_name: str | None) -> bool:
    """Whether an object of the client has the vector."""
    vectors = found.vector or {}
    return bool(vectors.get(vector_name or "default"))


def distinct(ids: Iterable[str]) -> list[str]:
    """Each id once, in order; only what can be an id of this store (a UUID)."""
    return [each for each in dict.fromkeys(ids) if is_uuid(each)]


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID as this project and the server write it; the client raises for much else."""
    return _UUID.fullmatch(text) is not None


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
