"""No vectors from here: the store makes them itself, of the texts that it is sent."""

from collections.abc import Sequence

import numpy as np

from elysia_dagster.embedders.words import split_words

MODEL_PREFIX = "store:"
"""How the model of a collection begins whose vectors its store makes."""


class StoreEmbedder:
    """Stands for the store's own vectorizer, of the name that ``VectorStore.vectorizer`` gives."""

    dimensions = 0

    def __init__(self, vectorizer: str) -> None:
        self.model_id = vectorizer if vectorizer.startswith(MODEL_PREFIX) else f"{MODEL_PREFIX}{vectorizer}"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape ``(len(texts), 0)``: an object goes to the store without a vector."""
        return np.zeros((len(texts), 0), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """The words of all texts together: what the store's model makes of them is its own affair."""
        return sum(len(split_words(text)) for text in texts)

    def check(self) -> None:
        """Nothing to ask: the store is asked for its vectorizer when a collection is opened."""

    def close(self) -> None:
        """Nothing to release."""
