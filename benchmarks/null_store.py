"""A store that keeps nothing: what is measured beside it is the engine."""

from collections.abc import Iterator, Mapping, Sequence

from elysia_dagster.models import CollectionInfo, MaintenanceReport, ScannedObject, SearchHit, SearchQuery, StoreObject


class NullStore:
    """``VectorStore`` that remembers the hashes of its last write, so that reading back finds what was written.

    Its collections live as long as the object: share one between the engines of a benchmark. ``count`` is what a real
    store would hold if no document were written twice.
    """

    url = "null:"
    request_timeout_s = 1.0
    rewrites_identical = True
    takes_calls_at_once = False

    def __init__(self) -> None:
        self._collections: dict[str, CollectionInfo] = {}
        self._last: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self.written = 0

    def describe(self, collection: str) -> CollectionInfo | None:
        """What was created."""
        return self._collections.get(collection)

    def ensure_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        """Creates it."""
        info = CollectionInfo(name=collection, incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        return self._collections.setdefault(collection, info)

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        """Accepts everything."""
        self._last = {each.id: each.write_hash for each in objects}
        for each in objects:
            self._counts[each.repository] = self._counts.get(each.repository, 0) + 1
        self.written += len(objects)
        return [None] * len(objects)

    def delete_objects(self, collection: str, ids: Sequence[str]) -> None:
        """Nothing is there."""

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Nothing is there."""

    def adopt_collection(
        self, collection: str, *, incarnation: str, model_id: str, dimensions: int, expected: str | None
    ) -> CollectionInfo:
        """As if it were new."""
        return self.ensure_collection(collection, incarnation=incarnation, model_id=model_id, dimensions=dimensions)

    def drop_collection(self, collection: str, *, incarnation: str) -> None:
        """Forgets it."""
        self._collections.pop(collection, None)

    def vectorizer(self, collection: str) -> str | None:
        """None."""
        return None

    def fetch_hashes(
        self, collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Of the last write."""
        return {each: self._last[each] for each in ids if each in self._last}

    def count(self, collection: str, *, repository: str | None = None) -> int:
        """Objects written so far."""
        return self.written if repository is None else self._counts.get(repository, 0)

    def count_by_repository(self, collection: str) -> dict[str, int]:
        """Objects written so far."""
        return dict(self._counts)

    def scan(self, collection: str, *, repository: str | None = None) -> Iterator[ScannedObject]:
        """Nothing."""
        return iter(())

    def search(self, collection: str, query: SearchQuery) -> list[SearchHit]:
        """Nothing."""
        return []

    def maintain(self, collection: str) -> MaintenanceReport:
        """Nothing to do."""
        return MaintenanceReport(collection=collection)

    def close(self) -> None:
        """Nothing to close."""
