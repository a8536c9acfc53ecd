"""Texts embedded as far as an embedder takes them, where it says no more than that it refuses the lot."""

from collections.abc import Sequence

import numpy as np
import pytest

from elysia_dagster.embedders.base import Embedder
from elysia_dagster.embedders.hashing import HashingEmbedder
from elysia_dagster.embedders.taken import embed_taken
from elysia_dagster.errors import EmbedderUnavailable, LineError


class Picky:
    """Knows ``embed`` alone, refuses ``bad`` texts and counts what it has embedded."""

    model_id = "picky"
    dimensions = 1

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.calls = 0
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        if found := self.bad & set(texts):
            raise LineError(f"no {min(found)}", permanent=True)
        self.embedded += texts
        return np.array([float(text) for text in texts], dtype=np.float32).reshape(len(texts), 1)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return len(texts)

    def check(self) -> None: ...

    def close(self) -> None: ...


TEXTS = [str(number) for number in range(1, 65)]


@pytest.mark.parametrize(("bad", "most_calls"), [((), 1), (("1",), 13), (("64",), 13), (("9", "10", "50"), 36)])
def test_the_refused_are_found_and_the_others_embedded_once(bad: tuple[str, ...], most_calls: int) -> None:
    embedder = Picky(*bad)
    taken = embed_taken(embedder, TEXTS)
    assert {TEXTS[index]: str(error) for index, error in taken.refused.items()} == {text: f"no {text}" for text in bad}
    assert taken.vectors[:, 0].tolist() == [0.0 if text in bad else float(text) for text in TEXTS]
    assert sorted(embedder.embedded) == sorted(set(TEXTS) - set(bad))
    assert embedder.calls <= most_calls


def test_whole_raises_for_the_first() -> None:
    with pytest.raises(LineError, match="no 5"):
        embed_taken(Picky("5", "60"), TEXTS).whole()


def test_no_texts_give_no_rows_and_one_is_not_halved() -> None:
    assert embed_taken(Picky(), []).vectors.shape == (0, 1)
    embedder = Picky("7")
    taken = embed_taken(embedder, ["7"])
    assert (set(taken.refused), taken.vectors.tolist(), embedder.calls) == ({0}, [[0.0]], 1)


def test_an_outage_is_no_refusal() -> None:
    class Away(Picky):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            raise EmbedderUnavailable("away")

    with pytest.raises(EmbedderUnavailable):
        embed_taken(Away(), TEXTS)


def test_an_embedder_that_refuses_nothing_gives_what_it_always_gave() -> None:
    embedder: Embedder = HashingEmbedder()
    assert (embed_taken(embedder, TEXTS).vectors == embedder.embed(TEXTS)).all()
