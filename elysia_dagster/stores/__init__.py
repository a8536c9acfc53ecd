"""Vector stores, opened by their URL."""

from elysia_dagster.errors import UsageError
from elysia_dagster.stores.base import VectorStore


def open_store(url: str) -> VectorStore:
    """The store that ``url`` names (``lancedb:<folder>``); adapters are imported only when asked for.

    Raises ``UsageError`` for an unknown scheme.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "lancedb" and rest:
        from elysia_dagster.stores.lancedb import LanceDBStore

        return LanceDBStore(rest)
    raise UsageError(f"Store {url!r} is not known.", next_step="Use lancedb:<folder>.")
