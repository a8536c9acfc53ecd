"""The collection of a run, as it is opened: the one that the ledger knows, a new one, or one that is taken over."""

import shlex
import uuid
from typing import TYPE_CHECKING

from elysia_dagster.checkpoint import collections
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.embedders.base import Embedder
from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import CollectionInfo
from elysia_dagster.stores.base import VectorStore
from elysia_dagster.sync.adopt import adopt_collection, provisional_incarnation
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.succession import check_takes

if TYPE_CHECKING:
    from elysia_dagster.sync.engine import Engine


def open_collection(engine: "Engine", run: RunRecord, *, adopt: bool = False) -> CollectionRecord | None:
    """Sees that store and embedder answer and that the collection is the one the ledger knows; creates a new one.

    One of ours gets the properties that it lacks. With ``adopt`` one that is not ours is taken over. A dry run changes
    nothing and may get None. Raises ``CollectionMismatch``, ``StoreUnavailable``, ``EmbedderUnavailable``,
    ``UsageError`` where the store has no vectorizer that was asked for; with ``adopt``, and during the switch of a
    rebuild, also ``RepositoriesHeld``.
    """
    assert run.store is not None
    store = engine.store(run.store)
    embedder = engine.embedder_of(run)
    known = collections.find_collection(engine.database, run.store, run.collection_name)
    if known is not None:
        check_takes(engine.database, known, run)
    # asked in this order, since another process registers a collection, then creates it, then writes into it
    holds = known is not None and collections.holds_documents(engine.database, known.collection_id)
    if known is not None and holds and not adopt:
        check_model(known, embedder)  # told without asking anybody
    embedder.check()
    there = store.describe(run.collection_name)
    if known is None and there is not None:
        known = collections.find_collection(engine.database, run.store, run.collection_name)
    if adopt and there is not None and (known is None or there.incarnation != known.incarnation):
        return adopt_collection(engine, run, there, embedder)
    if adopt:
        engine.say(nothing_to_adopt(run, is_there=there is not None))
    if known is None and there is not None:
        raise CollectionMismatch(
            f"Collection {run.collection_name} in {run.store} was not made by this checkpoint.",
            next_step="Take it over as it is with --adopt, or choose another --collection, or the state folder "
            "(ELYSIACTL_CHECKPOINT_DB_DIR) that made it.",
        )
    if known is None:
        if run.dry_run:
            return None
        known = _register(engine, run, embedder)
    check_takes(engine.database, known, run)  # again: another process may have registered it
    if there is None and not holds and not run.dry_run:
        known = _as_asked(engine, known, embedder)
    check_model(known, embedder)
    _check_dimensions(known, embedder)
    if there is not None and there.incarnation != known.incarnation:
        raise _not_ours(known, there)
    if not run.dry_run:
        if there is None and holds:
            raise dropped(known.name, run.store, is_there=False)
        there = _ensure(engine, known, is_there=there is not None)
        if there.incarnation != known.incarnation:  # made by another process meanwhile, or dropped
            raise _not_ours(known, there)
        if there.tenant and is_emptied(engine.database, store, known):
            raise dropped(known.name, run.store)
    return known


def is_emptied(database: Database, store: VectorStore, known: CollectionRecord) -> bool:
    """Whether nothing is there of what the ledger says is: a tenant that was dropped and made anew.

    Counted before the ledger is read, and again after that, since other runs write, and settle what they wrote, beside.
    """

    def is_empty() -> bool:
        return store.count(known.name) == 0

    return is_empty() and collections.holds_chunks(database, known.collection_id) and is_empty()


def _register(engine: "Engine", run: RunRecord, embedder: Embedder) -> CollectionRecord:
    assert run.store is not None
    known = collections.register_collection(
        engine.database,
        store=run.store,
        name=run.collection_name,
        incarnation=str(uuid.uuid4()),
        model=embedder.model_id,
        dimensions=embedder.dimensions,
        chunker=CHUNKER_ID,
    )
    engine.faults("collection-registered")
    return known


def _as_asked(engine: "Engine", known: CollectionRecord, embedder: Embedder) -> CollectionRecord:
    """A collection that was registered for another embedder and never created: nothing holds it to that one.

    Whoever registered it may yet create it: that is then seen by its incarnation.
    """
    if (known.model, known.dimensions) == (embedder.model_id, embedder.dimensions):
        return known
    return collections.register_anew(
        engine.database,
        known,
        incarnation=str(uuid.uuid4()),
        model=embedder.model_id,
        dimensions=embedder.dimensions,
    )


def check_model(known: CollectionRecord, embedder: Embedder) -> None:
    """Raises ``CollectionMismatch`` for another embedder than the collection's."""
    if known.model != embedder.model_id:
        raise CollectionMismatch(
            f"Collection {known.name} began with {known.model}; this embedder is {embedder.model_id}.",
            next_step="Use the embedder it began with, or another --collection.",
        )


def _check_dimensions(known: CollectionRecord, embedder: Embedder) -> None:
    """The same for its size, which an endpoint may have to be asked for."""
    if known.dimensions != embedder.dimensions:
        raise CollectionMismatch(
            f"Collection {known.name} began with {known.model} of {known.dimensions} dimensions; this one has "
            f"{embedder.dimensions}.",
            next_step="Use the embedder it began with, or another --collection.",
        )


def _ensure(engine: "Engine", known: CollectionRecord, *, is_there: bool) -> CollectionInfo:
    """Creates a collection, or completes the one that is there."""
    # for one that is there an incarnation that nobody knows: if it was dropped since it was looked at, what is made in
    # its place must not pass for it
    incarnation = str(uuid.uuid4()) if is_there else known.incarnation
    made = engine.store(known.store).ensure_collection(
        known.name, incarnation=incarnation, model_id=known.model, dimensions=known.dimensions
    )
    if not is_there:
        engine.faults("collection-created")
    return made


def nothing_to_adopt(run: RunRecord, *, is_there: bool) -> str:
    """The sentence for a start with ``adopt`` that finds nothing to take over."""
    if is_there:
        return f"Nothing to take over: collection {run.collection_name} in {run.store} is this checkpoint's already."
    return f"Nothing to take over: there is no collection {run.collection_name} in {run.store}."


def _not_ours(known: CollectionRecord, there: CollectionInfo) -> CollectionMismatch:
    if there.incarnation == provisional_incarnation(known.incarnation):
        return CollectionMismatch(
            f"Collection {known.name} in {known.store} is being taken over, and that has not come to its end.",
            next_step="If no process is at it any more, run elysiactl index sync with --adopt again.",
        )
    return dropped(known.name, known.store)


def dropped(collection: str, store: str, *, is_there: bool = True) -> CollectionMismatch:
    """The error for a collection that was dropped, or dropped and made anew, behind the ledger's back.

    A restored backup carries the incarnation that the ledger knows, and older objects: that is for ``reconcile``.
    """
    instead = "take over the one that is there with --adopt, " if is_there else ""
    name = f"--collection {collection} --store {shlex.quote(store)}"
    return CollectionMismatch(
        f"Collection {collection} in {store} is not the one that the ledger knows: it was dropped or made anew.",
        next_step="Restore it, and mend it by index reconcile --repair, since a backup is older than the ledger; or "
        f"{instead}choose another --collection; to begin it anew: elysiactl index forget {name} --yes",
    )
