"""A world whose store is a Weaviate server, and the truth about it."""

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from crash.held import asking, drop_collection, weaviate_holds
from crash.oracle import COLLECTION, Line
from crash.scenario import inline
from crash.within import assert_applied
from sync_world import World

from elysia_dagster.sync.engine import Engine

SAME_VECTOR = 1e-5
"""Cosine distance of a vector to itself, at most: float32 has seven digits."""

INDEXED_WITHIN_S = 30.0
"""A server that indexes on its own time is behind for some seconds."""

IMPATIENT = {"store_connect_timeout_s": 5.0, "store_query_timeout_s": 10.0, "store_insert_timeout_s": 20.0}
"""Time limits that a healthy server on this machine is never near."""


def prose(seed: int) -> str:
    """A text of five chunks or so, of words that no other text has."""
    chance = Random(seed)
    words = ("".join(chance.choices("bcdfghjklmnpqrstvwxyzaeiou", k=7)) for _ in range(1_300))
    return " ".join(words) + "\n"


LARGE: tuple[Line, ...] = tuple(inline(("repo", f"d{n}.txt"), prose(n)) for n in range(120))
"""Some 600 objects, in batches of 40 lines a full request each."""


class WeaviateWorld(World):
    """A ``World`` on the server of the store URL ``server``, whose collection of that name is dropped first.

    ``through`` is the URL that the engine uses, where a proxy stands between; the truth is read from ``server``. The
    model of ``crash.oracle`` knows the collection ``Demo`` alone.
    """

    def __init__(
        self, base: Path, server: str, *, collection: str = COLLECTION, through: str = "", **settings: Any
    ) -> None:
        self.weaviate = server
        self.collection = collection
        self._settings: dict[str, Any] = {"store": through or server, **IMPATIENT, **settings}
        drop_collection(server, collection)
        super().__init__(base)

    def open_engine(self, *, parts: dict[str, Any] | None = None, **settings: Any) -> Engine:
        """Another engine on the same state and server."""
        return super().open_engine(parts=parts, **{**self._settings, **settings})


def assert_truth(world: World, *changesets: Sequence[Line]) -> None:
    """Collection, ledger and runs are what these changesets make of them."""
    assert_applied(world, *changesets)


def assert_searchable(url: str, collection: str = COLLECTION) -> None:
    """The vector index holds every object that the collection holds: a search for its vector finds it.

    For texts of words of their own. Where many vectors are nearer to one of them than to each other, an HNSW graph
    loses most of them (server 1.38.11: 124 of 200 texts that differ in one name; none of 5,600 chunks of real source).
    """
    held = weaviate_holds(url, collection)

    def missing(client: Any) -> list[str]:
        query = client.collections.use(collection).query
        names = []
        for each in held:
            assert each.vector is not None
            found = query.near_vector(each.vector.tolist(), limit=1, return_metadata=["distance"]).objects
            if not found or found[0].metadata.distance > SAME_VECTOR:
                names.append(each.properties["file_path"])
        return names

    deadline = time.monotonic() + INDEXED_WITHIN_S
    while names := asking(url, missing):
        assert time.monotonic() < deadline, f"{len(names)} of {len(held)} objects are not in the index: {names[:5]}"
        time.sleep(0.5)
