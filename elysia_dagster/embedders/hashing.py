"""The offline default: a vector of the words of a text, without a model, a download or a network.

A text is the sum of its words' vectors, each times ``1 + log tf``. A word's vector is made once and remembered: its
stem hashed to four signed places of 1024 and the character 4-grams of the stem to one place each (so that ``sync``
and ``resync`` are near), all by scikit-learn's ``FeatureHasher`` (MurmurHash3, the same on every platform), times the
square root of the word's idf. The root because the weight stands on both sides of a dot product: two texts meet with
the idf of their common words, as in BM25, and not with its square (``benchmarks/embedder_probe.py``: MRR@10 0.627, and
0.587 without the root, 0.610 without the 4-grams, 0.489 without idf).

Sums are made in whole numbers (fixed point), so that neither the order of the words nor what was embedded before, in
which thread, can change a bit of a vector: a replayed chunk has the same bytes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp

from elysia_dagster.embedders.idf import TABLE_PATH, load_table
from elysia_dagster.embedders.vectors import unit_rows
from elysia_dagster.embedders.vocabulary import Vocabulary
from elysia_dagster.embedders.words import split_words

HASHING_VERSION = 1
DIMENSIONS = 1024

_COUNT_UNIT = 64
"""Fixed point: ``1 + log tf`` is kept in 1/64."""

_GROUP_CHARS = 1 << 18
"""Texts are worked on in groups of at most about this many characters (a chunk has 2 k). A text beyond it is the sum
of its slices of this size, with ``1 + log tf`` in each: what is held beside the result is bounded, whatever comes."""

_MAX_REMEMBERED_SPELLINGS = 40_000
"""A new vocabulary is begun beyond it: about 25 MB. The 4,000 functions of the probe have 10,000."""


class HashingEmbedder:
    """Embeds texts by their words; 1024 dimensions.

    ``table`` is the packed idf table (default: the one the package ships). ``model_id`` carries its hash.
    """

    def __init__(self, table: bytes | None = None) -> None:
        self._table = load_table(TABLE_PATH.read_bytes() if table is None else table)
        self.model_id = f"hashing-{DIMENSIONS}-v{HASHING_VERSION}-{self._table.digest[:8]}"
        self.dimensions = DIMENSIONS
        self._vocabulary = self._new_vocabulary()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape ``(len(texts), 1024)``, rows L2-normalised, zero where a text has no words. Raises
        nothing."""
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for first, group in _groups(texts):
            vectors[first : first + len(group)] = unit_rows(self.sums(group))
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> int:
        """The words of all texts together, as this embedder splits them."""
        return sum(len(split_words(piece)) for text in texts for piece in _slices(text))

    def check(self) -> None:
        """Always available."""

    def close(self) -> None:
        """Forgets the words; the embedder stays usable."""
        self._vocabulary = self._new_vocabulary()

    def sums(self, texts: Sequence[str]) -> np.ndarray:
        """int64 of shape ``(len(texts), 1024)``: the vectors in fixed point, before normalisation; exact on every
        platform.

        For as many texts as should be in memory at once; ``embed`` cuts them.
        """
        if len(texts) == 1 and len(texts[0]) > _GROUP_CHARS:
            return sum((self.sums([piece]) for piece in _slices(texts[0])), np.zeros((1, DIMENSIONS), dtype=np.int64))
        vocabulary = self._vocabulary
        if len(vocabulary) > _MAX_REMEMBERED_SPELLINGS:
            # another thread may do the same at once, or still use the old one: both are right, one is collected sooner
            vocabulary = self._vocabulary = self._new_vocabulary()
        row_of_spelling = vocabulary.__getitem__
        rows: list[int] = []
        ends = [0]
        for text in texts:
            rows += map(row_of_spelling, split_words(text))
            ends.append(len(rows))
        word_vectors = vocabulary.vectors()  # after the rows were given out, so that it has all of them
        counts = sp.csr_array(
            (np.ones(len(rows), dtype=np.int64), np.array(rows, dtype=np.int32), np.array(ends, dtype=np.int32)),
            shape=(len(texts), word_vectors.shape[0]),
        )
        counts.sum_duplicates()
        counts.data = np.rint(_COUNT_UNIT * (1 + np.log(counts.data))).astype(np.int64)
        result: np.ndarray = (counts @ word_vectors).toarray()
        return result

    def _new_vocabulary(self) -> Vocabulary:
        return Vocabulary(self._table, dimensions=DIMENSIONS)


def _slices(text: str) -> Iterator[str]:
    return (text[start : start + _GROUP_CHARS] for start in range(0, len(text), _GROUP_CHARS))


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """The texts in groups, each with the index of its first text; a text longer than a group is alone in its own."""
    first, chars = 0, 0
    for index, text in enumerate(texts):
        if index > first and chars + len(text) > _GROUP_CHARS:
            yield first, texts[first:index]
            first, chars = index, 0
        chars += len(text)
    if first < len(texts):
        yield first, texts[first:]
