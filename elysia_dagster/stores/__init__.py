"""Vector stores, opened by their URL."""

import warnings

from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.stores.base import VectorStore


def open_store(url: str, settings: Settings | None = None) -> VectorStore:
    """The store that ``url`` names; adapters are imported only when asked for, and connect when first used.

    ``lancedb:<folder>`` or ``weaviate:http[s]://host:port[?…]``; ``weaviate:`` alone is the server that the setting
    ``weaviate_url`` names. Raises ``UsageError`` for an unknown scheme or an address that does not parse.
    """
    settings = settings or Settings()
    scheme, _, rest = url.partition(":")
    if scheme == "lancedb" and rest:
        from elysia_dagster.stores.lancedb import LanceDBStore

        return LanceDBStore(rest, most_objects=settings.request_objects, most_bytes=settings.request_bytes)
    if scheme == "weaviate":
        # What the client's own imports tell programmers is none of the user's business. They are recorded, and nobody
        # looks: one of its libraries (authlib) asks for its warnings to be shown always, past every filter.
        with warnings.catch_warnings(record=True):
            from elysia_dagster.stores.weaviate import WeaviateStore

        return WeaviateStore(url, settings)
    known = "" if not rest else f" of the kind {scheme[:40]!r}"  # what follows may hold a password
    raise UsageError(f"A store{known} is not known.", next_step="Use lancedb:<folder> or weaviate:http://host:port.")
