"""LangChain and LlamaIndex with the settings that were found best, and beside each what its documentation shows.

Measured with 3,000 documents of 2 kB, 256 dimensions, on two shared cores (first sync; 1 % changed and 1 % deleted):

The collection is made before the first sync, with the indexes that are asked (``connection.py``): LlamaIndex' first
sync took 7.3 s without and 3.5 to 5.3 s with it, LangChain's 3.8 to 6.0 s and 3.3 to 3.5 s. The figures below are from
before that, on a machine with less else to do.

LangChain. ``aindex`` with an async client writes by ``insert_many``, ``index`` by the client's dynamic batches, which
wait a second for more whenever a batch is not full: 2.7 s and 0.7 s with ``aindex``; with ``index`` 33 s and 32 s at
``batch_size`` 100, 8.5 s and 6.9 s at 500, 5.8 s and 3.8 s at 1,000, 3.6 s and 1.9 s at 3,000. So ``aindex`` is best,
and there 100, 500 and 1,000 are alike: 200 loses less by a kill than 500. ``index``, which the documentation shows,
gets 1,000.
``key_encoder``: a function of one hash (``sha1``, the default, is a quarter slower in the first sync and warns;
``sha256``, ``sha512`` and ``blake2b`` give ids that Weaviate refuses, since they are no UUIDs).
``CacheBackedEmbeddings`` keeps embeddings on disk over a kill, and makes a first sync 1.4 times as long.

LlamaIndex. The nodes have ids of their own that stay, so that a second write overwrites the first (by default they are
random), and a document's id is the UUID of its path, indexed as a whole. ``vector_store.delete`` filters by it, and
LlamaIndex' own schema indexes its words: with paths as ids, deleting ``src/a.py`` deleted ``src/b/a.py`` too, and even
``src/b.py``, since ``a`` is a stop word. The cache of transformations is off: it hashes all texts as one and keeps
every vector a second time, as JSON. ``arun`` writes by ``insert_many``: 3.9 s and 0.7 s; ``run`` 6.0 s and 1.6 s with
dynamic batches, 3.8 s and 1.5 s with fixed ones of 500. One call remembers nothing until its end; a loop over slices
does, with the docstore persisted after each, and a last call over all for what is to be deleted: 3.5 s and 1.0 s with
slices of 500.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import ScriptContender
from benchmarks.peers.environment import peers_environment, peers_python
from benchmarks.peers.orders import Server


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A library, and its options as its script reads them."""

    name: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)


def _langchain(api: str, batch_size: int, cleanup: str, *, embedding_cache: bool = False) -> Settings:
    cache = ", CacheBackedEmbeddings" if embedding_cache else ""
    return Settings(
        name=f'LangChain {api}(batch_size={batch_size}, cleanup="{cleanup}"{cache})',
        module="benchmarks.peers.langchain_sync",
        options={
            "api": api,
            "batch_size": batch_size,
            "cleanup": cleanup,
            "key_encoder": "own",
            "embedding_cache": embedding_cache,
        },
    )


def _llamaindex(api: str, *, fixed_size: int | None = None, slice_size: int | None = None) -> Settings:
    detail = f", slices of {slice_size}" if slice_size else f", batches of {fixed_size}" if fixed_size else ""
    return Settings(
        name=f"LlamaIndex {api}(upserts_and_delete{detail})",
        module="benchmarks.peers.llamaindex_sync",
        options={
            "api": api,
            "embed_batch_size": 500,
            "strategy": "upserts_and_delete",
            "slice": slice_size,
            "fixed_size": fixed_size,
        },
    )


SETTINGS = {
    "LangChainAsync": _langchain("aindex", 200, "full"),
    "LangChainAsyncIncremental": _langchain("aindex", 200, "incremental"),
    "LangChainAsyncCache": _langchain("aindex", 200, "full", embedding_cache=True),
    "LangChain": _langchain("index", 1000, "full"),
    "LangChainIncremental": _langchain("index", 1000, "incremental"),
    "LlamaIndexSlices": _llamaindex("arun", slice_size=500),
    "LlamaIndexAsync": _llamaindex("arun"),
    "LlamaIndex": _llamaindex("run", fixed_size=500),
}
"""By what their collections' names hold."""


def peers(server: Server, folder: Path, only: list[str] | None = None) -> list[ScriptContender]:
    """The peers as contenders, all or some. A digit ends what a collection's name begins with, so that none of them
    begins another."""
    return [
        ScriptContender(
            name=settings.name,
            python=peers_python,
            module=settings.module,
            options=settings.options,
            environment=peers_environment,
            server=server,
            folder=folder / label,
            collection=f"{label}0",
        )
        for label, settings in SETTINGS.items()
        if not only or label in only
    ]
