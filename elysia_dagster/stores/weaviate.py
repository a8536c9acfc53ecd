"""The target store: collections of a Weaviate server, 1.30 to 1.39.

What the adapter adds to weaviate-client 4.23: one address and no other is contacted; a dropped collection is noticed
before auto-schema makes it anew; every object's answer is judged (an outage dressed up as rejections charges nobody);
a lost answer is followed by a look at what is there; errors have a type, and a sentence for people.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weaviate.classes.aggregate import GroupByAggregate
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.query import Filter
from weaviate.collections import Collection
from weaviate.exceptions import UnexpectedStatusCodeError

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import (
    CollectionInfo,
    MaintenanceReport,
    ScannedObject,
    SearchHit,
    SearchQuery,
    StoreObject,
)
from elysia_dagster.settings import Settings
from elysia_dagster.stores import weaviate_schema as schemas
from elysia_dagster.stores.objects import encodable, requests, why_rejected
from elysia_dagster.stores.weaviate_address import parse_address
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_description import SENTENCE, Description, Marks, parse_description
from elysia_dagster.stores.weaviate_errors import missing_collection
from elysia_dagster.stores.weaviate_objects import SCANNED, distinct, scanned
from elysia_dagster.stores.weaviate_search import search_collection
from elysia_dagster.stores.weaviate_write import IDS_PER_REQUEST, WeaviateWriter

SCAN_BATCH_OBJECTS = 1000
"""Objects that a scan holds at a time, with their vectors."""

FILTERED_AT_MOST = 10_000
"""Objects that a filtered query gives at most (``QUERY_MAXIMUM_RESULTS`` of the server)."""

_CLIENT_RETRIES_S = 15.0
"""What the client itself sleeps within ``insert_many`` while nothing answers (``weaviate.retry``: 1, 2, 4, 8 s)."""


@dataclass(frozen=True, kw_only=True)
class _Collection:
    """What the server says of a collection."""

    schema: schemas.Schema
    description: Description
    vector_name: str | None
    marks: Marks

    @property
    def makes_vectors(self) -> bool:
        """Whether the server makes the vectors."""
        return schemas.vectorizer_of(self.schema, self.vector_name) is not None


class WeaviateStore:
    """``VectorStore`` on a server. Nothing is contacted before the first call."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Raises ``UsageError`` for an address that does not parse."""
        self._settings = settings
        self._address = parse_address(
            url, server=settings.weaviate_url, tenant=settings.weaviate_tenant, vector=settings.weaviate_vector
        )
        self.url = self._address.url
        self._budget_s = settings.store_insert_timeout_s + settings.store_retry_s
        self.request_timeout_s = 2 * self._budget_s + _CLIENT_RETRIES_S
        self._consistency = ConsistencyLevel[settings.weaviate_consistency.upper()]
        self._connection = WeaviateConnection(
            self._address,
            api_key=settings.weaviate_api_key,
            connect_s=settings.store_connect_timeout_s,
            query_s=settings.store_query_timeout_s,
            insert_s=settings.store_insert_timeout_s,
            retry_s=settings.store_retry_s,
        )

    def describe(self, collection: str) -> CollectionInfo | None:
        """What the collection's description and schema say; None too for a tenant that is not there."""
        there = self._look(collection)
        if there is None or not self._has_tenant(collection):
            return None
        return self._info(collection, there)

    def ensure_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        """Makes a collection, or its tenant, or completes what is there; of several processes at once one makes it."""
        marks = Marks(incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        there = self._look(collection)
        if there is None:
            self._refuse_other_case(collection)
            text = str(Description(text=SENTENCE, tenants={self._address.tenant: marks}))
            schema = schemas.new_collection(collection, self._address, self._settings, dimensions=dimensions, text=text)
            self._create(collection, schema)
            there = self._looked(collection)
        self._complete(collection, there)
        if self._address.tenant and not self._has_tenant(collection):
            if there.marks != marks:
                self._describe_as(collection, there.description.marked(self._address.tenant, marks))
            self._connection.call(
                lambda: self._connection.client().collections.use(collection).tenants.create(self._address.tenant),
                collection=collection,
            )
        return self._info(collection, self._looked(collection))

    def adopt_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        """Completes the collection and writes other marks into its description; the sentence that it has stays."""
        there = self._looked(collection)
        self._complete(collection, there)
        length = self._length_of_a_vector(collection, there)
        if dimensions and length and length != dimensions:
            raise CollectionMismatch(
                f"Vectors in collection {collection} have {length} values, those of this embedder {dimensions}.",
                next_step="Use the embedder that made them, or another --collection.",
                collection=collection,
            )
        marks = Marks(incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        self._describe_as(collection, there.description.marked(self._address.tenant, marks))
        return self._info(collection, self._looked(collection))

    def vectorizer(self, collection: str) -> str | None:
        """The module, model and settings that make this collection's vectors, or would, by the settings, a new one's.

        An existing collection of ours keeps the name it began with: the server adds defaults of its own to the
        settings that it was given, and lets nobody change them.
        """
        there = self._look(collection)
        if there is None:
            asked = schemas.parse_vectorizer(self._settings.weaviate_vectorizer)
            return None if asked is None else schemas.vectorizer_id(asked)
        found = schemas.vectorizer_of(there.schema, there.vector_name)
        if found is None:
            return None
        known = there.marks.model_id or ""
        return known if known.startswith(f"store:{next(iter(found))}:") else schemas.vectorizer_id(found)

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        """Writes what can be written and gives each object None, or why it was rejected; of one id the last counts.

        The length of vectors is looked at here: an empty shard takes any.
        """
        there = self._looked(collection)
        reasons = [
            why_rejected(item, there.marks.dimensions or (0 if item.vector is None else len(item.vector)))
            for item in objects
        ]
        accepted = {item.id: item for item, reason in zip(objects, reasons, strict=True) if reason is None}
        writer = self._writer(collection, there)
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

    def fetch_hashes(self, collection: str, ids: Sequence[str]) -> dict[str, str]:
        """``write_hash`` by id, asked of as many replicas as the consistency level says."""
        found: dict[str, str] = {}
        wanted = distinct(ids)
        for first in range(0, len(wanted), IDS_PER_REQUEST):
            some = wanted[first : first + IDS_PER_REQUEST]
            answer = self._connection.call(
                lambda: self._handle(collection).query.fetch_objects(
                    filters=Filter.by_id().contains_any(some),  # noqa: B023  called within this turn
                    limit=len(some),  # noqa: B023
                    return_properties=["write_hash"],
                ),
                collection=collection,
            )
            for each in answer.objects:
                found[str(each.uuid)] = each.properties.get("write_hash") or ""
        if not wanted:
            self._looked(collection)
        return found

    def count(self, collection: str, *, repository: str | None = None) -> int:
        """Objects, counted by the server."""
        if repository is not None and not encodable(repository):
            return 0
        chosen = None if repository is None else Filter.by_property("repository").equal(repository)
        self._looked(collection)
        answer = self._connection.call(
            lambda: self._handle(collection).aggregate.over_all(filters=chosen, total_count=True),
            collection=collection,
        )
        return int(answer.total_count or 0)

    def count_by_repository(self, collection: str) -> dict[str, int]:
        """By one grouped count of the server; it gives at most so many groups, more are counted by a scan."""
        self._looked(collection)
        answer = self._connection.call(
            lambda: self._handle(collection).aggregate.over_all(
                group_by=GroupByAggregate(prop="repository", limit=FILTERED_AT_MOST), total_count=True
            ),
            collection=collection,
        )
        if len(answer.groups) >= FILTERED_AT_MOST:
            return dict(Counter(each.repository for each in self.scan(collection)))
        return {str(each.grouped_by.value): int(each.total_count or 0) for each in answer.groups if each.total_count}

    def scan(self, collection: str, *, repository: str | None = None) -> Iterator[ScannedObject]:
        """Every object, by the server's cursor, ``SCAN_BATCH_OBJECTS`` at a time, with its vector.

        The cursor knows no filter: the objects of one repository are picked out here.
        """
        there = self._looked(collection)
        after = None
        while True:
            page = self._connection.call(
                lambda: self._handle(collection).query.fetch_objects(
                    limit=SCAN_BATCH_OBJECTS,
                    after=after,  # noqa: B023  called within this turn
                    return_properties=SCANNED,
                    include_vector=True,
                ),
                collection=collection,
            ).objects
            for found in page:
                item = scanned(found, there.vector_name)
                if repository in (None, item.repository):
                    yield item
            if not page:
                return
            after = page[-1].uuid

    def search(self, collection: str, query: SearchQuery) -> list[SearchHit]:
        """The best chunks, best first."""
        there = self._looked(collection)
        return self._connection.call(
            lambda: search_collection(
                self._handle(collection),
                query,
                vector_name=there.vector_name,
                dimensions=there.marks.dimensions,
                makes_vectors=there.makes_vectors,
            ),
            collection=collection,
        )

    def maintain(self, collection: str) -> MaintenanceReport:
        """Nothing: the server keeps its indexes itself. Tells how many objects there are."""
        return MaintenanceReport(collection=collection, details={"rows": self.count(collection)})

    def close(self) -> None:
        """Closes the connection; the next call opens it again."""
        self._connection.close()

    def _handle(self, collection: str) -> Collection[Any, Any]:
        return self._connection.collection(collection).with_consistency_level(self._consistency)

    def _writer(self, collection: str, there: _Collection) -> WeaviateWriter:
        return WeaviateWriter(
            self._connection,
            collection,
            vector_name=there.vector_name,
            consistency=self._consistency,
            until=time.monotonic() + self._budget_s,
        )

    def _delete(self, collection: str, where: str, values: list[str]) -> None:
        there = self._looked(collection)
        if values:
            self._writer(collection, there).delete(where, values)

    def _look(self, collection: str) -> _Collection | None:
        """The collection as the server has it now, None where there is none. Raises ``CollectionMismatch``."""

        def ask() -> schemas.Schema | None:
            try:
                config = self._connection.client().collections.use(collection).config.get()
            except UnexpectedStatusCodeError as error:
                if error.status_code == 404:
                    return None
                raise
            made: schemas.Schema = config.to_dict()
            return made

        schema = self._connection.call(ask)
        if schema is None or schema["class"] != collection:
            return None
        schemas.check_tenancy(schema, self._address)
        description = parse_description(schema.get("description"))
        return _Collection(
            schema=schema,
            description=description,
            vector_name=schemas.vector_name(schema, self._address),
            marks=description.marks(self._address.tenant),
        )

    def _looked(self, collection: str) -> _Collection:
        there = self._look(collection)
        if there is None:
            raise missing_collection(collection, self.url)
        return there

    def _has_tenant(self, collection: str) -> bool:
        tenant = self._address.tenant
        if not tenant:
            return True
        return self._connection.call(
            lambda: self._connection.client().collections.use(collection).tenants.exists(tenant), collection=collection
        )

    def _info(self, collection: str, there: _Collection) -> CollectionInfo:
        return CollectionInfo(
            name=collection,
            incarnation=there.marks.incarnation,
            model_id=there.marks.model_id,
            dimensions=there.marks.dimensions,
        )

    def _create(self, collection: str, schema: schemas.Schema) -> None:
        def create() -> None:
            try:
                self._connection.client().collections.create_from_dict(schema)
            except UnexpectedStatusCodeError as error:
                if "already exists" not in str(error):
                    raise

        self._connection.call(create, collection=collection)

    def _complete(self, collection: str, there: _Collection) -> None:
        """Adds the properties that are missing."""
        for each in schemas.missing_properties(there.schema):
            made = schemas.to_client(each)
            self._connection.call(
                lambda: self._connection.client().collections.use(collection).config.add_property(made),  # noqa: B023
                collection=collection,
            )

    def _describe_as(self, collection: str, description: Description) -> None:
        self._connection.call(
            lambda: self._connection.client().collections.use(collection).config.update(description=str(description)),
            collection=collection,
        )

    def _refuse_other_case(self, collection: str) -> None:
        names = self._connection.call(lambda: list(self._connection.client().collections.list_all(simple=True)))
        for name in names:
            if name != collection and name.lower() == collection.lower():
                raise CollectionMismatch(
                    f"Collection {name} differs from {collection} in the case of its letters only.",
                    next_step="Choose another --collection: Weaviate keeps both in one folder.",
                )

    def _length_of_a_vector(self, collection: str, there: _Collection) -> int:
        """Of any one object, 0 where there is none."""
        page = self._connection.call(
            lambda: self._handle(collection).query.fetch_objects(limit=1, include_vector=True), collection=collection
        ).objects
        return len(page[0].vector.get(there.vector_name or "default") or ()) if page else 0
