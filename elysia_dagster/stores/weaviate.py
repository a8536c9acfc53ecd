"""The target store: collections of a Weaviate server.

What the adapter adds to weaviate-client 4.23: one address and no other is contacted; a dropped collection is noticed
before auto-schema makes it anew; every object's answer is judged (an outage dressed up as rejections charges nobody);
a lost answer is followed by a look at what is there; errors have a type, and a sentence for people.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from weaviate.classes.config import ConsistencyLevel

from elysia_dagster.models import (
    CollectionInfo,
    MaintenanceReport,
    ScannedObject,
    SearchHit,
    SearchQuery,
    StoreObject,
)
from elysia_dagster.settings import Settings
from elysia_dagster.stores.objects import requests, why_rejected
from elysia_dagster.stores.weaviate_address import parse_address
from elysia_dagster.stores.weaviate_aliases import WeaviateAliases
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_description import Marks
from elysia_dagster.stores.weaviate_drop import drop_collection
from elysia_dagster.stores.weaviate_objects import distinct, is_uuid
from elysia_dagster.stores.weaviate_read import PageSizes, WeaviateReader
from elysia_dagster.stores.weaviate_search import search_collection
from elysia_dagster.stores.weaviate_structure import FoundCollection, WeaviateStructure
from elysia_dagster.stores.weaviate_write import WeaviateWriter


class WeaviateStore:
    """``VectorStore`` on a server. Nothing is contacted before the first call.

    ``stop_requested`` is asked while it waits for the server: a wait ends with ``Interrupted`` (``Stoppable``).
    """

    rewrites_identical: bool = False
    """An object found unchanged keeps its old place in the vector index, or none (server 1.38.11)."""

    takes_calls_at_once: bool = True
    """Threads may share it. A server works at one insert beside the steps of another that wait."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Raises ``UsageError`` for an address that does not parse."""
        self._settings = settings
        self.stop_requested: Callable[[], bool] = lambda: False
        address = parse_address(
            url, server=settings.weaviate_url, tenant=settings.weaviate_tenant, vector=settings.weaviate_vector
        )
        self.url = address.url
        self._budget_s = settings.store_insert_timeout_s + settings.store_retry_s
        # To connect is to ask the server for its login and, twice, what it is, and its gRPC port for its health.
        connect_s = 2 * settings.store_connect_timeout_s + 2 * settings.store_query_timeout_s
        # Until the budget ends a last attempt may begin: wait while another thread connects in vain, connect, read
        # back, remove what lacks its vector, insert.
        self.request_timeout_s = (
            self._budget_s + 2 * connect_s + 3 * settings.store_query_timeout_s + settings.store_insert_timeout_s
        )
        self._consistency = ConsistencyLevel[settings.weaviate_consistency.upper()]
        self._connection = WeaviateConnection(
            address,
            api_key=settings.weaviate_api_key,
            connect_s=settings.store_connect_timeout_s,
            query_s=settings.store_query_timeout_s,
            insert_s=settings.store_insert_timeout_s,
            retry_s=settings.store_retry_s,
            stop_requested=self._is_asked_to_stop,
        )
        self._structure = WeaviateStructure(self._connection, settings)
        self._aliases = WeaviateAliases(self._connection)
        self._sizes = PageSizes()

    def describe(self, collection: str) -> CollectionInfo | None:
        """What the collection's description and schema say; None too for a tenant that is not there."""
        found = self._structure.find(collection)
        return None if found is None else found.info

    def ensure_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        """Makes a collection, or its tenant, or completes what is there."""
        marks = Marks(incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        return self._structure.ensure(collection, marks).info

    def adopt_collection(
        self, collection: str, *, incarnation: str, model_id: str, dimensions: int, expected: str | None
    ) -> CollectionInfo:
        """Writes the new marks into the collection's description; the rest of that stays."""
        marks = Marks(incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        return self._structure.adopt(collection, marks, expected=expected).info

    def drop_collection(self, collection: str, *, incarnation: str) -> None:
        """Drops the collection, or the tenant that is set."""
        drop_collection(self._connection, self._structure, collection, incarnation)

    def resolve(self, name: str) -> str:
        """The collection that a name means (``Aliasing``)."""
        return self._aliases.resolve(name)

    def can_alias(self) -> bool:
        """Whether the server is 1.32 or newer, and no tenant is set."""
        return self._aliases.are_possible()

    def aliases_of(self, collection: str) -> list[str]:
        """Its aliases, sorted."""
        return self._aliases.of(collection)

    def point_alias(self, alias: str, collection: str) -> None:
        """Moves or makes an alias."""
        self._aliases.point(alias, collection)

    def vectorizer(self, collection: str) -> str | None:
        """The module, model and settings that make this collection's vectors, or would make a new one's."""
        return self._structure.vectorizer(collection)

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        """Writes what can be written and gives each object None, or why it was rejected; of one id the last counts.

        The length of vectors is looked at here: an empty shard takes any.
        """
        until = time.monotonic() + self._budget_s
        with self._connection.until(until):
            return self._upsert(collection, objects, until)

    def _upsert(self, collection: str, objects: Sequence[StoreObject], until: float) -> list[str | None]:
        found = self._structure.load(collection)
        reasons = [_why_rejected(item, found.marks.dimensions) for item in objects]
        accepted = {item.id: item for item, reason in zip(objects, reasons, strict=True) if reason is None}
        writer = self._writer(found, until)
        rejected: dict[str, str] = {}
        most_bytes = min(self._settings.request_bytes, self._connection.largest_message_bytes * 9 // 10)
        for request in requests(accepted.values(), most_objects=self._settings.request_objects, most_bytes=most_bytes):
            rejected |= writer.insert(request)
        return [reason or rejected.get(item.id) for item, reason in zip(objects, reasons, strict=True)]

    def delete_objects(self, collection: str, ids: Sequence[str]) -> None:
        """Removes objects by id; what cannot be an id here is not there."""
        self._delete(collection, "id", distinct(ids))

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Removes every object of the documents."""
        self._delete(collection, "document_id", distinct(document_ids))

    def fetch_hashes(
        self, collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """``write_hash`` by id, asked of as many replicas as the consistency level says."""
        if not distinct(ids):  # nothing is asked that would fail
            self._structure.load(collection)
            return {}
        found = self._structure.last(collection)
        return WeaviateReader(self._connection, found, self._consistency, self._sizes).hashes(ids, expected)

    def count(self, collection: str, *, repository: str | None = None) -> int:
        """Objects, counted by the server from its indexes; of a repository without lengths 25 ms for each 1,000."""
        return self._reader(collection).count(repository)

    def count_by_repository(self, collection: str) -> dict[str, int]:
        """By one grouped count of the server, 20 ms for each 1,000; above half a million by a scan."""
        return self._reader(collection).counts()

    def scan(self, collection: str, *, repository: str | None = None) -> Iterator[ScannedObject]:
        """Every object with its vector, to see that it has one: 7,000 a second."""
        yield from self._reader(collection).scan(repository)

    def search(self, collection: str, query: SearchQuery) -> list[SearchHit]:
        """The best chunks, best first."""
        found = self._structure.load(collection)
        return self._connection.call(
            lambda: search_collection(
                self._connection.collection(collection).with_consistency_level(self._consistency),
                query,
                vector_name=found.vector_name,
                dimensions=found.marks.dimensions,
                makes_vectors=found.makes_vectors,
            ),
            collection=collection,
        )

    def maintain(self, collection: str) -> MaintenanceReport:
        """Nothing: the server keeps its indexes itself. Tells how many objects there are."""
        return MaintenanceReport(collection=collection, details={"rows": self.count(collection)})

    def close(self) -> None:
        """Closes the connection; the next call opens it again."""
        self._connection.close()

    def _is_asked_to_stop(self) -> bool:
        return self.stop_requested()

    def _reader(self, collection: str) -> WeaviateReader:
        return WeaviateReader(self._connection, self._structure.load(collection), self._consistency, self._sizes)

    def _writer(self, found: FoundCollection, until: float) -> WeaviateWriter:
        return WeaviateWriter(
            self._connection,
            found.name,
            vector_name=found.vector_name,
            consistency=self._consistency,
            until=until,
        )

    def _delete(self, collection: str, where: str, values: list[str]) -> None:
        until = time.monotonic() + self._budget_s
        with self._connection.until(until):
            found = self._structure.load(collection)
            if values:
                self._writer(found, until).delete(where, values)


def _why_rejected(item: StoreObject, dimensions: int) -> str | None:
    """The reason why an object cannot be stored here. A collection whose ``dimensions`` are not known takes any."""
    if not is_uuid(item.id):
        return f"the id {item.id!r} is no UUID"
    return why_rejected(item, dimensions or (0 if item.vector is None else len(item.vector)))
