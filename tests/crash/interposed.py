"""Stands between the engine and a real store or embedder: counts, fails, rejects, waits."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from elysia_dagster.embedders import open_embedder
from elysia_dagster.errors import EmbedderUnavailable
from elysia_dagster.models import StoreObject
from elysia_dagster.stores.base import VectorStore
from elysia_dagster.sync.engine import Engine


class InterposedStore:
    """The real store; ``before`` and ``after`` are called with each method's name, and may raise; ``reject`` gives the
    reason why an object is refused, or None."""

    def __init__(self, store: VectorStore) -> None:
        self.store = store
        self.before: Callable[[str], None] = lambda _name: None
        self.after: Callable[[str], None] = lambda _name: None
        self.reject: Callable[[StoreObject], str | None] = lambda _object: None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self.before(name)
            answer = found(*arguments, **named)
            self.after(name)
            return answer

        return call

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        """Writes what is not rejected; the store may reject more."""
        self.before("upsert")
        reasons = [self.reject(each) for each in objects]
        sent = [each for each, reason in zip(objects, reasons, strict=True) if reason is None]
        answers = iter(self.store.upsert(collection, sent))
        self.after("upsert")
        return [next(answers) if reason is None else reason for reason in reasons]


class InterposedEmbedder:
    """The offline embedder, that counts the texts it is paid for, and is out while ``is_out``."""

    def __init__(self) -> None:
        self._embedder = open_embedder("hashing")
        self.model_id = self._embedder.model_id
        self.dimensions = self._embedder.dimensions
        self.texts = 0
        self.is_out = False

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Counts, then embeds."""
        self.check()
        self.texts += len(texts)
        return self._embedder.embed(texts)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """As the embedder does."""
        return self._embedder.count_tokens(texts)

    def check(self) -> None:
        """Raises while it is out."""
        if self.is_out:
            raise EmbedderUnavailable("The embedder does not answer.", next_step="Start it.")

    def close(self) -> None:
        """As the embedder does."""
        self._embedder.close()


def interpose(engine: Engine) -> tuple[InterposedStore, InterposedEmbedder]:
    """Puts both between an engine and what it works with."""
    store = InterposedStore(engine.store())
    embedder = InterposedEmbedder()
    engine.open_store = lambda _url, _settings: store  # type: ignore[assignment]
    engine._stores.clear()
    engine._embedders["hashing"] = embedder
    return store, embedder
