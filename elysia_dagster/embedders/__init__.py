"""Texts to vectors: the interface in ``base.py``, one file for each embedder.

An embedder is imported when it is opened, so that a command that needs none does not pay for scikit-learn or an SDK.
"""

from elysia_dagster.embedders.base import Embedder
from elysia_dagster.errors import UsageError

OPENAI_BASE_URL = "https://api.openai.com/v1"

STORE_EMBEDDER = "store"
"""The spec of the store's own vectorizer, which ``store.py`` stands in for: its model is the collection's to tell."""


def open_embedder(spec: str, *, openai_base_url: str = OPENAI_BASE_URL, openai_api_key: str | None = None) -> Embedder:
    """The embedder that ``spec`` names; nothing is sent or downloaded before the first text.

    ``hashing`` needs nothing. ``openai:<model>[@<dimensions>]`` asks an OpenAI-compatible endpoint at
    ``openai_base_url``. ``fastembed:<model>`` runs an ONNX model on this machine. Raises ``UsageError`` for any other
    spec and for a missing extra.
    """
    kind, _, model = spec.partition(":")
    if spec == "hashing":
        from elysia_dagster.embedders.hashing import HashingEmbedder

        return HashingEmbedder()
    if kind == "openai" and model:
        from elysia_dagster.embedders.openai import OpenAIEmbedder

        return OpenAIEmbedder(model, base_url=openai_base_url, api_key=openai_api_key)
    if kind == "fastembed" and model:
        from elysia_dagster.embedders.fastembed import FastembedEmbedder

        return FastembedEmbedder(model)
    raise UsageError(
        f"no embedder is called {spec!r}.",
        next_step="Use hashing, openai:<model>[@<dimensions>], fastembed:<model> or store (--embedder or "
        "ELYSIACTL_EMBEDDER).",
    )
