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
from elysia_dagster.embedders.fastembed import FastembedEmbedder
from elysia_dagster.errors import EmbedderUnavailable, LineError, UsageError


class _TextEmbedding:
    """As fastembed's class: a list of models, a constructor that downloads, a generator of vectors of any length."""

    loads: list[str]
    failure: Exception | None
    dimensions_given: int
    broken: frozenset[str] = frozenset()
    breaks: Exception
    seen: list[str]

    def __init__(self, model_name: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.loads.append(model_name)

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        return [{"model": "org/Small", "dim": 6, "sources": {}}]

    def embed(self, documents: list[str]) -> Iterator[np.ndarray]:
        for text in documents:
            self.seen.append(text)
            if text in self.broken or "everything" in self.broken:
                raise self.breaks
            if text == "NaN":
                yield np.full(self.dimensions_given, np.nan, dtype=np.float32)
                continue
            yield np.arange(1, self.dimensions_given + 1, dtype=np.float32) * len(text)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[_TextEmbedding]:
    """fastembed, installed; a new class for each test."""

    class TextEmbedding(_TextEmbedding):
        loads: list[str] = []  # noqa: RUF012 - one for each test's class
        failure = None
        dimensions_given = 6
        seen: list[str] = []  # noqa: RUF012 - likewise

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


class InvalidArgument(Exception):
    """As onnxruntime's: directly under ``Exception``, told by the module's name."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


OF_CONTENT = [InvalidArgument("[ONNXRuntimeError] : 2 : index out of range\nmore"), Exception("tokenizer: bad input")]
TEXTS = [f"text {number}" for number in range(40)]


@pytest.mark.parametrize("error", OF_CONTENT, ids=["onnxruntime", "tokenizers"])
def test_a_text_on_which_the_model_fails_is_found(package: type[_TextEmbedding], error: Exception) -> None:
    package.broken, package.breaks = frozenset({"text 11"}), error
    embedder = open_embedder("fastembed:org/small")
    assert isinstance(embedder, FastembedEmbedder)
    taken = embedder.embed_taken([*TEXTS, "NaN", ""])
    assert set(taken.refused) == {11, 40}
    assert str(taken.refused[11]).startswith("the model of fastembed:org/small refuses this text (7 characters): ")
    assert "\n" not in str(taken.refused[11])
    lengths = np.linalg.norm(taken.vectors, axis=1)
    assert [index for index, length in enumerate(lengths) if length < 0.5] == [11, 40, 41]
    assert max(package.seen.count(text) for text in TEXTS) < 8, "halved, not one by one"
    with pytest.raises(LineError, match="7 characters"):
        embedder.embed(TEXTS)


@pytest.mark.parametrize("error", OF_CONTENT, ids=["onnxruntime", "tokenizers"])
def test_a_model_that_fails_on_everything_charges_no_text(package: type[_TextEmbedding], error: Exception) -> None:
    package.broken, package.breaks = frozenset({"everything"}), error
    with pytest.raises(EmbedderUnavailable, match="fails on every text"):
        open_embedder("fastembed:org/small").embed(TEXTS)


def test_an_unknown_error_is_a_bug(package: type[_TextEmbedding]) -> None:
    package.broken, package.breaks = frozenset({"text 3"}), KeyError("text 3")
    with pytest.raises(KeyError):
        open_embedder("fastembed:org/small").embed(TEXTS)
