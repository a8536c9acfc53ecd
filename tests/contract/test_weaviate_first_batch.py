"""A server killed within a collection's very first batch loses what it had counted, and deletes all the same.

See ``stores/weaviate_prime.py``.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from crash.held import asking
from weaviate_server import WeaviateServer

from elysia_dagster.models import OBJECT_NAMESPACE, SearchMode, SearchQuery, StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

pytestmark = pytest.mark.weaviate

MakeObject = Callable[..., StoreObject]
NAME = "First"
OBJECTS = 90


@pytest.fixture
def own_server(tmp_path: Path, weaviate_binary: None) -> Iterator[WeaviateServer]:
    """A server whose files the test changes while it is dead."""
    with WeaviateServer(tmp_path / "weaviate") as server:
        yield server


def ensure(store: VectorStore) -> None:
    """Makes the collection, or sees that it is there, as each run does."""
    store.ensure_collection(NAME, incarnation="one", model_id="hash-1", dimensions=8)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_server_killed_in_the_first_batch_deletes_and_finds(
    own_server: WeaviateServer, make: MakeObject, shards: int
) -> None:
    """It is as if it had been killed just before it saved how long the texts of its first batch are."""
    items = [make(f"{number}.py", repository=f"r{number % 2}", content=f"common {number}") for number in range(OBJECTS)]
    with closing(open_store(own_server.url, Settings(weaviate_shards=shards))) as store:
        ensure(store)
        assert store.count(NAME) == 0
        lengths = {path: path.read_bytes() for path in own_server.data.rglob("proplengths")}
        assert len(lengths) == shards
        assert store.upsert(NAME, items) == [None] * OBJECTS
        own_server.kill()
        for path, before in lengths.items():
            assert path.read_bytes() != before, "the batch is counted in each shard"
            path.write_bytes(before)
        own_server.start()
        store.delete_objects(NAME, [each.id for each in items[:60]])
        assert store.count_by_repository(NAME) == {"r0": 15, "r1": 15}
        assert store.upsert(NAME, items[:60]) == [None] * 60
        assert store.count_by_repository(NAME) == {"r0": 45, "r1": 45}
        assert store.count(NAME, repository="r0") == 45
        assert {each.id for each in store.scan(NAME)} == {each.id for each in items}
        by_words = SearchQuery(text="common", mode=SearchMode.TEXT, limit=OBJECTS)
        assert len(store.search(NAME, by_words)) == OBJECTS
        by_vector = SearchQuery(text="", vector=items[0].vector, mode=SearchMode.VECTOR, limit=10)
        assert len(store.search(NAME, by_vector)) == 10


def test_priming_that_was_cut_short_is_done_again(weaviate_url: str, make: MakeObject) -> None:
    """What it left goes with the next start, as long as there is nothing else; later it is nobody's to be removed."""
    probe = str(uuid.uuid5(OBJECT_NAMESPACE, f"{NAME}\0{0}"))

    def put_probe(client: Any) -> None:
        client.collections.use(NAME).data.insert(uuid=probe, properties={"content": "a"})

    with closing(open_store(weaviate_url, Settings())) as store:
        try:
            ensure(store)
            asking(weaviate_url, put_probe)
            assert store.count(NAME) == 1
            with closing(open_store(weaviate_url, Settings())) as another:  # the process that left it is dead
                ensure(another)
            assert store.count(NAME) == 0
            item = make("a.py")
            assert store.upsert(NAME, [item]) == [None]
            asking(weaviate_url, put_probe)
            with closing(open_store(weaviate_url, Settings())) as another:
                ensure(another)
            assert {each.id for each in store.scan(NAME)} == {item.id, probe}
        finally:
            asking(weaviate_url, lambda client: client.collections.delete(NAME))
