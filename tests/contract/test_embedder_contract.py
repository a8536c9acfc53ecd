"""What every embedder gives, whatever is behind it: the interface in ``embedders/base.py``, sentence by sentence.

The HTTP embedder has a server on 127.0.0.1 behind it and the ONNX embedder a module in fastembed's place, both of which
make a vector of a text's letters.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import numpy as np
import pytest

from elysia_dagster.embedders import open_embedder
from elysia_dagster.embedders.base import Embedder

TEXTS = [
    "def settle(batch): ...",
    "class Größe:\n    pass",
    "x" * 5000,
    "数据库 连接",
    "nul \0 and surrogate \ud800",
    "1",
]


def _letters(text: str) -> list[float]:
    counts = [3.0] * 16
    for letter in text:
        counts[ord(letter) % 16] += 1.0
    return counts


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = [{"index": index, "embedding": _letters(text)} for index, text in enumerate(body["input"])]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())

    def log_message(self, *_: object) -> None:
        pass


class _TextEmbedding:
    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    @staticmethod
    def list_supported_models() -> list[dict[str, object]]:
        return [{"model": "letters", "dim": 16}]

    def embed(self, documents: list[str]) -> Iterator[np.ndarray]:
        return (np.array(_letters(text), dtype=np.float32) for text in documents)


@pytest.fixture(params=["hashing", "openai:letters", "openai:letters@16", "fastembed:letters"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Embedder]]:
    """Opens the embedder anew at each call, and closes all at the end."""
    fastembed = ModuleType("fastembed")
    fastembed.TextEmbedding = _TextEmbedding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastembed", fastembed)
    embedders: list[Embedder] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def opened() -> Embedder:
            base_url = f"http://127.0.0.1:{server.server_address[1]}"
            embedders.append(open_embedder(request.param, openai_base_url=base_url))
            return embedders[-1]

        yield opened
        for embedder in embedders:
            embedder.close()
        server.shutdown()
        thread.join()


def test_vectors_are_float32_unit_rows_of_the_dimensions(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    vectors = embedder.embed(TEXTS)
    assert isinstance(vectors, np.ndarray)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)


def test_no_texts_give_no_rows(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_a_text_without_words_is_zero(opened: Callable[[], Embedder]) -> None:
    vectors = opened().embed(["", "word", " \n\t "])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([0, 1, 0], abs=1e-6)


def test_any_sequence_of_texts_will_do(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    assert (embedder.embed(tuple(TEXTS)) == embedder.embed(TEXTS)).all()


def test_a_text_has_one_vector_in_any_company(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    together = embedder.embed(TEXTS * 60)
    assert (together[: len(TEXTS)] == together[-len(TEXTS) :]).all()
    assert (np.concatenate([opened().embed([text]) for text in TEXTS]) == together[: len(TEXTS)]).all()


def test_different_texts_have_different_vectors(opened: Callable[[], Embedder]) -> None:
    scores = opened().embed(["settle the batch", "open a file"])
    assert float(scores[0] @ scores[1]) < 0.999


def test_the_model_id_is_the_same_each_time(opened: Callable[[], Embedder]) -> None:
    model_id = opened().model_id
    assert model_id == opened().model_id
    assert model_id.startswith(("hashing-", "openai:", "fastembed:"))


def test_tokens_add_up(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    assert embedder.count_tokens([]) == embedder.count_tokens([""]) == 0
    assert embedder.count_tokens(TEXTS) == sum(embedder.count_tokens([text]) for text in TEXTS) > len(TEXTS)


def test_threads_get_what_one_gets(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    expected = opened().embed(TEXTS).tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert {vectors.tobytes() for vectors in pool.map(embedder.embed, [TEXTS] * 16)} == {expected}


def test_it_checks_and_closes_twice(opened: Callable[[], Embedder]) -> None:
    embedder = opened()
    embedder.check()
    embedder.close()
    embedder.close()
