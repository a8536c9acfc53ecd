"""Aliases of a Weaviate server's collections (1.32 and newer).

Of a store URL with a tenant there are none: an alias names a collection as a whole, the others' tenants with it.
"""

from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateUnsupportedFeatureError

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.stores.weaviate_connection import WeaviateConnection


class WeaviateAliases:
    """The aliases of one server."""

    def __init__(self, connection: WeaviateConnection) -> None:
        self._connection = connection

    def resolve(self, name: str) -> str:
        """The collection that a name means."""

        def ask() -> str:
            try:
                found = self._connection.client().alias.get(alias_name=name)
            except WeaviateUnsupportedFeatureError:
                return name
            return name if found is None else found.collection

        return self._connection.call(ask)

    def of(self, collection: str) -> list[str] | None:
        """The aliases of a collection; None where there can be none."""
        if self._connection.address.tenant:
            return None

        def ask() -> list[str] | None:
            try:
                return sorted(self._connection.client().alias.list_all(collection=collection))
            except WeaviateUnsupportedFeatureError:
                return None

        return self._connection.call(ask)

    def point(self, alias: str, collection: str) -> None:
        """Moves an alias by one request, or makes it. Raises ``CollectionMismatch`` where the server refuses it."""

        def move() -> None:
            aliases = self._connection.client().alias
            if aliases.update(alias_name=alias, new_target_collection=collection):
                return
            try:
                aliases.create(alias_name=alias, target_collection=collection)
            except UnexpectedStatusCodeError as error:
                if aliases.update(alias_name=alias, new_target_collection=collection):  # made meanwhile
                    return
                if error.status_code in (409, 422):
                    raise CollectionMismatch(
                        f"{alias} cannot be an alias of {collection} in {self._connection.address.url}: {error}",
                        next_step="Choose another name that no collection has.",
                        collection=collection,
                    ) from error
                raise

        self._connection.call(move, collection=collection)
