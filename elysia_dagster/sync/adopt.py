"""Takes over a collection that this checkpoint did not make: another hand's, an earlier state folder's.

fence - register - scan, noting what is ours - the final incarnation. Killed before the last of these, the collection
has an incarnation that no ledger knows, and every start but one with ``adopt`` is refused.
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from elysia_dagster.checkpoint import adoption, claims
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.heartbeat import Heartbeat
from elysia_dagster.checkpoint.ledger import Key
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.embedders.base import Embedder
from elysia_dagster.errors import Interrupted
from elysia_dagster.models import OBJECT_NAMESPACE, CollectionInfo, ScannedObject, object_id
from elysia_dagster.sync.chunk import CHUNKER_ID

if TYPE_CHECKING:
    from elysia_dagster.sync.engine import Engine

NOTED_AT_ONCE = 5_000
"""Documents that are held in memory, and noted in one transaction."""

MOST_CHUNKS = 1_000_000
"""No document has as many: an object with a higher number is nobody's."""


def provisional_incarnation(final: str) -> str:
    """What a collection carries while it is taken over, told by what it is to carry in the end."""
    return str(uuid.uuid5(OBJECT_NAMESPACE, f"adopting\0{final}"))


def adopt_collection(engine: "Engine", run: RunRecord, there: CollectionInfo, embedder: Embedder) -> CollectionRecord:
    """Takes the run's collection over for this checkpoint, and says how much of it is ours.

    What is ours is told by its id; it is suspect, so that the next change of a document rewrites it, and a removal
    takes all its chunks. Everything else stays as it is. Raises ``CollectionMismatch`` for vectors of another size than
    the embedder's, and where another process dropped it, made it anew or took it over meanwhile; ``RepositoriesHeld``
    while another run works on the collection, ``StoreUnavailable``, ``LeaseLost``, ``Interrupted``.
    """
    assert run.store is not None
    store = engine.store(run.store)
    final = str(uuid.uuid4())
    mark = partial(
        store.adopt_collection, run.collection_name, model_id=embedder.model_id, dimensions=embedder.dimensions
    )
    with _lease(engine, run) as (lease, heartbeat):
        adoption.check_alone(engine.database, lease, run)
        provisional = provisional_incarnation(final)
        mark(incarnation=provisional, expected=there.incarnation)
        engine.faults("adoption-fenced")
        known = adoption.register_adopted(
            engine.database,
            lease,
            run,
            incarnation=final,
            model=embedder.model_id,
            dimensions=embedder.dimensions,
            chunker=CHUNKER_ID,
        )
        engine.faults("adoption-registered")
        foreign = _note_ours(engine, lease, heartbeat, known, store.scan(known.name))
        documents = adoption.close_adoption(engine.database, lease, known.collection_id)
        engine.faults("adoption-scanned")
        heartbeat.check()
        mark(incarnation=final, expected=provisional)
        engine.faults("adopted")
    engine.say(
        f"Collection {known.name} in {known.store} is taken over: documents that are ours: {documents:,}; objects that "
        f"are not, and stay: {foreign:,}. A document is written anew when it is next synced."
    )
    if there.model_id not in (None, embedder.model_id):
        engine.say(f"Until then its vectors are those of {there.model_id}, not of {embedder.model_id}.")
    return known


@contextmanager
def _lease(engine: "Engine", run: RunRecord) -> Iterator[tuple[Lease, Heartbeat]]:
    """The run's lease: whoever else would take the collection over meets it."""
    lease = claims.take_lease(
        engine.database,
        run,
        collection_id=None,
        owner=Owner.this_process(engine.host),
        label="",
        seconds=engine.lease_seconds(engine.store(run.store or "")),
    )
    try:
        with Heartbeat(engine.database, lease) as heartbeat:
            yield lease, heartbeat
    finally:
        claims.release_lease(engine.database, lease)


def _note_ours(
    engine: "Engine", lease: Lease, heartbeat: Heartbeat, known: CollectionRecord, objects: Iterable[ScannedObject]
) -> int:
    """Notes every document that has an object of ours, and how far its chunks go; the number of other objects."""
    foreign = 0
    found: dict[Key, int] = {}

    def note() -> None:
        heartbeat.check()
        adoption.note_documents(engine.database, lease, known.collection_id, found)
        found.clear()
        engine.faults("adoption-noted")
        if engine.stop_requested():
            raise Interrupted(
                f"Interrupted while collection {known.name} was being taken over.",
                next_step="Give the same command again, with --adopt.",
                run_id=lease.run_id,
            )

    for each in objects:
        if not is_ours(known.name, each):
            foreign += 1
            continue
        key = (each.repository, each.relative_path)
        found[key] = max(found.get(key, 0), each.chunk_index + 1)
        if len(found) >= NOTED_AT_ONCE:
            note()
    if found:
        note()
    return foreign


def is_ours(collection: str, each: ScannedObject) -> bool:
    """Whether an object is a chunk of a document as this project numbers them, which its id tells."""
    # a table of another hand may hold nothing in any column
    if each.chunk_index is None or not 0 <= each.chunk_index < MOST_CHUNKS:
        return False
    return each.id == object_id(collection, each.repository, each.relative_path, each.chunk_index)
