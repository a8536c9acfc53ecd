"""What the client gives when a real Weaviate server (1.38.11) is away, refuses, is full or dies, and what it means.

The texts of a full disk (``store is read-only due to: resource pressure``) and of a cluster that lacks nodes were seen
by hand and are rows of the unit test: the one needs a disk of its own, the other three servers.
"""

import contextlib
import itertools
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import weaviate
import weaviate_server
from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.classes.query import Filter
from weaviate.connect import ConnectionParams

from elysia_dagster.errors import CollectionMismatch, StoreUnavailable
from elysia_dagster.stores import weaviate_errors
from elysia_dagster.stores.weaviate_connection import _switch_off_retries
from elysia_dagster.stores.weaviate_errors import ObjectsNotTaken, translated
from elysia_dagster.stores.weaviate_messages import Verdict, classify_object_message
from elysia_dagster.stores.weaviate_retries import Retries

pytestmark = pytest.mark.weaviate

URL = "weaviate:http://a.test"
NAMES = (f"Errors{os.getpid()}x{number}" for number in itertools.count())


@contextlib.contextmanager
def connected(
    http_port: int, grpc_port: int, *, key: str = "", insert_s: float = 30.0
) -> Iterator[weaviate.WeaviateClient]:
    opened = weaviate.WeaviateClient(
        ConnectionParams.from_params(
            http_host="127.0.0.1",
            http_port=http_port,
            http_secure=False,
            grpc_host="127.0.0.1",
            grpc_port=grpc_port,
            grpc_secure=False,
        ),
        auth_client_secret=Auth.api_key(key) if key else None,
        additional_config=AdditionalConfig(timeout=Timeout(init=5, query=10, insert=insert_s), trust_env=False),
        skip_init_checks=True,
    )
    try:
        opened.connect()
        yield opened
    finally:
        opened.close()


def create(opened: weaviate.WeaviateClient, name: str = "", **settings: Any) -> Any:
    return opened.collections.create(
        name or next(NAMES),
        vector_config=Configure.Vectors.self_provided(),
        properties=[Property(name="t", data_type=DataType.TEXT), Property(name="d", data_type=DataType.DATE)],
        **settings,
    )


def objects(count: int, dimensions: int = 8, **properties: Any) -> list[Any]:
    return [
        DataObject(
            uuid=uuid.uuid4(),
            properties={"t": "text", **properties},
            vector=[random.random() for _ in range(dimensions)],
        )
        for _ in range(count)
    ]


def of_some_id() -> Any:
    return Filter.by_id().contains_any([uuid.uuid4()])


def raised(what: Callable[[], object]) -> Exception:
    try:
        what()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def until_it_fails(what: Callable[[], object], within_s: float = 20.0) -> Exception:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            what()
        except Exception as error:
            return error
    raise AssertionError("nothing was raised")


def is_outage(error: Exception) -> bool:
    known = translated(error, url=URL, collection="C")
    assert known is None or "\n" not in str(known)
    return weaviate_errors.is_transient(error) and isinstance(known, StoreUnavailable)


@pytest.fixture
def shared(weaviate_url: str) -> Iterator[weaviate.WeaviateClient]:
    """A client of the session's server."""
    parts = urlsplit(weaviate_url.removeprefix("weaviate:"))
    with connected(parts.port or 0, int(parse_qs(parts.query)["grpc_port"][0])) as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path, weaviate_binary: None) -> Iterator[weaviate_server.WeaviateServer]:
    """A server that the test may end."""
    with weaviate_server.WeaviateServer(tmp_path / "server") as started:
        yield started


@pytest.fixture(scope="module")
def with_keys(
    tmp_path_factory: pytest.TempPathFactory, weaviate_binary: None
) -> Iterator[weaviate_server.WeaviateServer]:
    """A server that wants a key, knows one that may only read, and takes small messages."""
    environment = {
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "writers-key,readers-key",
        "AUTHENTICATION_APIKEY_USERS": "writer,reader",
        "AUTHORIZATION_ADMINLIST_ENABLED": "true",
        "AUTHORIZATION_ADMINLIST_USERS": "writer",
        "AUTHORIZATION_ADMINLIST_READONLY_USERS": "reader",
        "GRPC_MAX_MESSAGE_SIZE": "1000000",
    }
    with weaviate_server.WeaviateServer(tmp_path_factory.mktemp("keys"), environment=environment) as server:
        yield server


def test_nothing_listens() -> None:
    block = weaviate_server.PortBlock()
    with contextlib.closing(block):
        error = raised(lambda: connected(block.ports.http, block.ports.grpc).__enter__())
    assert is_outage(error)
    assert not weaviate_errors.is_unknown_state(error)
    assert "Connection refused" in str(translated(error, url=URL))


def test_a_key_is_wanted(with_keys: weaviate_server.WeaviateServer) -> None:
    for key, words in (("", "wants a key"), ("wrong-key", "refuses the key")):
        error = raised(lambda key=key: connected(with_keys.http_port, with_keys.grpc_port, key=key).__enter__())
        known = translated(error, url=URL)
        assert isinstance(known, StoreUnavailable)
        assert words in known.message
        assert "wrong-key" not in str(known)
        assert not weaviate_errors.is_transient(error)


def test_a_key_that_may_only_read(with_keys: weaviate_server.WeaviateServer) -> None:
    with connected(with_keys.http_port, with_keys.grpc_port, key="writers-key") as writer:
        name = create(writer).name
    with connected(with_keys.http_port, with_keys.grpc_port, key="readers-key") as reader:
        handle = reader.collections.use(name)
        insert = raised(lambda: handle.data.insert_many(objects(2)))
        assert [classify_object_message(each) for each in weaviate_errors.messages_of(insert)] == [Verdict.FORBIDDEN]
        delete = raised(lambda: handle.data.delete_many(where=of_some_id()))
        made = raised(lambda: create(reader))
    for error in (insert, delete, made):
        assert not weaviate_errors.is_transient(error)
        assert "refuses the key" in str(translated(error, url=URL, collection=name))


def test_too_large(with_keys: weaviate_server.WeaviateServer) -> None:
    with connected(with_keys.http_port, with_keys.grpc_port, key="writers-key") as writer:
        handle = create(writer)
        sent = raised(lambda: handle.data.insert_many(objects(200, t="x" * 10_000)))
        for _ in range(2):
            handle.data.insert_many(objects(80, t="x" * 10_000))
        answer = raised(lambda: handle.query.fetch_objects(limit=160))
    for error in (sent, answer):
        assert weaviate_errors.is_too_large(error)
        assert not weaviate_errors.is_transient(error)


def test_no_such_collection(shared: weaviate.WeaviateClient) -> None:
    handle = shared.collections.use("ErrorsNotThere")
    for what in (
        lambda: handle.query.fetch_objects(limit=1),
        lambda: handle.query.near_vector([0.1] * 8, limit=1),
        lambda: handle.aggregate.over_all(total_count=True),
        handle.config.get,
        lambda: handle.data.delete_many(where=of_some_id()),
        lambda: handle.data.delete_by_id(uuid.uuid4()),
    ):
        error = raised(what)
        assert isinstance(translated(error, url=URL, collection="ErrorsNotThere"), CollectionMismatch)
        assert not weaviate_errors.is_transient(error)


def test_tenants(shared: weaviate.WeaviateClient) -> None:
    handle = create(shared, multi_tenancy_config=Configure.multi_tenancy(enabled=True))
    for what in (
        lambda: handle.data.insert_many(objects(2)),
        lambda: handle.query.fetch_objects(limit=1),
        lambda: handle.with_tenant("nobody").data.insert_many(objects(2)),
        lambda: handle.with_tenant("nobody").query.fetch_objects(limit=1),
        lambda: handle.with_tenant("nobody").data.delete_many(where=of_some_id()),
    ):
        known = translated(raised(what), url=URL, collection=handle.name)
        assert isinstance(known, CollectionMismatch)
        assert "ELYSIACTL_WEAVIATE_TENANT" in known.next_step
    shared.collections.delete(handle.name)


def test_a_rejection_is_of_its_object_alone(shared: weaviate.WeaviateClient) -> None:
    handle = create(shared)
    handle.data.insert_many(objects(1))
    bad = objects(1, 9) + objects(1, d="connection refused")
    answer = handle.data.insert_many(objects(198) + bad)
    assert {place: classify_object_message(each.message) for place, each in answer.errors.items()} == {
        198: Verdict.REJECTED,
        199: Verdict.REJECTED,
    }
    for each in bad:
        alone = raised(lambda each=each: handle.data.insert_many([each]))
        (message,) = weaviate_errors.messages_of(alone)
        assert classify_object_message(message) is Verdict.REJECTED
        assert translated(alone, url=URL, collection=handle.name) is None
    assert weaviate_errors.is_refused_content(raised(lambda: handle.data.insert_many(objects(1, t="\ud800"))))
    shared.collections.delete(handle.name)


def test_a_read_only_shard(shared: weaviate.WeaviateClient) -> None:
    handle = create(shared)
    handle.data.insert_many(objects(2))
    shards = [each.name for each in handle.config.get_shards()]
    handle.config.update_shards("READONLY", shards)
    insert = raised(lambda: handle.data.insert_many(objects(2)))
    assert weaviate_errors.messages_of(insert) == ["store is read-only due to: manually set by user"]
    assert is_outage(insert)
    told = handle.data.delete_many(where=of_some_id())
    assert (told.failed, told.successful) == (1, 0)  # no error, and more failures than matches
    assert is_outage(raised(lambda: handle.data.delete_many(where=of_some_id(), verbose=True)))
    shared.collections.delete(handle.name)


def test_a_deadline_leaves_an_unknown_state(weaviate_url: str, shared: weaviate.WeaviateClient) -> None:
    handle = create(shared)
    parts = urlsplit(weaviate_url.removeprefix("weaviate:"))
    with connected(parts.port or 0, int(parse_qs(parts.query)["grpc_port"][0]), insert_s=0.01) as hasty:
        error = raised(lambda: hasty.collections.use(handle.name).data.insert_many(objects(500, 256)))
    assert is_outage(error)
    assert weaviate_errors.is_unknown_state(error)


def test_killed_in_an_insert(server: weaviate_server.WeaviateServer) -> None:
    def kill_when_it_writes() -> None:
        with connected(server.http_port, server.grpc_port) as other:
            counted = other.collections.use(name).aggregate
            while not counted.over_all(total_count=True).total_count:
                time.sleep(0.01)
        server.kill()

    with connected(server.http_port, server.grpc_port) as opened:
        _switch_off_retries(opened)
        handle = create(opened)
        name = handle.name
        many = objects(6000, 256)
        killer = threading.Thread(target=kill_when_it_writes)
        killer.start()
        error = raised(lambda: handle.data.insert_many(many))
        assert is_outage(error)
        assert weaviate_errors.is_unknown_state(error)
        killer.join()
        later = raised(lambda: handle.data.delete_many(where=of_some_id()))
        assert is_outage(later)
        assert not weaviate_errors.is_unknown_state(later)


def test_ended_by_sigterm_and_started_again(server: weaviate_server.WeaviateServer) -> None:
    with connected(server.http_port, server.grpc_port) as opened:
        handle = create(opened)
        handle.data.insert_many(objects(200))
        errors: list[Exception] = []
        inserts = threading.Thread(
            target=lambda: errors.append(until_it_fails(lambda: handle.data.insert_many(objects(20))))
        )
        inserts.start()
        os.kill(server.pid, signal.SIGTERM)
        while not (errors and "Connection refused" in str(errors[-1])):
            errors.append(until_it_fails(lambda: handle.data.delete_many(where=of_some_id())))
        errors.append(until_it_fails(handle.config.get))
        inserts.join()
        assert [each for each in errors if not is_outage(each)] == []
    server.stop()

    def count() -> int:
        with connected(server.http_port, server.grpc_port) as fresh:
            return int(fresh.collections.use(handle.name).aggregate.over_all(total_count=True).total_count or 0)

    restart = threading.Timer(0.5, server.start)
    restart.start()
    assert Retries(url=URL, budget_s=60.0).call(count, collection=handle.name) >= 200
    restart.join()


@pytest.mark.usefixtures("weaviate_binary")
def test_memory_used_up_leaves_objects_that_no_search_finds(tmp_path: Path) -> None:
    environment = {"GOMEMLIMIT": "60MiB", "MEMORY_READONLY_PERCENTAGE": "0"}
    with (
        weaviate_server.WeaviateServer(tmp_path, environment=environment) as server,
        connected(server.http_port, server.grpc_port) as opened,
    ):
        handle = create(opened)
        sent: dict[int, Any] = {}
        messages: dict[int, str] = {}
        count = 200
        while not messages:
            sent = dict(enumerate(objects(count, 1024)))
            try:
                answer = handle.data.insert_many(list(sent.values()))
            except Exception as error:  # "cannot process batch: not enough memory", of a whole request
                if not is_outage(error):
                    raise
                count = max(10, count // 2)
                continue
            messages = {place: each.message for place, each in answer.errors.items()}
        assert {classify_object_message(each) for each in messages.values()} == {Verdict.OUTAGE}
        lost = [sent[place] for place, message in messages.items() if ObjectsNotTaken(message).half_written][:5]
        assert lost
        assert len(
            handle.query.fetch_objects(filters=Filter.by_id().contains_any([each.uuid for each in lost])).objects
        )
        opened.close()
        server.stop()
        server.environment = {}
        server.start()
        with connected(server.http_port, server.grpc_port) as again:
            handle = again.collections.use(handle.name)

            def found() -> int:
                hits = (handle.query.near_vector(each.vector, limit=1).objects for each in lost)
                return sum(str(hit[0].uuid) == str(each.uuid) for hit, each in zip(hits, lost, strict=True))

            assert found() == 0
            assert not handle.data.insert_many(lost).errors
            assert found() == 0  # an identical insert repairs nothing
            handle.data.delete_many(where=Filter.by_id().contains_any([each.uuid for each in lost]))
            handle.data.insert_many(lost)
            assert found() == len(lost)
