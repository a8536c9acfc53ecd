"""Other names that a store's collections may have, for those who read."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Aliasing(Protocol):
    """A store whose collections can have aliases. Every method raises ``StoreUnavailable``."""

    def resolve(self, name: str) -> str:
        """The collection that a name means: itself, unless it is an alias."""
        ...

    def aliases_of(self, collection: str) -> list[str] | None:
        """The aliases of a collection, sorted; None where this server, or this store's URL, can have none."""
        ...

    def point_alias(self, alias: str, collection: str) -> None:
        """Makes an alias mean a collection, in one step for readers; one that is not there is made.

        Raises ``CollectionMismatch`` where a collection has that name.
        """
        ...
