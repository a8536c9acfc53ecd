"""How long a call may take, which leases are told to outlive."""

import threading
import time

import pytest

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.settings import Settings
from elysia_dagster.stores.weaviate import WeaviateStore
from elysia_dagster.stores.weaviate_connection import WeaviateConnection

CONNECT_S, QUERY_S = 0.4, 0.1
TO_CONNECT_S = 2 * CONNECT_S + 2 * QUERY_S
"""The login, twice what the server is, the health of its gRPC port."""


def test_a_call_that_waits_for_the_connect_of_another_thread_keeps_to_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    connects: list[str] = []

    def in_vain(_connection: WeaviateConnection) -> None:
        connects.append(threading.current_thread().name)
        time.sleep(TO_CONNECT_S)
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(WeaviateConnection, "_connected", in_vain)
    store = WeaviateStore(
        "weaviate:http://127.0.0.1:1",
        Settings(
            store_connect_timeout_s=CONNECT_S,
            store_query_timeout_s=QUERY_S,
            store_insert_timeout_s=0.3,
            store_retry_s=0.0,
        ),
    )
    took: list[float] = []

    def delete() -> None:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.delete_objects("Any", ["0" * 32])
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=delete) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert max(took) > 1.5 * TO_CONNECT_S, "both connected, one after the other"
    assert len(connects) == len(set(connects)) == 2, "and neither once more"
    assert store.request_timeout_s > 2 * TO_CONNECT_S
