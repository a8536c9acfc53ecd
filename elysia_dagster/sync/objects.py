"""A document's chunks as the vector store holds them."""

from datetime import UTC, datetime

from elysia_dagster.models import StoreObject, document_id, object_id
from elysia_dagster.sync.batch import EmbeddedBatch, PreparedChange
from elysia_dagster.sync.languages import extension_of, language_of


def objects_of(
    batch: EmbeddedBatch, change: PreparedChange, *, collection: str, commit: str | None
) -> list[StoreObject]:
    """One object for each chunk of a change of the batch. ``commit`` says where its repository stands, if told.

    Vectors of no dimensions are none: the store makes its own.
    """
    repository, path = change.planned.repository, change.planned.path
    document = document_id(collection, repository, path)
    modified = datetime.fromtimestamp(change.modified_at, UTC).isoformat() if change.modified_at is not None else None
    first = change.rows[0]
    has_vectors = batch.vectors.shape[1] > 0
    return [
        StoreObject(
            id=object_id(collection, repository, path, chunk.index),
            vector=batch.vectors[first + chunk.index] if has_vectors else None,
            file_path=f"{repository}/{path}",
            relative_path=path,
            file_name=path.rpartition("/")[2],
            repository=repository,
            language=language_of(path),
            extension=extension_of(path),
            content_hash=change.content_hash or "",
            write_hash=batch.write_hashes[first + chunk.index],
            content=chunk.text,
            size_bytes=change.size_bytes,
            line_count=change.line_count,
            last_modified=modified,
            document_id=document,
            chunk_index=chunk.index,
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            commit=commit,
        )
        for chunk in change.chunks
    ]
