"""LlamaIndex: ``IngestionPipeline`` with a persisted docstore and llama-index-vector-stores-weaviate.

Run in the peers' environment: ``python -m benchmarks.peers.llamaindex_sync ORDER``.
"""

import time

BEGAN = time.perf_counter()

import asyncio  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any  # noqa: E402
from uuid import NAMESPACE_URL, uuid5  # noqa: E402

from llama_index.core.embeddings import BaseEmbedding  # noqa: E402
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline  # noqa: E402
from llama_index.core.schema import (  # noqa: E402
    BaseNode,
    Document,
    NodeRelationship,
    TextNode,
    TransformComponent,
)
from llama_index.core.storage.docstore import SimpleDocumentStore  # noqa: E402
from llama_index.vector_stores.weaviate import WeaviateVectorStore  # noqa: E402
from pydantic import PrivateAttr  # noqa: E402

from benchmarks.peers.connection import async_client, connect, ensure_collection  # noqa: E402
from benchmarks.peers.documents import read_documents  # noqa: E402
from benchmarks.peers.embedder import CountingEmbedder  # noqa: E402
from benchmarks.peers.orders import WorkOrder, carry_out  # noqa: E402

KEYS = ["ref_doc_id", "doc_id", "document_id", "path"]
UNASKED = ["node_info", "relationships", "_node_content", "_node_type"]
"""The properties that the vector store writes."""


class PeerEmbedding(BaseEmbedding):
    """The common embedder under LlamaIndex's interface."""

    _embedder: CountingEmbedder = PrivateAttr()

    def __init__(self, embedder: CountingEmbedder, **settings: Any) -> None:
        super().__init__(**settings)
        self._embedder = embedder

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.vectors(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.vectors(texts)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.vectors([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.vectors([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._embedder.vectors([query])[0]


class OneNodeEach(TransformComponent):
    """A node for each document, with an id of its own that stays, and the document as its source: by that source
    the vector store deletes."""

    def __call__(self, nodes: Sequence[BaseNode], **_: Any) -> Sequence[BaseNode]:
        """The nodes."""
        return [
            TextNode(
                id_=str(uuid5(NAMESPACE_URL, f"{each.id_} 0")),
                text=each.get_content(),
                metadata=each.metadata,
                excluded_embed_metadata_keys=["path"],
                relationships={NodeRelationship.SOURCE: each.as_related_node_info()},
            )
            for each in nodes
        ]


def load(order: WorkOrder) -> list[Document]:
    """The documents of the order."""
    return [
        Document(id_=each.id, text=each.text, metadata={"path": each.path}, excluded_embed_metadata_keys=["path"])
        for each in read_documents(order.documents)
    ]


def pipeline(order: WorkOrder, embedder: CountingEmbedder, store: WeaviateVectorStore) -> IngestionPipeline:
    """The pipeline as the last run left it."""
    docstore = order.state / "docstore.json"
    return IngestionPipeline(
        transformations=[
            OneNodeEach(),
            PeerEmbedding(embedder, embed_batch_size=order.options["embed_batch_size"]),
        ],
        vector_store=store,
        docstore=SimpleDocumentStore.from_persist_path(str(docstore)) if docstore.exists() else SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy(order.options["strategy"]),
        disable_cache=True,
    )


def sync(order: WorkOrder, embedder: CountingEmbedder) -> dict[str, int]:
    """One run: all documents at once, or with ``slice`` so many at a time, each remembered when it is done.

    A slice takes only ``upserts``: with ``upserts_and_delete`` it would delete all that is not in it. What is gone is
    deleted by a last look at all documents, if that is the strategy.
    """
    return asyncio.run(sync_async(order, embedder))


async def sync_async(order: WorkOrder, embedder: CountingEmbedder) -> dict[str, int]:
    """The same, by ``run`` or by ``arun``."""
    documents = load(order)
    size = order.options["slice"] or len(documents)
    nodes = 0
    is_async = order.options["api"] == "arun"
    with connect(order.server) as client:
        ensure_collection(client, order.collection, text="text", keys=KEYS, unasked=UNASKED)
        async with async_client(order.server) as other:
            if is_async:
                store = WeaviateVectorStore(weaviate_client=other, index_name=order.collection)
            else:
                custom = {}
                if order.options.get("fixed_size"):
                    custom = {"custom_batch": client.batch.fixed_size(order.options["fixed_size"], 2)}
                store = WeaviateVectorStore(weaviate_client=client, index_name=order.collection, client_kwargs=custom)
            work = pipeline(order, embedder, store)
            strategy = work.docstore_strategy
            turns = []
            if order.options["slice"]:
                several = iter(documents)
                while some := list(islice(several, size)):
                    turns.append((DocstoreStrategy.UPSERTS, some))
            if strategy is DocstoreStrategy.UPSERTS_AND_DELETE or not turns:
                turns.append((strategy, documents))
            for work.docstore_strategy, some in turns:
                done = await work.arun(documents=some) if is_async else work.run(documents=some)
                nodes += len(done)
                if done or some is documents:
                    work.docstore.persist(str(order.state / "docstore.json"))
    return {"nodes": nodes}


if __name__ == "__main__":
    carry_out(sync, ["weaviate", "weaviate-client", "llama_index"], BEGAN)
