"""LangChain: ``index()`` with a ``SQLRecordManager`` in SQLite and langchain-weaviate.

Run in the peers' environment: ``python -m benchmarks.peers.langchain_sync ORDER``.
"""

import time

BEGAN = time.perf_counter()

import asyncio  # noqa: E402
import hashlib  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402

from langchain_classic.embeddings import CacheBackedEmbeddings  # noqa: E402
from langchain_classic.indexes import SQLRecordManager, aindex, index  # noqa: E402
from langchain_classic.storage import LocalFileStore  # noqa: E402
from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import Embeddings  # noqa: E402
from langchain_weaviate import WeaviateVectorStore  # noqa: E402

from benchmarks.peers.connection import async_client, connect, ensure_collection  # noqa: E402
from benchmarks.peers.documents import read_documents  # noqa: E402
from benchmarks.peers.embedder import CountingEmbedder  # noqa: E402
from benchmarks.peers.orders import WorkOrder, carry_out  # noqa: E402


class PeerEmbeddings(Embeddings):
    """The common embedder under LangChain's interface."""

    def __init__(self, embedder: CountingEmbedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of documents."""
        return self._embedder.vectors(texts)

    def embed_query(self, text: str) -> list[float]:
        """A vector of a question: not used."""
        return self._embedder.vectors([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same, without a thread."""
        return self._embedder.vectors(texts)


def key(document: Document) -> str:
    """An id of path and text, as a UUID, by one hash."""
    content = f"{document.metadata['path']}\0{document.page_content}".encode()
    return str(uuid.UUID(bytes=hashlib.blake2b(content, digest_size=16).digest()))


def load(order: WorkOrder) -> Iterator[Document]:
    """The documents of the order."""
    for each in read_documents(order.documents):
        yield Document(page_content=each.text, metadata={"path": each.path})


def embeddings(order: WorkOrder, embedder: CountingEmbedder) -> Embeddings:
    """The embedder, behind LangChain's cache of embeddings on disk if ``embedding_cache`` is set."""
    plain = PeerEmbeddings(embedder)
    if not order.options.get("embedding_cache"):
        return plain
    store = LocalFileStore(str(order.state / "embeddings"))
    return CacheBackedEmbeddings.from_bytes_store(plain, store, key_encoder="blake2b")


def settings(order: WorkOrder) -> dict[str, Any]:
    """The arguments of ``index`` that are settings."""
    encoder = order.options["key_encoder"]
    return {
        "batch_size": order.options["batch_size"],
        "cleanup": order.options["cleanup"],
        "source_id_key": "path",
        "key_encoder": key if encoder == "own" else encoder,
    }


def sync(order: WorkOrder, embedder: CountingEmbedder) -> dict[str, int]:
    """One run; what ``index`` answers."""
    if order.options["api"] == "aindex":
        return asyncio.run(sync_async(order, embedder))
    records = SQLRecordManager(order.collection, db_url=f"sqlite:///{order.state}/records.db")
    records.create_schema()
    with connect(order.server) as client:
        ensure_collection(client, order.collection, text="text", keys=["path"], unasked=[])
        store = WeaviateVectorStore(client, order.collection, "text", embeddings(order, embedder), attributes=["path"])
        return dict(index(load(order), records, store, **settings(order)))


async def sync_async(order: WorkOrder, embedder: CountingEmbedder) -> dict[str, int]:
    """The same by ``aindex``."""
    url = f"sqlite+aiosqlite:///{order.state}/records.db"
    records = SQLRecordManager(order.collection, db_url=url, async_mode=True)
    await records.acreate_schema()
    with connect(order.server) as client:
        ensure_collection(client, order.collection, text="text", keys=["path"], unasked=[])
        async with async_client(order.server) as other:
            store = WeaviateVectorStore(
                client,
                order.collection,
                "text",
                embeddings(order, embedder),
                attributes=["path"],
                client_async=other,
            )
            answer = await aindex(load(order), records, store, **settings(order))
    await records.engine.dispose()
    return dict(answer)


if __name__ == "__main__":
    carry_out(sync, ["weaviate", "weaviate-client", "langchain_weaviate.vectorstores"], BEGAN)
