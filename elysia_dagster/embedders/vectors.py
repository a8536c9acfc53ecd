"""What embedders share: rows of unit length, and an estimate of tokens for models whose tokenizer is elsewhere."""

from collections.abc import Iterable

import numpy as np

_BYTES_PER_TOKEN = 4
"""OpenAI's rule of thumb for English; source code is nearer to 3.5, so the estimate is a little low for it."""


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """``rows`` of shape ``(n, dimensions)`` as float32 of length 1 each; a zero row stays zero."""
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    lengths[lengths == 0] = 1.0
    unit: np.ndarray = (exact / lengths[:, None]).astype(np.float32)
    return unit


def sendable(text: str) -> str:
    """``text`` as UTF-8 can carry it: a lone surrogate (JSON's ``"\\ud800"``) becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def estimate_tokens(texts: Iterable[str]) -> int:
    """About how many tokens all texts together have: a token for every four UTF-8 bytes, begun ones counted, in each
    text."""
    return sum(-(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN) for text in texts)
