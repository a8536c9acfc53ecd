"""What every vector store gives. The next store is one file that satisfies ``VectorStore`` and the contract suite."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import CollectionInfo, MaintenanceReport, ScannedObject, SearchHit, SearchQuery, StoreObject


class VectorStore(Protocol):
    """A place for collections of objects with vectors.

    Every method raises ``StoreUnavailable`` when the store cannot answer after its own retries, and
    ``CollectionMismatch`` where a named collection does not exist (``describe`` returns None instead).
    """

    url: str
    """The canonical address without secrets: part of a run's identity."""

    request_timeout_s: float
    """The longest that one ``upsert`` or ``delete_objects`` call may take, in seconds, retries included."""

    rewrites_identical: bool
    """Whether an object that is written again with the vector it has gets anew what an interrupted write left out."""

    takes_calls_at_once: bool
    """Whether threads may read and delete while another one writes."""

    def describe(self, collection: str) -> CollectionInfo | None:
        """What the store says of a collection, or None where there is none. Creates nothing."""
        ...

    def ensure_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        """Creates a collection that carries ``incarnation``; an existing one keeps what it carries.

        An existing one gets the properties that it lacks. Raises ``CollectionMismatch`` for a property that it has of
        another type. ``dimensions`` 0 is for the store's own vectorizer.
        """
        ...

    def adopt_collection(
        self, collection: str, *, incarnation: str, model_id: str, dimensions: int, expected: str | None
    ) -> CollectionInfo:
        """Writes another ``incarnation`` and model on an existing collection; its objects stay as they are.

        Completes and checks it as ``ensure_collection`` does. Raises ``CollectionMismatch`` where its vectors have
        another length than ``dimensions``, and where its incarnation is not ``expected``, or comes to be a third one.
        """
        ...

    def drop_collection(self, collection: str, *, incarnation: str) -> None:
        """Removes a collection with all that is in it; one that is not there is no error.

        Of a store with tenants, the tenant alone. Raises ``CollectionMismatch`` where it carries another incarnation.
        """
        ...

    def vectorizer(self, collection: str) -> str | None:
        """Names the model that the store itself makes this collection's vectors with, or would if it created it.

        None where the store makes no vectors of its own. The name changes with everything that changes the vectors.
        """
        ...

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        """Writes objects, replacing those of the same id; per object None, or the reason why it was rejected.

        Splits into requests of ``request_objects`` objects and ``request_bytes`` bytes (settings), at most.
        """
        ...

    def delete_objects(self, collection: str, ids: Sequence[str]) -> None:
        """Removes objects by id; ids that are not there are no error, nor is an empty list."""
        ...

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Removes every object of the documents, however many; what is not there is no error."""
        ...

    def fetch_hashes(
        self, collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """``write_hash`` by id, of those objects that are there.

        A store of several nodes makes sure of what is missing, and of what is not as ``expected`` (by id), before it
        says so: one node may lag behind the others.
        """
        ...

    def count(self, collection: str, *, repository: str | None = None) -> int:
        """Objects in the collection, or of one repository of it."""
        ...

    def count_by_repository(self, collection: str) -> dict[str, int]:
        """Objects of every repository that has one, in one pass."""
        ...

    def scan(self, collection: str, *, repository: str | None = None) -> Iterator[ScannedObject]:
        """Every object once, in bounded memory, in no particular order."""
        ...

    def search(self, collection: str, query: SearchQuery) -> list[SearchHit]:
        """The best chunks for a query, best first."""
        ...

    def maintain(self, collection: str) -> MaintenanceReport:
        """Makes and refreshes indexes and gives space back; safe beside writers."""
        ...

    def close(self) -> None:
        """Releases connections and handles; may be called twice."""
        ...


def changed_hands(collection: str, url: str) -> CollectionMismatch:
    """The error for a collection whose incarnation is not the one that an adoption met or wrote."""
    return CollectionMismatch(
        f"Collection {collection} in {url} was dropped, made anew, or taken over by another process meanwhile.",
        next_step="See whose it is now; to take over what is there, run elysiactl index sync with --adopt again.",
        collection=collection,
        store=url,
    )
