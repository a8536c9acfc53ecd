"""What every embedder gives. The next embedder is one file that satisfies ``Embedder``."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Embedder(Protocol):
    """Makes vectors of texts."""

    model_id: str
    """Names model and everything that changes its vectors; a collection keeps to one."""

    dimensions: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape ``(len(texts), dimensions)``, each row L2-normalised (or zero for a text without words).

        Raises ``EmbedderUnavailable`` when the service behind it does not answer after its own retries, and
        ``LineError`` when it refuses a text for its content; one that finds the text by itself gives the others'
        vectors all the same (``TakesApart`` in ``taken.py``). Safe to call from several threads.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens (or words, for a model without tokens) in all texts together: what a dry run reports."""
        ...

    def check(self) -> None:
        """Raises ``EmbedderUnavailable`` unless the embedder would answer now. Cheap."""
        ...

    def close(self) -> None:
        """Releases what it holds; may be called twice."""
        ...
