"""Texts embedded as far as the embedder takes them: what is refused is found by halving, and the rest is kept.

An embedder takes many texts at once and refuses them all for one. Halved until that one stands alone, n texts with one
bad one among them cost about 2 log2(n) requests, and no text that was taken is embedded again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from elysia_dagster.embedders.base import Embedder
from elysia_dagster.embedders.vectors import unit_rows
from elysia_dagster.errors import LineError


class Refusal(Exception):
    """Texts are refused for what is in them; ``permanent``: for good, as far as can be told."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


@dataclass(kw_only=True)
class Taken:
    """``vectors`` is float32 of shape ``(len(texts), dimensions)``, rows L2-normalised; the row of a text in
    ``refused`` (by its index, with the reason) is zero."""

    vectors: np.ndarray
    refused: dict[int, LineError] = field(default_factory=dict)
    has_any: bool = False

    def whole(self) -> np.ndarray:
        """The vectors. Raises the ``LineError`` of the first text that was refused."""
        if self.refused:
            raise self.refused[min(self.refused)]
        return self.vectors


@runtime_checkable
class TakesApart(Protocol):
    """An embedder that itself finds the texts which it does not take."""

    def embed_taken(self, texts: Sequence[str]) -> Taken:
        """Every text that can be embedded, and why the others cannot. Raises ``EmbedderUnavailable``."""
        ...


def embed_taken(embedder: Embedder, texts: Sequence[str]) -> Taken:
    """What an embedder takes of the texts. Raises ``EmbedderUnavailable``."""
    if isinstance(embedder, TakesApart):
        return embedder.embed_taken(texts)
    try:
        return Taken(vectors=embedder.embed(texts))
    except LineError as error:
        if len(texts) == 1:
            return Taken(vectors=np.zeros((1, embedder.dimensions), dtype=np.float32), refused={0: error})
    taken = Taken(vectors=np.zeros((len(texts), embedder.dimensions), dtype=np.float32))
    middle = len(texts) // 2
    _take_plainly(embedder, texts, range(middle), taken)
    _take_plainly(embedder, texts, range(middle, len(texts)), taken)
    return taken


def _take_plainly(embedder: Embedder, texts: Sequence[str], indices: Sequence[int], taken: Taken) -> None:
    try:
        taken.vectors[list(indices)] = embedder.embed([texts[index] for index in indices])
    except LineError as error:
        if len(indices) == 1:
            taken.refused[indices[0]] = error
            return
        middle = len(indices) // 2
        _take_plainly(embedder, texts, indices[:middle], taken)
        _take_plainly(embedder, texts, indices[middle:], taken)


def take_by_halves(
    texts: Sequence[str],
    indices: Sequence[int],
    taken: Taken,
    *,
    attempt: Callable[[list[str]], np.ndarray],
    probe: Callable[[], object],
    who: str,
) -> None:
    """Embeds these texts into ``taken``.

    ``attempt`` gives raw vectors or raises ``Refusal``. A vector with NaN in it is a refusal of its text. ``probe``
    embeds a harmless word or raises: asked before a text is blamed where none was taken yet, since an embedder that
    takes nothing is a matter of its settings. ``who`` names the embedder.
    """

    def blame(index: int, reason: str, *, permanent: bool, cause: BaseException | None = None) -> None:
        if not taken.has_any:
            probe()
            taken.has_any = True
        error = LineError(
            f"{who} refuses this text ({len(texts[index])} characters): {reason}.",
            permanent=permanent,
            text_index=index,
        )
        error.__cause__ = cause
        taken.refused[index] = error

    def halve(some: Sequence[int]) -> None:
        try:
            raw = attempt([texts[index] for index in some])
        except Refusal as refusal:
            if len(some) == 1:
                blame(some[0], str(refusal), permanent=refusal.permanent, cause=refusal)
                return
            middle = len(some) // 2
            halve(some[:middle])
            halve(some[middle:])
            return
        finite = np.isfinite(raw).all(axis=1)
        if finite.any():
            taken.has_any = True
            taken.vectors[np.asarray(some)[finite]] = unit_rows(raw[finite])
        for row in np.flatnonzero(~finite):
            blame(some[int(row)], "its vector holds NaN or infinite values", permanent=False)

    if indices:
        halve(indices)
