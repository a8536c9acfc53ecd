"""A Weaviate server that gives little in one answer: what is read of it is asked for in smaller pages, and is whole."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from weaviate_server import WeaviateServer

from elysia_dagster.models import StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

pytestmark = [
    pytest.mark.weaviate,
    pytest.mark.usefixtures("weaviate_binary"),
]

MakeObject = Callable[..., StoreObject]
NAME = "Narrow"
NARROW = {"GRPC_MAX_MESSAGE_SIZE": "2000000", "QUERY_MAXIMUM_RESULTS": "100"}
DIMENSIONS = 8192
"""Of 62 objects, which is what 1,000 come to where 100 are too many, the vectors are more than two megabytes."""
OBJECTS = 250


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeaviateServer]:
    """A server whose answers have two megabytes and 100 objects at most."""
    with WeaviateServer(tmp_path_factory.mktemp("narrow"), environment=NARROW) as server:
        yield server


@pytest.fixture
def store(narrow: WeaviateServer) -> Iterator[VectorStore]:
    """A store on it with an empty collection; nothing is known of the server yet."""
    opened = open_store(narrow.url, Settings(store_retry_s=5.0))
    opened.ensure_collection(NAME, incarnation="one", model_id="hash-1", dimensions=DIMENSIONS)
    yield opened
    opened.close()


@pytest.fixture
def items(store: VectorStore, make: MakeObject) -> list[StoreObject]:
    """Objects of two repositories, one of which alone is more than an answer holds."""
    chance = np.random.default_rng(1)

    def item(number: int) -> StoreObject:
        vector = chance.standard_normal(DIMENSIONS).astype(np.float32)
        repository = "small" if number % 5 == 0 else "large"
        return make(f"{number}.py", repository=repository, vector=vector / np.linalg.norm(vector))

    made = [item(number) for number in range(OBJECTS)]
    assert store.upsert(NAME, made) == [None] * OBJECTS
    return made


def test_everything_is_read_in_pages_that_the_server_gives(
    store: VectorStore, items: list[StoreObject], make: MakeObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [make(f"missing-{number}.py").id for number in range(OBJECTS)]
    hashes = {item.id: item.write_hash for item in items}
    assert store.fetch_hashes(NAME, [*hashes, *missing]) == hashes
    for repository in (None, "small", "large"):
        found = list(store.scan(NAME, repository=repository))
        assert all(each.has_vector for each in found)
        of_it = [item.id for item in items if repository in (None, item.repository)]
        assert sorted(each.id for each in found) == sorted(of_it)
    assert store.count_by_repository(NAME) == {"small": 50, "large": 200}
    assert [store.count(NAME, repository=name) for name in ("small", "large")] == [50, 200]

    # what was found out is not found out again
    refused: list[Exception] = []
    call = store._connection.call  # type: ignore[attr-defined]

    def seen(*arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except Exception as error:
            refused.append(error)
            raise

    monkeypatch.setattr(store._connection, "call", seen)  # type: ignore[attr-defined]
    assert len(list(store.scan(NAME))) == OBJECTS
    assert len(store.fetch_hashes(NAME, list(hashes))) == OBJECTS
    assert not refused
