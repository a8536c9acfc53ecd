"""Other names that a store's collections may have, for those who read."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Aliasing(Protocol):
    """A store whose collections can have aliases. Every method raises ``StoreUnavailable``."""

    def resolve(self, name: str) -> str:
        """The collection that a name means: itself, unless it is an alias."""
        ...

    def can_alias(self) -> bool:
        """Whether this server has aliases, and this store's URL means whole collections."""
        ...

    def aliases_of(self, collection: str) -> list[str]:
        """The aliases of a collection, sorted."""
        ...

    def point_alias(self, alias: str, collection: str) -> None:
        """Makes an alias mean a collection, in one step for readers; one that is not there is made."""
        ...
