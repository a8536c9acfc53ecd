"""A collection of a Weaviate server, or a tenant of it, is dropped."""

from elysia_dagster.stores.base import changed_hands
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_structure import WeaviateStructure


def drop_collection(
    connection: WeaviateConnection, structure: WeaviateStructure, collection: str, incarnation: str
) -> None:
    """Drops what carries ``incarnation``; one that is not there is no error.

    Raises ``CollectionMismatch`` where it carries another one, or is an alias; ``StoreUnavailable``.
    """
    found = structure.find(collection)
    if found is None:
        return
    if found.marks.incarnation != incarnation:
        raise changed_hands(collection, connection.address.url)
    tenant = connection.address.tenant

    def drop() -> None:
        collections = connection.client().collections
        if tenant:
            collections.use(collection).tenants.remove([tenant])
        else:
            collections.delete(collection)

    connection.call(drop, collection=collection)
    structure.find(collection)  # which forgets it
