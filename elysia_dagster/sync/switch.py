"""A rebuilt collection takes the old one's place: in the ledger, then for those who read, then the old one may go.

Killed anywhere, the same command goes on: each step looks first at what is so already.
"""

from elysia_dagster.checkpoint import rebuilding
from elysia_dagster.checkpoint.queries import repair_command
from elysia_dagster.checkpoint.records import CollectionRecord
from elysia_dagster.errors import CollectionMismatch, UsageError
from elysia_dagster.stores.aliases import Aliasing
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.reconcile import known_collection


def is_switched(source: CollectionRecord, target: CollectionRecord) -> bool:
    """Whether the new collection has taken the old one's place in the ledger."""
    return source.replaced_by == target.collection_id and target.rebuilt_from is None


def check_holds(engine: Engine, target: CollectionRecord) -> None:
    """Sees that the new collection's store holds what its ledger says, by number. Raises ``CollectionMismatch``."""
    known_collection(engine, target.name, target.store)
    expected, unsure = rebuilding.count_contents(engine.database, target.collection_id)
    found = engine.store(target.store).count(target.name)
    if found != expected or unsure:
        raise CollectionMismatch(
            f"Collection {target.name} holds {found} objects, its ledger says {expected} ({unsure} documents unsure).",
            next_step=f"Mend it first: {repair_command(target.name, target.store)}",
        )


def check_still_holds(engine: Engine, target: CollectionRecord) -> None:
    """Sees that nothing is lost of the new collection, which syncs may be writing. Raises ``CollectionMismatch``."""
    known_collection(engine, target.name, target.store)
    before, _ = rebuilding.count_contents(engine.database, target.collection_id)
    found = engine.store(target.store).count(target.name)
    after, _ = rebuilding.count_contents(engine.database, target.collection_id)
    if found < min(before, after):
        raise CollectionMismatch(
            f"Collection {target.name} holds {found} objects, its ledger says {after}: the old one is not dropped.",
            next_step=f"Mend it first: {repair_command(target.name, target.store)}",
        )


def check_no_alias(engine: Engine, store_url: str, name: str) -> None:
    """Sees early that a collection can be made under that name. Raises ``UsageError``, ``StoreUnavailable``."""
    store = engine.store(store_url)
    if isinstance(store, Aliasing) and store.can_alias() and (real := store.resolve(name)) != name:
        raise UsageError(
            f"{name} is an alias of collection {real} in {store.url}; no collection can be made under it.",
            next_step="Choose another name with --into.",
        )


def check_alias(engine: Engine, store_url: str, alias: str, *, of: frozenset[str]) -> None:
    """Sees early that ``alias`` can be one in that store, and is none yet of another collection than ``of``.

    Raises ``UsageError``, ``StoreUnavailable``.
    """
    store = engine.store(store_url)
    if not isinstance(store, Aliasing) or not store.can_alias():
        raise UsageError(
            f"The store {store.url} has no aliases: that takes Weaviate 1.32, without a tenant.",
            next_step="Leave out --alias; who reads is told the new name by ELYSIACTL_COLLECTION.",
        )
    real = store.resolve(alias)
    if real != alias and real not in of:
        raise UsageError(
            f"{alias} is an alias of collection {real} in {store.url}: who reads that would read another one.",
            next_step="Choose another --alias, or remove that one first.",
        )
    if real == alias and store.describe(alias) is not None:
        raise UsageError(
            f"{alias} is the name of a collection in {store.url}, and cannot be an alias.",
            next_step="Choose another --alias. (The old collection's name becomes one with --drop-old.)",
        )


def switch_readers(
    engine: Engine, source: CollectionRecord, target: CollectionRecord, alias: str = ""
) -> list[str] | None:
    """Points every alias of the old collection, and ``alias``, to the new one; those that it has then.

    None where the store can have none. Of an old collection in another store the aliases stay. Raises
    ``StoreUnavailable``.
    """
    store = engine.store(target.store)
    if not isinstance(store, Aliasing) or not store.can_alias():
        return None
    old = store.aliases_of(source.name) if source.store == target.store else []
    for each in dict.fromkeys([*old, *([alias] if alias else [])]):
        store.point_alias(each, target.name)
        engine.faults("alias-moved")
    return store.aliases_of(target.name)


def drop_old(engine: Engine, source: CollectionRecord, target: CollectionRecord) -> None:
    """Drops the old collection, where the store has aliases makes its name one of the new, and forgets its documents.

    The ledger keeps its name, so that a sync of it is told where to go. Raises ``CollectionMismatch`` where it is no
    longer the one that the ledger knows, or the new one has lost something since the switch; ``StoreUnavailable``.
    """
    check_still_holds(engine, target)
    store = engine.store(source.store)
    is_alias = isinstance(store, Aliasing) and store.resolve(source.name) != source.name  # dropped before
    if not is_alias:
        store.drop_collection(source.name, incarnation=source.incarnation)
    engine.faults("old-dropped")
    if isinstance(store, Aliasing) and source.store == target.store and store.can_alias():
        store.point_alias(source.name, target.name)
        engine.faults("old-name-pointed")
    rebuilding.retire(engine.database, source)
    engine.faults("old-forgotten")
