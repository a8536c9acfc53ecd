"""What a first sync into Weaviate costs without everything that makes it resumable: chunk, embed, ``insert_many``.

The same chunker, embedder, schema and objects with all their properties, in batches of 200 documents, one after the
other: no checkpoint, no batch files, no reading back, no second thread. ``python -m benchmarks.on_weaviate.bare_insert
ORDER``.
"""

import time

BEGAN = time.perf_counter()

import hashlib  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any  # noqa: E402

from weaviate.classes.data import DataObject  # noqa: E402

from benchmarks.on_weaviate.own_sync import CommonEmbedder  # noqa: E402
from benchmarks.peers.connection import connect  # noqa: E402
from benchmarks.peers.documents import SourceDocument, read_documents  # noqa: E402
from benchmarks.peers.embedder import DIMENSIONS, CountingEmbedder  # noqa: E402
from benchmarks.peers.orders import WorkOrder, carry_out  # noqa: E402
from benchmarks.world import REPOSITORY_NAME  # noqa: E402
from elysia_dagster.models import document_id, object_id  # noqa: E402
from elysia_dagster.settings import Settings  # noqa: E402
from elysia_dagster.stores.weaviate_address import parse_address  # noqa: E402
from elysia_dagster.stores.weaviate_schema import DEFAULT_VECTOR, new_collection  # noqa: E402
from elysia_dagster.sync.batch import write_hash  # noqa: E402
from elysia_dagster.sync.chunk import CHUNKER_ID, chunk_text  # noqa: E402
from elysia_dagster.sync.languages import extension_of, language_of  # noqa: E402

BATCH = 200


def sync(order: WorkOrder, embedder: CountingEmbedder) -> dict[str, int]:
    """Writes all documents into a new collection; the number of objects. Raises ``RuntimeError`` for a rejection."""
    server = order.server
    address = parse_address(f"weaviate:http://{server.host}:{server.http_port}", server="", tenant="", vector="")
    schema = new_collection(order.collection, address, Settings(), dimensions=DIMENSIONS, text="A bare loop's.")
    written = 0
    with connect(server) as client:
        client.collections.create_from_dict(schema)
        collection = client.collections.use(order.collection)
        documents = read_documents(order.documents)
        while some := list(islice(documents, BATCH)):
            made = [each for document in some for each in _properties(order.collection, document)]
            vectors = embedder.array([each["content"] for each in made])
            known_by = [
                write_hash(
                    each["content"],
                    vector,
                    model_id=CommonEmbedder.model_id,
                    chunker=CHUNKER_ID,
                    content_hash=each["content_hash"],
                )
                for each, vector in zip(made, vectors, strict=True)
            ]
            answer = collection.data.insert_many(
                [
                    DataObject(
                        properties={**each, "write_hash": digest},
                        uuid=object_id(order.collection, REPOSITORY_NAME, each["relative_path"], each["chunk_index"]),
                        vector={DEFAULT_VECTOR: vector},
                    )
                    for each, vector, digest in zip(made, vectors.tolist(), known_by, strict=True)
                ]
            )
            if answer.has_errors:
                raise RuntimeError(str(answer.errors)[:300])
            written += len(made)
    return {"written": written}


def _properties(collection: str, document: SourceDocument) -> Iterator[dict[str, Any]]:
    path, data = document.path, document.text.encode()
    content_hash = hashlib.sha256(data).hexdigest()
    for chunk in chunk_text(document.text, path):
        yield {
            "file_path": f"{REPOSITORY_NAME}/{path}",
            "relative_path": path,
            "file_name": path.rpartition("/")[2],
            "repository": REPOSITORY_NAME,
            "language": language_of(path),
            "extension": extension_of(path),
            "content_hash": content_hash,
            "content": chunk.text,
            "size_bytes": len(data),
            "line_count": document.text.count("\n") + (not document.text.endswith("\n")),
            "document_id": document_id(collection, REPOSITORY_NAME, path),
            "chunk_index": chunk.index,
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
            "commit": "",
        }


if __name__ == "__main__":
    carry_out(sync, ["weaviate", "weaviate-client"], BEGAN)
