"""How many requests a Weaviate server gets for a batch, as its own metrics count them."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from weaviate import WeaviateClient
from weaviate.collections.data import _DataCollection as DataCollection
from weaviate_server import WeaviateServer

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

pytestmark = [
    pytest.mark.weaviate,
    pytest.mark.usefixtures("weaviate_binary"),
]

MakeObject = Callable[..., StoreObject]
NAME = "Counted"
MESSAGE_BYTES = 1_000_000
COUNTING = {"PROMETHEUS_MONITORING_ENABLED": "true", "GRPC_MAX_MESSAGE_SIZE": str(MESSAGE_BYTES)}


@pytest.fixture
def counting_server(tmp_path: Path) -> Iterator[WeaviateServer]:
    """A server that counts its requests, and takes messages of one megabyte at most."""
    with WeaviateServer(tmp_path / "weaviate", environment=COUNTING) as server:
        yield server


@pytest.fixture
def store(counting_server: WeaviateServer) -> Iterator[VectorStore]:
    """A store on it with an empty collection."""
    opened = open_store(counting_server.url, Settings())
    opened.ensure_collection(NAME, incarnation="one", model_id="hash-1", dimensions=8)
    yield opened
    opened.close()


def requests_of(server: WeaviateServer, method: str) -> int:
    """How many calls of a gRPC method the server has answered."""
    with urlopen(f"http://127.0.0.1:{server.ports.metrics}/metrics") as answer:
        metrics = answer.read().decode()
    counts = re.findall(
        rf'^weaviate_grpc_server_request_duration_seconds_count{{[^}}]*method="{method}"[^}}]*}} (\d+)$',
        metrics,
        re.MULTILINE,
    )
    return sum(map(int, counts))


class Since:
    """Counts from now on: what made the collection is left out."""

    def __init__(self, server: WeaviateServer) -> None:
        self._server = server
        self._before = {method: requests_of(server, method) for method in ("BatchObjects", "Search", "BatchDelete")}

    def requests_of(self, method: str) -> int:
        """How many calls of a gRPC method have come since."""
        return requests_of(self._server, method) - self._before[method]


def test_requests_are_as_few_and_as_large_as_the_server_takes(
    counting_server: WeaviateServer, store: VectorStore, make: MakeObject
) -> None:
    since = Since(counting_server)
    items = [make(f"{number}.py") for number in range(200)]
    assert store.upsert(NAME, items) == [None] * 200
    assert since.requests_of("BatchObjects") == 1, "a batch of 200 is one request"
    assert len(store.fetch_hashes(NAME, [item.id for item in items])) == 200
    assert since.requests_of("Search") == 1, "and so is what is read back"
    store.delete_objects(NAME, [item.id for item in items])
    assert since.requests_of("BatchDelete") == 1

    # 4 MB are more than the server takes at once, though less than the settings allow: cut beforehand, nothing refused
    large = [replace(item, content="x y " * 5_000, write_hash="large") for item in items]
    assert store.upsert(NAME, large) == [None] * 200
    assert since.requests_of("BatchObjects") == 1 + 5
    assert store.count(NAME) == 200

    # one that fits into no request is rejected alone, with the reason
    huge = make("huge.py", content="x y " * (MESSAGE_BYTES // 4 + 1))
    reasons = store.upsert(NAME, [items[0], huge, items[1]])
    assert (reasons[0], reasons[2]) == (None, None)
    assert "larger than max" in str(reasons[1])
    assert store.count(NAME) == 200


def test_a_request_that_was_never_sent_removes_nothing(
    counting_server: WeaviateServer, store: VectorStore, make: MakeObject
) -> None:
    """The server is away when the write begins, and comes back while it is waited for."""
    items = [make(f"{number}.py") for number in range(20)]
    assert store.upsert(NAME, items) == [None] * 20
    store.close()
    patient = open_store(counting_server.url, Settings(store_retry_s=60.0))
    with closing(patient):
        patient.describe(NAME)
        found = patient._structure.load(NAME)  # type: ignore[attr-defined]
        writer = patient._writer(found, time.monotonic() + 60)  # type: ignore[attr-defined]
        counting_server.stop()
        done = threading.Event()

        def write() -> None:
            assert writer.insert(items) == {}
            done.set()

        writing = threading.Thread(target=write)
        writing.start()
        time.sleep(0.5)
        assert not done.is_set()
        counting_server.start()
        writing.join(timeout=60)
        assert done.is_set()
        assert patient.count(NAME) == 20
    assert requests_of(counting_server, "BatchObjects") == 1
    assert requests_of(counting_server, "BatchDelete") == 0


def test_what_is_not_there_is_not_deleted_one_by_one(
    store: VectorStore, make: MakeObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter finds what is there; the others are only asked for."""
    deleted: list[str] = []
    monkeypatch.setattr(DataCollection, "delete_by_id", lambda _data, each: deleted.append(each))
    items = [make(f"{number}.py") for number in range(20)]
    assert store.upsert(NAME, items[:10]) == [None] * 10
    store.delete_objects(NAME, [item.id for item in items])
    assert deleted == []
    assert store.count(NAME) == 0


def test_a_client_is_closed_that_cannot_be_used(
    counting_server: WeaviateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose description of itself makes no sense."""
    closed: list[WeaviateClient] = []
    monkeypatch.setattr(WeaviateClient, "get_meta", lambda _client: {"grpcMaxMessageSize": "many"})
    close = WeaviateClient.close
    monkeypatch.setattr(WeaviateClient, "close", lambda client: (closed.append(client), close(client)))
    with (
        closing(open_store(counting_server.url, Settings())) as store,
        pytest.raises(StoreUnavailable, match="is no Weaviate server"),
    ):
        store.describe(NAME)
    assert len(closed) == 1
