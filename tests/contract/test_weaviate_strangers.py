"""What stands before the server, and what others have made in it: not to be taken for a collection that was dropped."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest
from crash.held import asking

from elysia_dagster.errors import CollectionMismatch, StoreUnavailable
from elysia_dagster.models import SearchMode, SearchQuery, StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

MakeObject = Callable[..., StoreObject]


@pytest.fixture
def address(weaviate_url: str) -> str:
    """The shared server: nothing here is about another store."""
    return weaviate_url


@contextmanager
def passing_on(url: str, refused: Callable[[str], bool], body: bytes) -> Iterator[str]:
    """The store URL of a proxy that knows no path for which ``refused`` is true, and passes on the others."""
    server = urlsplit(url.removeprefix("weaviate:"))

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if refused(self.path):
                self._answer(404, body)
                return
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            request = Request(f"http://{server.netloc}{self.path}", data=sent, method=self.command)
            if sent:
                request.add_header("Content-Type", "application/json")
            try:
                with urlopen(request) as answer:
                    self._answer(answer.status, answer.read())
            except HTTPError as error:
                with error:
                    self._answer(error.code, error.read())

        do_POST = do_PUT = do_HEAD = do_GET

        def _answer(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"weaviate:http://127.0.0.1:{proxy.server_port}?grpc_port={parse_qs(server.query)['grpc_port'][0]}"
        finally:
            proxy.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>no such page</html>", b"", b'{"message": "no route"}'])
@pytest.mark.parametrize("beneath", ["/v1/schema/", "/v1/schema"], ids=["collections", "and their list"])
def test_a_proxys_404_is_no_dropped_collection(
    store: VectorStore, address: str, collection: str, beneath: str, body: bytes
) -> None:
    with passing_on(address, lambda path: path.startswith(beneath), body) as url:
        through = open_store(url, Settings(store_retry_s=0.5))
        try:
            with pytest.raises(StoreUnavailable) as error:
                through.describe(collection)
            assert error.value.next_step
        finally:
            through.close()
    with passing_on(address, lambda _path: False, b"") as url:
        through = open_store(url)
        assert through.describe(collection) == store.describe(collection)
        assert through.describe(f"{collection}_none") is None
        through.close()


def test_a_proxys_404_is_no_tenant_that_is_gone(address: str, collection: str) -> None:
    direct = open_store(address, Settings(weaviate_tenant="one"))
    direct.ensure_collection(collection, incarnation="one", model_id="hash-1", dimensions=8)
    direct.close()
    with passing_on(address, lambda path: "/tenants/" in path, b"no route") as url:
        through = open_store(url, Settings(weaviate_tenant="one", store_retry_s=0.5))
        with pytest.raises(StoreUnavailable):
            through.describe(collection)
        through.close()


def test_an_alias_is_told_from_a_collection(store: VectorStore, address: str, collection: str) -> None:
    alias = f"{collection}_alias"
    asking(address, lambda client: client.alias.create(alias_name=alias, target_collection=collection))
    try:
        for use in (store.describe, store.count, lambda name: ensure(store, name)):
            with pytest.raises(CollectionMismatch, match=f"is an alias of collection {collection}") as error:
                use(alias)
            assert f"--collection {collection}" in error.value.next_step
    finally:
        asking(address, lambda client: client.alias.delete(alias_name=alias))


def ensure(store: VectorStore, name: str) -> None:
    store.ensure_collection(name, incarnation="one", model_id="hash-1", dimensions=8)


@pytest.mark.parametrize("mode", list(SearchMode))
def test_a_search_in_what_is_not_ours_says_so(
    empty_store: VectorStore, address: str, collection: str, mode: SearchMode
) -> None:
    asking(address, lambda client: client.collections.create_from_dict({"class": collection, "vectorizer": "none"}))
    query = SearchQuery(text="a", vector=np.ones(8, np.float32), mode=mode)
    with pytest.raises(CollectionMismatch, match=r"has no property \w+.*--adopt"):
        empty_store.search(collection, query)


def test_a_refused_adoption_changes_nothing(
    empty_store: VectorStore, address: str, collection: str, make: MakeObject
) -> None:
    item = make()
    assert item.vector is not None
    vector = item.vector.tolist()

    def fill(client: Any) -> None:
        client.collections.create_from_dict({"class": collection, "vectorizer": "none"})
        client.collections.use(collection).data.insert({"title": "theirs"}, vector=vector)

    asking(address, fill)
    before = schema_of(address, collection)
    with pytest.raises(CollectionMismatch, match="have 8 values, those of this embedder 16"):
        empty_store.adopt_collection(collection, incarnation="two", model_id="m", dimensions=16, expected=None)
    assert schema_of(address, collection) == before


def test_processes_that_add_properties_at_once_do_not_stop_each_other(
    address: str, collection: str, open_again: Callable[[], VectorStore]
) -> None:
    asking(address, lambda client: client.collections.create_from_dict({"class": collection, "vectorizer": "none"}))
    stores = [open_again() for _ in range(4)]
    begin = threading.Barrier(len(stores))
    failed: list[BaseException] = []

    def complete(store: VectorStore) -> None:
        begin.wait()
        try:
            ensure(store, collection)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=complete, args=(store,)) for store in stores]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    assert len(schema_of(address, collection)["properties"]) == 17


def schema_of(address: str, collection: str) -> dict[str, Any]:
    """The collection as the server has it."""
    server = urlsplit(address.removeprefix("weaviate:"))
    with urlopen(f"http://{server.netloc}/v1/schema/{collection}") as answer:
        found: dict[str, Any] = json.load(answer)
    return found
