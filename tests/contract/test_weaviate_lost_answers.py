"""Requests to a Weaviate server whose answers are lost, or never come: what is there is the truth, and time is kept."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crash.held import asking
from tcp_proxy import TcpProxy
from waiting import wait_until

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import SearchMode, SearchQuery, StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

MakeObject = Callable[..., StoreObject]

IMPATIENT: dict[str, Any] = {
    "store_connect_timeout_s": 2.0,
    "store_query_timeout_s": 2.0,
    "store_insert_timeout_s": 3.0,
    "store_retry_s": 1.0,
}


DEAF: dict[str, Any] = {"store_insert_timeout_s": 5.0}
"""grpcio 1.78 does not always tell a call that its connection was reset: the call then ends with its deadline alone."""


@pytest.fixture
def address(weaviate_url: str) -> str:
    """The shared server: nothing here is about another store."""
    return weaviate_url


@pytest.fixture
def proxy(address: str) -> Iterator[TcpProxy]:
    """Stands before the server's gRPC port."""
    with TcpProxy(int(address.rpartition("grpc_port=")[2])) as between:
        yield between


@pytest.fixture
def open_through(address: str, proxy: TcpProxy) -> Iterator[Callable[..., VectorStore]]:
    """Opens the store by way of the proxy."""
    opened: list[VectorStore] = []

    def open_client(**settings: Any) -> VectorStore:
        url = f"{address.partition('?')[0]}?grpc_port={proxy.port}"
        opened.append(open_store(url, Settings(**settings)))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


def assert_whole(store: VectorStore, collection: str, items: list[StoreObject]) -> None:
    """Every object is there once, as it is, with its vector, and a search finds it."""
    found = {each.id: (each.write_hash, each.has_vector) for each in store.scan(collection)}
    assert found == {item.id: (item.write_hash, True) for item in items}
    for item in items:
        query = SearchQuery(text="", vector=item.vector, mode=SearchMode.VECTOR, limit=1)
        assert found_by(store, collection, query) == [item.relative_path]


def found_by(store: VectorStore, collection: str, query: SearchQuery) -> list[str]:
    """The paths that a search finds, once it finds any.

    A request that was held up and is let go replaces its object once more: for a moment the vector is out of the index.
    """
    until = time.monotonic() + 60
    while not (found := store.search(collection, query)) and time.monotonic() < until:
        time.sleep(0.05)
    return [each.relative_path for each in found]


def test_a_lost_answer_costs_nothing_but_time(
    open_through: Callable[..., VectorStore],
    proxy: TcpProxy,
    collection: str,
    make: MakeObject,
) -> None:
    store = open_through(**DEAF)
    store.ensure_collection(collection, incarnation="one", model_id="hash-1", dimensions=8)
    items = [make(f"{number}.py") for number in range(20)]
    for use in (store.upsert, store.upsert):  # the first time, and over what is there
        store.count(collection)
        cut = proxy.cut
        proxy.cut_answer()
        assert use(collection, items) == [None] * 20
        assert proxy.cut == cut + 1
        assert_whole(store, collection, items)
    store.count(collection)
    proxy.cut_answer()
    store.delete_objects(collection, [item.id for item in items])
    assert store.count(collection) == 0


def test_an_object_without_its_vector_is_removed_and_written_anew(
    open_through: Callable[..., VectorStore], proxy: TcpProxy, address: str, collection: str, make: MakeObject
) -> None:
    """Half of the objects are there without vectors, with the right hash: to write the same again mends none."""
    from weaviate.classes.data import DataObject

    store = open_through(**DEAF)
    store.ensure_collection(collection, incarnation="one", model_id="hash-1", dimensions=8)
    items = [make(f"{number}.py") for number in range(20)]
    bare = [DataObject(uuid=item.id, properties={"write_hash": item.write_hash}) for item in items[::2]]
    asking(address, lambda client: client.collections.use(collection).data.insert_many(bare))
    store.count(collection)
    proxy.on_request_bytes(200, proxy.reset)  # the request goes down on its way
    assert store.upsert(collection, items) == [None] * 20
    assert_whole(store, collection, items)


@pytest.mark.parametrize(
    "use",
    [
        lambda store, name, item: store.upsert(name, [item]),
        lambda store, name, item: store.delete_objects(name, [item.id]),
        lambda store, name, item: store.delete_documents(name, [item.document_id]),
        lambda store, name, item: store.fetch_hashes(name, [item.id]),
        lambda store, name, item: store.count(name),
    ],
    ids=["upsert", "delete_objects", "delete_documents", "fetch_hashes", "count"],
)
@pytest.mark.parametrize("way", ["stall", "hold_answers"])
def test_no_call_takes_longer_than_the_store_says(
    open_through: Callable[..., VectorStore],
    proxy: TcpProxy,
    collection: str,
    make: MakeObject,
    use: Callable[[VectorStore, str, StoreObject], object],
    way: str,
) -> None:
    """And then it goes on, as a run does: all of a document whose write was interrupted goes before it is written.

    A server that is told in the middle of an insert that nobody waits for it keeps the object and leaves the index
    alone (1.38.11, in 32 of 60 such requests); it gives none to the same object again.
    """
    store = open_through(**IMPATIENT)
    store.ensure_collection(collection, incarnation="one", model_id="hash-1", dimensions=8)
    store.count(collection)
    getattr(proxy, way)()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as error:
        use(store, collection, make())
    assert time.monotonic() - began < store.request_timeout_s
    assert error.value.next_step
    proxy.release()
    wait_until("The requests that were held up and given up", lambda: proxy.open_connections <= 1)
    item = make()
    store.delete_objects(collection, [item.id])  # one of them may have left it without its place in the vector index
    assert store.upsert(collection, [item]) == [None], "the same store goes on when the network does"
    assert_whole(store, collection, [item])
