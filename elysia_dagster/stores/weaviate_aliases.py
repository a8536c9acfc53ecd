"""Aliases of a Weaviate server's collections (1.32 and newer).

Of a store URL with a tenant there are none: an alias names a collection as a whole, the others' tenants with it.
"""

from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateUnsupportedFeatureError

from elysia_dagster.stores.weaviate_connection import WeaviateConnection


class WeaviateAliases:
    """The aliases of one server. Every method raises ``StoreUnavailable``."""

    def __init__(self, connection: WeaviateConnection) -> None:
        self._connection = connection

    def are_possible(self) -> bool:
        """Whether there can be any: the client knows the server's version."""

        def ask() -> bool:
            try:
                self._connection.client().alias.exists(alias_name="Any")
            except WeaviateUnsupportedFeatureError:
                return False
            return True

        return not self._connection.address.tenant and self._connection.call(ask)

    def resolve(self, name: str) -> str:
        """The collection that a name means."""

        def ask() -> str:
            try:
                found = self._connection.client().alias.get(alias_name=name)
            except WeaviateUnsupportedFeatureError:
                return name
            return name if found is None else found.collection

        return self._connection.call(ask)

    def of(self, collection: str) -> list[str]:
        """The aliases of a collection, sorted."""
        return self._connection.call(
            lambda: sorted(self._connection.client().alias.list_all(collection=collection)), collection=collection
        )

    def point(self, alias: str, collection: str) -> None:
        """Moves an alias by one request, or makes it."""

        def move() -> None:
            aliases = self._connection.client().alias
            if aliases.update(alias_name=alias, new_target_collection=collection):
                return
            try:
                aliases.create(alias_name=alias, target_collection=collection)
            except UnexpectedStatusCodeError:
                if not aliases.update(alias_name=alias, new_target_collection=collection):  # else made meanwhile
                    raise

        self._connection.call(move, collection=collection)
