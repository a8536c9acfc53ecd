"""What answers, or does not, at a Weaviate store's address; who else may hear of it; what the user reads."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

MakeObject = Callable[..., StoreObject]
OpenStore = Callable[..., VectorStore]

SHORT: dict[str, Any] = {"store_connect_timeout_s": 2.0, "store_query_timeout_s": 5.0, "store_retry_s": 0.5}


@pytest.fixture
def address(weaviate_url: str) -> str:
    """The shared server: nothing here is about another store."""
    return weaviate_url


@pytest.fixture
def opened() -> Iterator[OpenStore]:
    """Opens a store with short limits."""
    stores: list[VectorStore] = []

    def open_client(url: str, **settings: Any) -> VectorStore:
        stores.append(open_store(url, Settings(**{**SHORT, **settings})))
        return stores[-1]

    yield open_client
    for store in stores:
        store.close()


class Impostor(ThreadingHTTPServer):
    """Gives the same answer to every request."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status, self.body = status, body

    def __enter__(self) -> "Impostor":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    server: Impostor

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, b"nothing here", "no Weaviate server"),
        (200, b"<html>Sign in</html>", "no Weaviate server"),
        (200, b"[]", "no Weaviate server"),
        (200, b"{}", "no Weaviate server"),
        (401, b"{}", "refuses the key"),
        (403, b"{}", "refuses the key"),
        (503, b"later", "503"),
    ],
)
def test_what_is_no_server_is_told_in_a_sentence_without_the_key(
    opened: OpenStore, status: int, body: bytes, told: str
) -> None:
    with Impostor(status, body) as impostor:
        store = opened(f"weaviate:http://127.0.0.1:{impostor.server_port}", weaviate_api_key="SESAME")
        with pytest.raises(StoreUnavailable, match=told) as error:
            store.describe("Any")
    assert error.value.next_step
    assert "SESAME" not in f"{error.value} {error.value.ids}"


def test_a_server_without_its_grpc_port_is_told_within_the_time(
    opened: OpenStore, weaviate_url: str, collection: str, make: MakeObject
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
        http = weaviate_url.partition("?")[0]
        store = opened(f"{http}?grpc_port={unused.getsockname()[1]}", store_insert_timeout_s=5.0)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"gRPC.*grpc_port"):
            store.upsert(collection, [make()])
        assert time.monotonic() - began < store.request_timeout_s


def test_threads_that_share_a_store_do_not_close_it_under_each_other(
    opened: OpenStore, weaviate_url: str, collection: str, make: MakeObject
) -> None:
    store = opened(weaviate_url, store_retry_s=10.0)
    store.ensure_collection(collection, incarnation="one", model_id="hash-1", dimensions=8)
    raised: list[Exception] = []

    def write(worker: int) -> None:
        try:
            for number in range(15):
                item = make(f"{worker}-{number}.py")
                assert store.upsert(collection, [item]) == [None]
                assert store.fetch_hashes(collection, [item.id]) == {item.id: item.write_hash}
        except Exception as error:
            raised.append(error)

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        store.close()  # as a failed call of another thread does
        time.sleep(0.02)
    assert raised == []
    assert store.count(collection) == 60


READS_AND_WRITES = """
import sys
sys.path[:0] = sys.argv[3:]
from contract_objects import make_object
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store

store = open_store(sys.argv[1], Settings())
store.ensure_collection(sys.argv[2], incarnation="one", model_id="hash-1", dimensions=8)
good, bad = make_object("good.py"), make_object("bad.py", last_modified="9999999-01-01")
assert store.upsert(sys.argv[2], [good, bad])[0] is None
assert store.count(sys.argv[2]) == 1
list(store.scan(sys.argv[2]))
store.close()
"""


def test_nothing_is_said_and_nobody_else_is_asked(weaviate_url: str, collection: str, tmp_path: Path) -> None:
    """No line on standard error, whatever warnings are shown; no proxy of the environment hears of anything."""
    (tmp_path / "contract_objects.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0)
        heard = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "always",
                "-c",
                READS_AND_WRITES,
                weaviate_url,
                collection,
                str(tmp_path),
                str(Path(__file__).parents[1]),
            ],
            env={
                **{key: value for key, value in os.environ.items() if key.lower() not in (*names, "no_proxy")},
                **dict.fromkeys(names, heard),
                **dict.fromkeys(map(str.upper, names), heard),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_key_for_a_server_that_takes_none(weaviate_url: str) -> None:
    """A key that was left in the environment: the advice is not to set one."""
    store = open_store(weaviate_url, Settings(weaviate_api_key="left over"))
    with pytest.raises(StoreUnavailable, match="takes no key, and one is set") as error:
        store.describe("Any")
    store.close()
    assert error.value.next_step.startswith("Unset ELYSIACTL_WEAVIATE_API_KEY and WCD_API_KEY")
    assert "left over" not in str(error.value)
