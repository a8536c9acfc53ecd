"""Collections of a Weaviate server as such: what is there, made, completed, taken over."""

import re
from dataclasses import dataclass
from typing import Any

from weaviate.classes.config import ConsistencyLevel
from weaviate.collections import Collection
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateInvalidInputError

from elysia_dagster.errors import CollectionMismatch, StoreUnavailable, UsageError
from elysia_dagster.models import CollectionInfo
from elysia_dagster.settings import Settings
from elysia_dagster.stores import weaviate_schema as schemas
from elysia_dagster.stores.base import changed_hands
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_description import SENTENCE, Description, Marks, parse_description
from elysia_dagster.stores.weaviate_errors import missing_collection
from elysia_dagster.stores.weaviate_marking import write_marks
from elysia_dagster.stores.weaviate_prime import prime_shards

SAMPLED_OBJECTS = 10
"""Objects of which one has to have a vector, so that its length is known."""

_NAME = re.compile(r"[A-Z][_0-9A-Za-z]{0,254}")
"""``ClassNameRegexCore`` of the server (``entities/schema/validation.go``, 1.38)."""


@dataclass(frozen=True, kw_only=True)
class FoundCollection:
    """What the server says of a collection. ``vector_name`` is None for a vector without a name."""

    name: str
    schema: schemas.Schema
    description: Description
    vector_name: str | None
    marks: Marks
    tenant: str

    @property
    def makes_vectors(self) -> bool:
        """Whether the server makes the vectors."""
        return schemas.vectorizer_of(self.schema, self.vector_name) is not None

    @property
    def replicas(self) -> int:
        """How many nodes hold each object."""
        return int((self.schema.get("replicationConfig") or {}).get("factor") or 1)

    @property
    def shards(self) -> int:
        """How many parts its objects are spread over; of a tenant one."""
        return 1 if self.tenant else int((self.schema.get("shardingConfig") or {}).get("actualCount") or 1)

    @property
    def info(self) -> CollectionInfo:
        """The same for all stores."""
        return CollectionInfo(
            name=self.name,
            incarnation=self.marks.incarnation,
            model_id=self.marks.model_id,
            dimensions=self.marks.dimensions,
            tenant=self.tenant,
        )


class WeaviateStructure:
    """The collections of a server, each with the tenant that is set.

    Every method raises ``CollectionMismatch`` for a collection that is not as the settings say (tenants, vectors),
    ``UsageError`` for a name that no collection can have, ``StoreUnavailable``.
    """

    def __init__(self, connection: WeaviateConnection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._address = connection.address
        self._consistency = ConsistencyLevel[settings.weaviate_consistency.upper()]
        self._last: dict[str, FoundCollection] = {}
        self._primed: set[CollectionInfo] = set()

    def find(self, collection: str) -> FoundCollection | None:
        """A collection as it is now; None where there is none, or not that tenant of it."""
        found = self._find_schema(collection)
        if found is None or not self._has_tenant(collection):
            self._last.pop(collection, None)
            return None
        self._last[collection] = found
        return found

    def load(self, collection: str) -> FoundCollection:
        """The same. Raises ``CollectionMismatch`` where it is not there."""
        found = self.find(collection)
        if found is None:
            raise missing_collection(collection, self._address.url)
        return found

    def last(self, collection: str) -> FoundCollection:
        """The collection as it was when last looked at: for a read that itself fails where it is gone."""
        return self._last.get(collection) or self.load(collection)

    def ensure(self, collection: str, marks: Marks) -> FoundCollection:
        """Makes a collection, or its tenant, or completes what is there; of several processes at once one makes it."""
        found = self._find_schema(collection)
        if found is None:
            self._refuse_other_case(collection)
            self._create(collection, marks)
            found = self._find_schema(collection)
            if found is None:  # dropped between the two lines
                raise missing_collection(collection, self._address.url)
        self._complete(found)
        if not self._has_tenant(collection):
            self._mark(found, marks, expected=found.marks.incarnation)
            self._connection.call(
                lambda: self._handle(collection).tenants.create(self._address.tenant), collection=collection
            )
        found = self.load(collection)
        if found.info not in self._primed:
            prime_shards(self._connection, collection, shards=found.shards, consistency=self._consistency)
            self._primed.add(found.info)
        return found

    def adopt(self, collection: str, marks: Marks, *, expected: str | None) -> FoundCollection:
        """Completes a collection and writes other marks into its description; the sentence that it has stays.

        Raises ``CollectionMismatch`` where its vectors have another length, and where its incarnation is not
        ``expected``, just before the marks are written, or not the new one after that.
        """
        found = self.load(collection)
        if found.marks.incarnation not in (expected, marks.incarnation):
            raise changed_hands(collection, self._address.url)
        length = self._length_of_a_vector(found)
        if marks.dimensions and length and length != marks.dimensions:
            raise CollectionMismatch(
                f"Vectors in collection {collection} have {length} values, those of this embedder {marks.dimensions}.",
                next_step="Use the embedder that made them, or another --collection.",
                collection=collection,
            )
        self._complete(found)
        if self._mark(found, marks, expected=expected) != marks:
            raise changed_hands(collection, self._address.url)
        return self.load(collection)

    def vectorizer(self, collection: str) -> str | None:
        """The module, model and settings that make this collection's vectors, or would, by the settings, a new one's.

        An existing collection of ours keeps the name it began with: the server adds defaults of its own to the
        settings that it was given, and lets nobody change them.
        """
        found = self._find_schema(collection)
        if found is None:
            asked = schemas.parse_vectorizer(self._settings.weaviate_vectorizer)
            return None if asked is None else schemas.vectorizer_id(asked)
        there = schemas.vectorizer_of(found.schema, found.vector_name)
        if there is None:
            return None
        known = found.marks.model_id or ""
        return known if known.startswith(f"store:{next(iter(there))}:") else schemas.vectorizer_id(there)

    def _find_schema(self, collection: str) -> FoundCollection | None:
        if not _NAME.fullmatch(collection):
            raise UsageError(
                f"{collection!r} cannot be the name of a collection in Weaviate.",
                next_step="Begin it with a capital ASCII letter; ASCII letters, digits and underscores may follow.",
            )

        def ask() -> schemas.Schema | None:
            return self._connection.get(f"/schema/{collection}")

        schema = self._connection.call(ask)
        if schema is None and collection in self._names():  # made just now, or it was a proxy's 404
            schema = self._connection.call(ask)
            if schema is None:
                raise self._contradicts_itself(f"/v1/schema/{collection}")
        if schema is None:
            return None
        if schema["class"] != collection:
            raise CollectionMismatch(
                f"{collection} in {self._address.url} is an alias of collection {schema['class']}.",
                next_step=f"Use the collection's own name: --collection {schema['class']}",
                collection=collection,
            )
        schemas.check_tenancy(schema, self._address)
        description = parse_description(schema.get("description"))
        return FoundCollection(
            name=collection,
            schema=schema,
            description=description,
            vector_name=schemas.vector_name(schema, self._address),
            marks=description.marks(self._address.tenant),
            tenant=self._address.tenant,
        )

    def _has_tenant(self, collection: str) -> bool:
        tenant = self._address.tenant
        if not tenant:
            return True

        def exists() -> bool:
            return self._handle(collection).tenants.exists(tenant)

        def is_listed() -> bool:
            return tenant in self._handle(collection).tenants.get_by_names([tenant])

        for _ in range(2):  # the second where another process makes it just now
            if self._connection.call(exists, collection=collection):
                return True
            if not self._connection.call(is_listed, collection=collection):
                return False
        raise self._contradicts_itself(f"/v1/schema/{collection}/tenants/{tenant}")

    def _names(self) -> list[str]:
        return self._connection.call(lambda: list(self._connection.client().collections.list_all(simple=True)))

    def _contradicts_itself(self, path: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The server {self._address.url} lists what it says is not there ({path}).",
            next_step="Check what stands before the server: it has to pass on every path below /v1.",
            store=self._address.url,
        )

    def _create(self, collection: str, marks: Marks) -> None:
        text = str(Description(text=SENTENCE, tenants={self._address.tenant: marks}))
        schema = schemas.new_collection(
            collection, self._address, self._settings, dimensions=marks.dimensions, text=text
        )

        def create() -> None:
            try:
                self._connection.client().collections.create_from_dict(schema)
            except UnexpectedStatusCodeError as error:
                if "already exists" in str(error):
                    return
                if error.status_code == 422:
                    raise schemas.refused_by_server(collection, str(error)) from error
                raise

        self._connection.call(create, collection=collection)

    def _complete(self, found: FoundCollection) -> None:
        """Adds the properties that are missing."""
        for each in schemas.missing_properties(found.schema):
            made = schemas.to_client(each)

            def add() -> None:
                try:
                    self._handle(found.name).config.add_property(made)  # noqa: B023  called within this turn
                except (UnexpectedStatusCodeError, WeaviateInvalidInputError):
                    there = self._connection.get(f"/schema/{found.name}") or {}
                    if made.name in {lacking.name for lacking in schemas.missing_properties(there)}:  # noqa: B023
                        raise  # else another process added it at the same time

            self._connection.call(add, collection=found.name)

    def _mark(self, found: FoundCollection, marks: Marks, *, expected: str | None) -> Marks:
        """Writes marks in the place of the ``expected`` ones; those that are there in the end."""

        def read() -> Description:
            there = self._find_schema(found.name)
            if there is None:
                raise missing_collection(found.name, self._address.url)
            return there.description

        def write(description: Description) -> None:
            text = str(description)
            self._connection.call(
                lambda: self._handle(found.name).config.update(description=text), collection=found.name
            )

        return write_marks(
            self._address.tenant, marks, expected=(expected,), read=read, write=write, url=self._address.url
        )

    def _refuse_other_case(self, collection: str) -> None:
        for name in self._names():
            if name != collection and name.lower() == collection.lower():
                raise CollectionMismatch(
                    f"Collection {name} differs from {collection} in the case of its letters only.",
                    next_step="Choose another --collection: Weaviate keeps both in one folder.",
                )

    def _length_of_a_vector(self, found: FoundCollection) -> int:
        """Of one of the first objects, 0 where none has a vector."""
        page = self._connection.call(
            lambda: self._connection.collection(found.name).query.fetch_objects(
                limit=SAMPLED_OBJECTS, include_vector=True
            ),
            collection=found.name,
        ).objects
        lengths = (len(each.vector.get(found.vector_name or "default") or ()) for each in page)
        return next((length for length in lengths if length), 0)

    def _handle(self, collection: str) -> Collection[Any, Any]:
        """Of the collection as a whole, whatever tenant is set."""
        handle: Collection[Any, Any] = self._connection.client().collections.use(collection)
        return handle
