"""The vectors of the words met so far, each made once."""

import math
import threading
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction import FeatureHasher

from elysia_dagster.embedders.idf import IdfTable
from elysia_dagster.embedders.words import stem

_PLACES = 4
_GRAM_CHARS = 4
_GRAMS_LENGTH = 1.6
"""Length of all of a word's 4-grams together, where its four places have length 2."""

_WEIGHT_UNIT = 256
"""Fixed point: the entries of a word's vector are kept in 1/256."""


class Vocabulary(dict[str, int]):
    """Spelling, as it is written in a text, to the row of its stem's vector.

    ``vocabulary[spelling]`` gives a new spelling its row; ``vectors`` hashes the rows that are new. Safe to use from
    several threads. Grows without bound: who uses it begins a new one in time.
    """

    def __init__(self, table: IdfTable, *, dimensions: int) -> None:
        super().__init__()
        self._table = table
        self._hasher = FeatureHasher(n_features=dimensions, input_type="pair")
        self._lock = threading.Lock()
        self._rows: dict[str, int] = {}  # stem to row
        self._stems: list[str] = []  # those whose vectors are not made yet
        self._made = sp.csr_array((0, dimensions), dtype=np.int64)

    def __missing__(self, spelling: str) -> int:
        root = stem(spelling.lower())
        with self._lock:
            row = self._rows.get(root)
            if row is None:
                row = self._rows[root] = len(self._rows)
                self._stems.append(root)
            self[spelling] = row
        return row

    def vectors(self) -> sp.csr_array:
        """int64 of shape ``(rows given out so far, dimensions)``, in fixed point; a row never changes."""
        with self._lock:
            if self._stems:
                new = sp.csr_array(self._hasher.transform(self._features(root) for root in self._stems))
                self._stems = []
                self._made = sp.vstack([self._made, new.astype(np.int64)], format="csr")
            return self._made

    def _features(self, root: str) -> Iterator[tuple[str, int]]:
        """What the hasher adds up for a stem. NUL, which no word contains, keeps places and 4-grams apart."""
        # The root of the idf, because the weight stands on both sides of a dot product: see hashing.py.
        weight = math.sqrt(self._table.idf.get(root, self._table.unknown))
        for place in range(_PLACES):
            yield f"{root}\0{place}", round(_WEIGHT_UNIT * weight)
        padded = f"<{root}>"
        grams = [padded[start : start + _GRAM_CHARS] for start in range(max(1, len(padded) - _GRAM_CHARS + 1))]
        for gram in grams:
            yield f"\0{gram}", round(_WEIGHT_UNIT * weight * _GRAMS_LENGTH / math.sqrt(len(grams)))
