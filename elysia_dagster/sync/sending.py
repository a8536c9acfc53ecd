"""What a batch asks of the store between intend and settle: insert, read back, remove what is left over."""

from dataclasses import dataclass, field

from elysia_dagster.checkpoint import ledger
from elysia_dagster.checkpoint.records import CollectionRecord, Verdict
from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import DocumentState, StoreObject
from elysia_dagster.sync.batch import EmbeddedBatch
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.leftovers import leftovers_of

LEASE_MARGIN_S = 5.0
"""Seconds that the lease must live beyond the longest request it covers."""


@dataclass(kw_only=True)
class Sending:
    """A batch between intend and settle: what is sent for which document. ``began`` is of ``time.perf_counter``."""

    batch: EmbeddedBatch
    began: float
    most: dict[ledger.Key, int] = field(default_factory=dict)
    removals: dict[int, Verdict] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    superseded: set[int] = field(default_factory=set)
    not_arrived: set[int] = field(default_factory=set)
    objects: dict[int, list[StoreObject]] = field(default_factory=dict)
    accepted: list[StoreObject] = field(default_factory=list)


class StoreWriter:
    """Every request of a run's batches to its store, each under a lease that outlives it.

    Raises ``StoreUnavailable``, ``CollectionMismatch``, ``LeaseLost``.
    """

    def __init__(self, work: Work, collection: CollectionRecord) -> None:
        self._work = work
        self._collection = collection
        self._faults = work.engine.faults

    def insert(self, sending: Sending) -> None:
        objects = [each for some in sending.objects.values() for each in some]
        if not objects:
            return
        self._clear_interrupted(sending)
        rejections = self._write(objects)
        self._faults("inserted")
        rejected = {each.id: reason for each, reason in zip(objects, rejections, strict=True) if reason is not None}
        for place, some in sending.objects.items():
            reasons = [rejected[each.id] for each in some if each.id in rejected]
            if reasons:
                sending.failures[place] = f"The store rejected {len(reasons)} of {len(some)} objects: {reasons[0]}"
        sending.accepted = [each for each in objects if each.id not in rejected]

    def read_back(self, sending: Sending) -> None:
        if not sending.objects:
            return
        differing = self._differing(sending.accepted)
        if differing:  # the answer was lost, or was no proof: repair is delete, then insert
            self._work.heartbeat.ensure(self._work.store.request_timeout_s + LEASE_MARGIN_S)
            self._work.store.delete_objects(self._collection.name, [each.id for each in differing])
            self._faults("repair-deleted")
            self._write(differing)
            self._faults("repair-inserted")
            if self._differing(differing):
                raise StoreUnavailable(
                    f"The store acknowledged {len(differing)} objects of batch {sending.batch.number}, and does not "
                    "hold them.",
                    next_step="Check the store's health, then resume: nothing of the batch is settled.",
                )
        self._faults("verified")

    def _clear_interrupted(self, sending: Sending) -> None:
        """Removes what an interrupted write left, where something is to be written that would not make it whole.

        Repair, so it deletes first: an object whose write was interrupted may lack its place in an index, and neither
        the same write again nor a newer version with the same vector gives it one. Asked for by an interrupted run, a
        suspect document, and ``force``.
        """
        store = self._work.store
        if store.rewrites_identical:
            return
        options = self._work.run.options
        is_forced = options is not None and options.force
        again = [
            each.id
            for place, some in sending.objects.items()
            if is_forced or sending.removals[place].before in (DocumentState.WRITING, DocumentState.SUSPECT)
            for each in some
        ]
        if not again:
            return
        if held := list(store.fetch_hashes(self._collection.name, again)):
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
            store.delete_objects(self._collection.name, held)
            self._faults("interrupted-cleared")

    def _write(self, objects: list[StoreObject]) -> list[str | None]:
        """Each object's rejection, or None. One request at a time: the lease is made to outlive each, and a batch of
        many chunks needs no more of the store's patience than a small one."""
        most = self._work.engine.settings.request_objects
        rejections: list[str | None] = []
        for first in range(0, len(objects), most):
            self._work.heartbeat.ensure(self._work.store.request_timeout_s + LEASE_MARGIN_S)
            rejections += self._work.store.upsert(self._collection.name, objects[first : first + most])
        return rejections

    def _differing(self, objects: list[StoreObject]) -> list[StoreObject]:
        expected = {each.id: each.write_hash for each in objects}
        held = self._work.store.fetch_hashes(self._collection.name, list(expected), expected)
        return [each for each in objects if held.get(each.id) != each.write_hash]

    def remove(self, sending: Sending) -> None:
        """What is left over; not of a document that was rejected: which chunks belong to it is not known."""
        name, store = self._collection.name, self._work.store
        leftovers = leftovers_of(
            self._collection,
            (
                (sending.batch.changes[place], verdict)
                for place, verdict in sending.removals.items()
                if place not in sending.failures
            ),
        )
        if leftovers.documents:
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
            store.delete_documents(name, leftovers.documents)
            self._faults("documents-removed")
        if leftovers.objects:
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
            store.delete_objects(name, leftovers.objects)
        self._faults("removed")
