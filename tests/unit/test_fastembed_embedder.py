"""The ONNX embedder without its package and its models: what it says then, and what it makes of a package's answers.

A small module stands in for fastembed, with the parts of its interface that are used: its models are downloads of
90 MB and more.
"""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from elysia_dagster.embedders import open_embedder
from elysia_dagster.errors import EmbedderUnavailable, UsageError


class _TextEmbedding:
    """As fastembed's class: a list of models, a constructor that downloads, a generator of vectors of any length."""

    loads: list[str]
    failure: Exception | None
    dimensions_given: int

    def __init__(self, model_name: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.loads.append(model_name)

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        return [{"model": "org/Small", "dim": 6, "sources": {}}]

    def embed(self, documents: list[str]) -> Iterator[np.ndarray]:
        for text in documents:
            yield np.arange(1, self.dimensions_given + 1, dtype=np.float32) * len(text)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[_TextEmbedding]:
    """fastembed, installed; a new class for each test."""

    class TextEmbedding(_TextEmbedding):
        loads: list[str] = []  # noqa: RUF012 - one for each test's class
        failure = None
        dimensions_given = 6

    module = ModuleType("fastembed")
    module.TextEmbedding = TextEmbedding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastembed", module)
    return TextEmbedding


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(UsageError, match=r"pip install 'elysia_dagster\[fastembed\]'"):
        open_embedder("fastembed:org/small")


@pytest.mark.usefixtures("package")
def test_a_model_that_fastembed_does_not_know_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no model 'org/large'"):
        open_embedder("fastembed:org/large")


def test_nothing_is_loaded_before_the_first_text(package: type[_TextEmbedding]) -> None:
    embedder = open_embedder("fastembed:org/small")
    assert (embedder.model_id, embedder.dimensions) == ("fastembed:org/small", 6)
    assert embedder.count_tokens(["four", "fives"]) == 3
    assert embedder.embed([]).shape == (0, 6)
    assert (embedder.embed(["", " \n"]) == 0).all()
    assert package.loads == []


def test_vectors_are_normalised_and_blank_texts_zero(package: type[_TextEmbedding]) -> None:
    embedder = open_embedder("fastembed:org/small")
    vectors = embedder.embed(["one", "", "three"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1], abs=1e-6)
    embedder.check()
    assert package.loads == ["org/small"]
    embedder.close()
    embedder.close()
    embedder.embed(["one"])
    assert package.loads == ["org/small"] * 2


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("Could not load model org/small from any source.\ndetails"),
        ConnectionError("offline mode"),
        OSError(),
    ],
)
def test_a_model_that_cannot_be_had_is_an_outage(package: type[_TextEmbedding], failure: Exception) -> None:
    package.failure = failure
    embedder = open_embedder("fastembed:org/small")
    for call in (embedder.check, lambda: embedder.embed(["one"])):
        with pytest.raises(
            EmbedderUnavailable, match=r"^the model of fastembed:org/small cannot be had: .*connect"
        ) as caught:
            call()
        assert "\n" not in str(caught.value)
    package.failure = None
    embedder.check()


def test_vectors_of_another_size_are_an_error(package: type[_TextEmbedding]) -> None:
    package.dimensions_given = 7
    with pytest.raises(EmbedderUnavailable, match=r"\(1, 7\) where \(1, 6\)"):
        open_embedder("fastembed:org/small").embed(["one"])
