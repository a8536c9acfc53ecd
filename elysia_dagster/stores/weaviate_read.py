"""What is read of a Weaviate collection but searches: hashes by id, counts, and every object."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from weaviate.classes.aggregate import GroupByAggregate
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.query import Filter
from weaviate.collections import Collection
from weaviate.collections.classes.filters import _Filters

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import ScannedObject
from elysia_dagster.stores.objects import encodable
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_errors import is_too_large
from elysia_dagster.stores.weaviate_objects import SCANNED, distinct, scanned
from elysia_dagster.stores.weaviate_structure import FoundCollection

IDS_PER_REQUEST = 1000
"""Ids in one look-up, at most."""

SCAN_BATCH_OBJECTS = 1000
"""Objects that a scan holds at a time, with their vectors, at most."""

MOST_RESULTS = 10_000
"""What a query gives at most, as servers are set by default (``QUERY_MAXIMUM_RESULTS``)."""

_TOO_MANY_RESULTS = "query maximum results exceeded"
"""entities/filters/pagination, of a server whose ``QUERY_MAXIMUM_RESULTS`` is smaller. Seen."""

GROUPED_AT_MOST = 500_000
"""Objects that the server groups within the time of one request: it does 40,000 a second; more are scanned."""


class PageSizes:
    """How much a server was found to give in one answer, of objects with their vectors and of those without."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._most: dict[bool, int] = {}

    def allowed(self, wanted: int, *, with_vectors: bool) -> int:
        """So many objects may be asked for at once, ``wanted`` at most."""
        return min(wanted, self._most.get(with_vectors, wanted))

    def halve(self, tried: int, *, with_vectors: bool) -> None:
        """So many were too many, from now on too."""
        self._most[with_vectors] = self.allowed(tried // 2, with_vectors=with_vectors)


class WeaviateReader:
    """Reads one collection at a consistency level. Raises ``CollectionMismatch`` and ``StoreUnavailable``.

    Names that differ in outer white space only are one token to the server: what it filters is compared again here.
    """

    def __init__(
        self,
        connection: WeaviateConnection,
        found: FoundCollection,
        consistency: ConsistencyLevel,
        sizes: PageSizes | None = None,
    ) -> None:
        """``sizes`` is kept by whoever asks this server again."""
        self._connection = connection
        self._found = found
        self._consistency = consistency
        self._sizes = sizes or PageSizes()

    def hashes(self, ids: Sequence[str], expected: Mapping[str, str] | None = None) -> dict[str, str]:
        """``write_hash`` by id.

        Where there are replicas, what is missing by a filter, or is not as ``expected``, is asked for alone: whatever
        the level, one replica answers a filter (``index.go``, objectSearch), and that one may lag behind. At level ONE
        only what is ``expected`` is, and then by QUORUM: one replica that has not got it yet would be no more proof.
        """
        wanted, expected = distinct(ids), expected or {}
        found = self._hashes(wanted)
        if self._found.replicas == 1:
            return found
        is_one = self._consistency is ConsistencyLevel.ONE
        absent = [each for each in wanted if each not in found and (each in expected or not is_one)]
        alone = self._alone(absent)
        # what is there and is still not found lacks in an index: it does not count
        found |= {each: alone[each] for each in self._hashes(list(alone))}
        stale = [each for each in wanted if each in found and found[each] != expected.get(each, found[each])]
        alone = self._alone([each for each in stale if each not in alone])
        return {id_: alone.get(id_, held) for id_, held in found.items()}

    def _hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """As one replica has them."""
        pages = self._by_id(ids, return_properties=["write_hash"])
        return {str(each.uuid): each.properties.get("write_hash") or "" for each in pages}

    def _alone(self, ids: Sequence[str]) -> dict[str, str]:
        """``write_hash`` of those that are there, each asked of as many replicas as the level says.

        The newest counts. A replica that is asked and lags behind then gets it.
        """
        level = ConsistencyLevel.QUORUM if self._consistency is ConsistencyLevel.ONE else self._consistency
        found = {}
        for id_ in ids:
            held = self._connection.call(lambda: self._connection.object(self._found.name, id_, level))  # noqa: B023  called within this turn
            if held is not None:
                found[id_] = held.get("write_hash") or ""
        return found

    def count(self, repository: str | None = None) -> int:
        """All objects, or those of one repository. Exact, however many there are."""
        if repository is None:
            return self._total(None)
        if not encodable(repository):
            return 0
        chosen = Filter.by_property("repository").equal(repository)
        if repository and repository == repository.strip() and self._found_lengths():
            # what else is this token to the server has white space around it, so is longer
            return self._total(chosen & Filter.by_property("repository", length=True).equal(len(repository)))
        if self._total(chosen) > GROUPED_AT_MOST:
            return self._counts_by_scan().get(repository, 0)
        return self._grouped(chosen).get(repository, 0)

    def counts(self) -> dict[str, int]:
        """Objects by repository. Exact, however large the collection."""
        if self.count() > GROUPED_AT_MOST:
            return self._counts_by_scan()
        grouped = self._grouped(None)
        # as many as were asked for: there may be more that were left out
        return self._counts_by_scan() if len(grouped) >= MOST_RESULTS else grouped

    def _found_lengths(self) -> bool:
        return bool((self._found.schema.get("invertedIndexConfig") or {}).get("indexPropertyLength"))

    def _total(self, chosen: _Filters | None) -> int:
        answer = self._connection.call(
            lambda: self._handle().aggregate.over_all(filters=chosen, total_count=True), collection=self._found.name
        )
        return int(answer.total_count or 0)

    def _grouped(self, chosen: _Filters | None) -> dict[str, int]:
        answer = self._connection.call(
            lambda: self._handle().aggregate.over_all(
                filters=chosen, group_by=GroupByAggregate(prop="repository", limit=MOST_RESULTS), total_count=True
            ),
            collection=self._found.name,
        )
        return {str(each.grouped_by.value): int(each.total_count or 0) for each in answer.groups if each.total_count}

    def scan(self, repository: str | None) -> Iterator[ScannedObject]:
        """Every object, ``SCAN_BATCH_OBJECTS`` at a time, with its vector; of one repository too."""
        vectors = True if self._found.vector_name is None else [self._found.vector_name]
        pages = self._of_repository(repository, vectors) if repository is not None else None
        if pages is None:
            pages = self._pages(return_properties=SCANNED, include_vector=vectors)
        for each in pages:
            item = scanned(each, self._found.vector_name)
            if repository in (None, item.repository):
                yield item

    def _of_repository(self, repository: str, vectors: bool | list[str]) -> Iterator[Any] | None:
        """The objects of a repository by filter, or None where there may be more than one answer holds."""
        if not encodable(repository):
            return iter(())
        chosen = Filter.by_property("repository").equal(repository)
        ids, limit = self._answer(MOST_RESULTS, lambda limit: {"filters": chosen, "limit": limit}, return_properties=[])
        if len(ids) >= limit:
            return None
        return self._by_id([str(each.uuid) for each in ids], return_properties=SCANNED, include_vector=vectors)

    def _counts_by_scan(self) -> dict[str, int]:
        pages = self._pages(return_properties=["repository"])
        return dict(Counter(each.properties.get("repository") or "" for each in pages))

    def _pages(self, **returned: Any) -> Iterator[Any]:
        """Every object, by the server's cursor, which knows no filter."""
        after = None
        while True:
            page, _ = self._answer(
                SCAN_BATCH_OBJECTS,
                lambda limit: {"after": after, "limit": limit},  # noqa: B023  called within this turn
                **returned,
            )
            if not page:
                return
            yield from page
            after = page[-1].uuid

    def _by_id(self, ids: Sequence[str], **returned: Any) -> Iterator[Any]:
        first = 0
        while first < len(ids):
            page, asked = self._answer(
                IDS_PER_REQUEST,
                lambda limit: {"filters": Filter.by_id().contains_any(ids[first : first + limit]), "limit": limit},  # noqa: B023  called within this turn
                **returned,
            )
            yield from page
            first += asked

    def _answer(self, most: int, which: Callable[[int], dict[str, Any]], **returned: Any) -> tuple[list[Any], int]:
        """What one query gives, and for how many objects it asked: ``most``, or fewer where that is too much."""
        with_vectors = bool(returned.get("include_vector"))
        while True:
            limit = self._sizes.allowed(most, with_vectors=with_vectors)
            try:
                answer = self._connection.call(
                    lambda: self._handle().query.fetch_objects(**which(limit), **returned),  # noqa: B023  called within this turn
                    collection=self._found.name,
                )
            except Exception as error:
                if not (is_too_large(error) or _TOO_MANY_RESULTS in str(error)):
                    raise
                if limit == 1:
                    raise self._never_given(error) from error
                self._sizes.halve(limit, with_vectors=with_vectors)
            else:
                return answer.objects, limit

    def _never_given(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"An object of collection {self._found.name} is more than the server gives in one answer: "
            f"{' '.join(str(error).split())[:300]}",
            next_step="Raise the server's GRPC_MAX_MESSAGE_SIZE, then run the same command again.",
            collection=self._found.name,
        )

    def _handle(self) -> Collection[Any, Any]:
        return self._connection.collection(self._found.name).with_consistency_level(self._consistency)
