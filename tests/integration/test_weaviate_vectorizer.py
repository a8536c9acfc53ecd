"""``--embedder store`` on a real server, whose vectorizer asks an endpoint of this test's own."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from crash.held import weaviate_holds
from faults.weaviate_world import WeaviateWorld
from weaviate_server import WeaviateServer

from elysia_dagster.errors import CollectionMismatch, StoreUnavailable
from elysia_dagster.models import RunStatus, SearchMode, SearchQuery
from elysia_dagster.stores.weaviate_prime import PROBE_TEXT

pytestmark = pytest.mark.weaviate

DIMENSIONS = 256


class Endpoint(ThreadingHTTPServer):
    """Answers as Ollama does. A ``status`` other than 200 refuses; ``texts`` were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.texts: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """``POST /api/embed``."""

    server: Endpoint

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer: dict[str, Any] = {}
        if self.server.status == 200:
            self.server.texts += asked["input"]
            answer = {"model": asked["model"], "embeddings": [vector_of(text) for text in asked["input"]]}
        body = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def vector_of(text: str) -> list[float]:
    """A unit vector with one place for the first word of the text."""
    place = hashlib.sha256(text.split(maxsplit=1)[0].encode()).digest()[0]
    return [1.0 if each == place else 0.0 for each in range(DIMENSIONS)]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def vectorizing(tmp_path: Path, weaviate_binary: None, endpoint: Endpoint) -> Iterator[WeaviateServer]:
    """A server with the module that asks the endpoint."""
    with WeaviateServer(tmp_path / "weaviate", environment={"ENABLE_MODULES": "text2vec-ollama"}) as server:
        yield server


def setting(endpoint: Endpoint) -> str:
    """ELYSIACTL_WEAVIATE_VECTORIZER."""
    config = {"apiEndpoint": f"http://127.0.0.1:{endpoint.server_port}", "model": "some-model"}
    return json.dumps({"text2vec-ollama": config})


def line(path: str, text: str) -> dict[str, Any]:
    return {"repo": "repo", "op": "add", "path": path, "content": text}


def test_the_server_makes_the_vectors(tmp_path: Path, vectorizing: WeaviateServer, endpoint: Endpoint) -> None:
    base = tmp_path / "world"
    base.mkdir()
    with WeaviateWorld(base, vectorizing.url, weaviate_vectorizer=setting(endpoint), store_retry_s=1.0) as world:
        run = world.sync(line("a.py", "alpha = 1\n"), line("b.py", "beta = 2\n"), embedder="store")
        assert run.status is RunStatus.COMPLETED, world.failures(run)
        held = {each.properties["content"]: each.vector for each in weaviate_holds(vectorizing.url, world.collection)}
        assert {text: vector is not None and vector.tolist() for text, vector in held.items()} == {
            text: vector_of(text) for text in ("alpha = 1\n", "beta = 2\n")
        }
        assert endpoint.texts.count(PROBE_TEXT) == 1, "the one that primes the collection"
        texts = [each for each in endpoint.texts if each != PROBE_TEXT]
        assert set(texts) == {"alpha = 1\n", "beta = 2\n"}, "the text of the chunk, and nothing else"
        store = world.engine.store()
        found = store.search(world.collection, SearchQuery(text="beta", mode=SearchMode.VECTOR, limit=1))
        assert [hit.relative_path for hit in found] == ["b.py"]
        assert store.search(world.collection, SearchQuery(text="alpha", limit=1))[0].relative_path == "a.py"

        run = world.sync(line("a.py", "alpha = 1\n"), line("b.py", "gamma = 3\n"), embedder="store")
        assert world.outcomes(run) == {1: "unchanged", 2: "indexed"}

        endpoint.status = 503
        with pytest.raises(StoreUnavailable, match="503"):
            world.sync(line("c.py", "delta = 4\n"), embedder="store")
        assert world.query("SELECT COUNT(*) FROM failed_lines") == [(0,)], "its outage is nobody's fault"
        endpoint.status = 200
        run = world.sync(line("c.py", "delta = 4\n"), embedder="store")
        assert run.status is RunStatus.COMPLETED

        other = world.open_engine(weaviate_vectorizer="")
        assert other.store().vectorizer(world.collection) is not None, "the collection tells its own"
        with pytest.raises(CollectionMismatch, match="began with store:text2vec-ollama:some-model"):
            world.begin(line("a.py", "alpha = 2\n"), engine=other)


def test_an_outage_of_the_vectorizer_keeps_what_was_there(
    tmp_path: Path, vectorizing: WeaviateServer, endpoint: Endpoint
) -> None:
    """Until the new text can be written, the old one is found."""
    base = tmp_path / "world"
    base.mkdir()
    with WeaviateWorld(base, vectorizing.url, weaviate_vectorizer=setting(endpoint), store_retry_s=1.0) as world:
        old = {"alpha = 1\n", "beta = 2\n"}
        world.sync(line("a.py", "alpha = 1\n"), line("b.py", "beta = 2\n"), embedder="store")
        endpoint.status = 503
        with pytest.raises(StoreUnavailable, match="503"):
            world.sync(line("a.py", "gamma = 3\n"), line("b.py", "delta = 4\n"), embedder="store")
        assert {each.properties["content"] for each in weaviate_holds(vectorizing.url, world.collection)} == old
