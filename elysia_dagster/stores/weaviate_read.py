"""What is read of a Weaviate collection but searches: hashes by id, counts, and every object."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from weaviate.classes.aggregate import GroupByAggregate
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.query import Filter
from weaviate.collections import Collection

from elysia_dagster.models import ScannedObject
from elysia_dagster.stores.objects import encodable
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_objects import SCANNED, distinct, scanned
from elysia_dagster.stores.weaviate_structure import FoundCollection

IDS_PER_REQUEST = 1000
"""Ids in one look-up."""

SCAN_BATCH_OBJECTS = 1000
"""Objects that a scan holds at a time, with their vectors."""

MOST_RESULTS = 10_000
"""What a query gives at most, as servers are set by default (``QUERY_MAXIMUM_RESULTS``)."""

GROUPED_AT_MOST = 500_000
"""Objects that the server groups within the time of one request: it does 40,000 a second; more are scanned."""


class WeaviateReader:
    """Reads one collection at a consistency level. Raises ``CollectionMismatch`` and ``StoreUnavailable``.

    Names that differ in outer white space only are one token to the server: what it filters is compared again here.
    """

    def __init__(self, connection: WeaviateConnection, found: FoundCollection, consistency: ConsistencyLevel) -> None:
        self._connection = connection
        self._found = found
        self._consistency = consistency

    def hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """``write_hash`` by id, asked of as many replicas as the consistency level says."""
        wanted = distinct(ids)
        found = self._hashes(wanted)
        missing = [each for each in wanted if each not in found]
        if missing and self._found.replicas > 1 and self._consistency is not ConsistencyLevel.ONE:
            found |= self._hashes([each for each in missing if self._is_there(each)])
        return found

    def _hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """As one replica has them: whatever the level, a filter is answered by one (``index.go``, objectSearch)."""
        pages = self._by_id(ids, return_properties=["write_hash"])
        return {str(each.uuid): each.properties.get("write_hash") or "" for each in pages}

    def _is_there(self, id_: str) -> bool:
        """By its id an object is looked for on as many replicas as the level says; one that lacks it then gets it."""
        return self._connection.call(lambda: self._handle().data.exists(id_), collection=self._found.name)

    def count(self) -> int:
        """All objects."""
        answer = self._connection.call(
            lambda: self._handle().aggregate.over_all(total_count=True), collection=self._found.name
        )
        return int(answer.total_count or 0)

    def counts(self, repository: str | None = None) -> dict[str, int]:
        """Objects by repository: of one, or of all in one pass. Exact, however large the collection."""
        if repository is not None and not encodable(repository):
            return {}
        if self.count() > GROUPED_AT_MOST:
            return self._counts_by_scan()
        chosen = None if repository is None else Filter.by_property("repository").equal(repository)
        answer = self._connection.call(
            lambda: self._handle().aggregate.over_all(
                filters=chosen, group_by=GroupByAggregate(prop="repository", limit=MOST_RESULTS), total_count=True
            ),
            collection=self._found.name,
        )
        if len(answer.groups) >= MOST_RESULTS:  # there may be more that were left out
            return self._counts_by_scan()
        return {str(each.grouped_by.value): int(each.total_count or 0) for each in answer.groups if each.total_count}

    def scan(self, repository: str | None) -> Iterator[ScannedObject]:
        """Every object, ``SCAN_BATCH_OBJECTS`` at a time, with its vector; of one repository too."""
        pages = self._of_repository(repository) if repository is not None else None
        if pages is None:
            pages = self._pages(return_properties=SCANNED, include_vector=True)
        for each in pages:
            item = scanned(each, self._found.vector_name)
            if repository in (None, item.repository):
                yield item

    def _of_repository(self, repository: str) -> Iterator[Any] | None:
        """The objects of a repository by filter, or None where there may be more than one answer holds."""
        if not encodable(repository):
            return iter(())
        chosen = Filter.by_property("repository").equal(repository)
        ids = self._connection.call(
            lambda: self._handle().query.fetch_objects(filters=chosen, limit=MOST_RESULTS, return_properties=[]),
            collection=self._found.name,
        ).objects
        if len(ids) >= MOST_RESULTS:
            return None
        return self._by_id([str(each.uuid) for each in ids], return_properties=SCANNED, include_vector=True)

    def _counts_by_scan(self) -> dict[str, int]:
        pages = self._pages(return_properties=["repository"])
        return dict(Counter(each.properties.get("repository") or "" for each in pages))

    def _pages(self, **returned: Any) -> Iterator[Any]:
        """Every object, by the server's cursor, which knows no filter."""
        after = None
        while True:
            page = self._connection.call(
                lambda: self._handle().query.fetch_objects(limit=SCAN_BATCH_OBJECTS, after=after, **returned),  # noqa: B023  called within this turn
                collection=self._found.name,
            ).objects
            if not page:
                return
            yield from page
            after = page[-1].uuid

    def _by_id(self, ids: Sequence[str], **returned: Any) -> Iterator[Any]:
        for first in range(0, len(ids), IDS_PER_REQUEST):
            some = ids[first : first + IDS_PER_REQUEST]
            answer = self._connection.call(
                lambda: self._handle().query.fetch_objects(
                    filters=Filter.by_id().contains_any(some),  # noqa: B023  called within this turn
                    limit=len(some),  # noqa: B023
                    **returned,
                ),
                collection=self._found.name,
            )
            yield from answer.objects

    def _handle(self) -> Collection[Any, Any]:
        return self._connection.collection(self._found.name).with_consistency_level(self._consistency)
