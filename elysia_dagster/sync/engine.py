"""What every stage works with: the engine of a process, and the work on one run under its lease."""

import gc
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from elysia_dagster.checkpoint import claims, collections, lookup, runs
from elysia_dagster.checkpoint.claims import Heartbeat, Lease
from elysia_dagster.checkpoint.database import Database, open_database
from elysia_dagster.checkpoint.owner import Host, Liveness, Owner, this_host
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.embedders import open_embedder
from elysia_dagster.embedders.base import Embedder
from elysia_dagster.errors import (
    CollectionMismatch,
    ElysiaError,
    Interrupted,
    LeaseLost,
    RepositoriesHeld,
    TransientError,
    UsageError,
)
from elysia_dagster.models import RunStatus
from elysia_dagster.settings import DATABASE_NAME, Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.files import remove_parts

NOT_RETRIED = (RepositoriesHeld, LeaseLost, Interrupted)
"""Transient, but somebody else's work or somebody's wish: no second try follows that would take up a parked lease."""


def no_fault(_point: str) -> None:
    """Passes every fault point by. A test hands in a function that kills the process at one of them."""


@dataclass(kw_only=True)
class Engine:
    """One process's open database, store and embedder; opened when first asked for, closed by ``close``.

    ``faults`` is called with the name of every point between two side effects. ``stop_requested`` is asked between
    batches. ``input_read`` is called when the changeset is spooled whole: an interruption before leaves nothing to
    resume. ``say`` takes sentences for people.
    """

    settings: Settings
    state_folder: Path
    database: Database
    host: Host = field(default_factory=this_host)
    faults: Callable[[str], None] = no_fault
    stop_requested: Callable[[], bool] = lambda: False
    input_read: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda _sentence: None
    open_store: Callable[[str, Settings], VectorStore] = open_store
    _stores: dict[str, VectorStore] = field(default_factory=dict, repr=False)
    _embedders: dict[str, Embedder] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, settings: Settings, **parts: object) -> "Engine":
        """Opens the checkpoint of ``settings``. Raises ``CheckpointError``."""
        state_folder, note = settings.state_folder()
        target: Path | str = settings.checkpoint_db_url or state_folder / DATABASE_NAME
        database = open_database(target, timeout_s=settings.sqlite_timeout_s)
        engine = cls(settings=settings, state_folder=state_folder, database=database, **parts)  # type: ignore[arg-type]
        if note:
            engine.say(note)
        return engine

    def store_url(self, url: str = "") -> str:
        """The canonical URL of a store, by default the one of the settings."""
        return self.store(url).url

    def store(self, url: str = "") -> VectorStore:
        """The store of that URL, opened once. Raises ``UsageError``."""
        url = url or self.settings.store or f"lancedb:{self.state_folder / 'vectors'}"
        if url not in self._stores:
            self._stores[url] = self.open_store(url, self.settings)
        return self._stores[url]

    def embedder(self, spec: str = "") -> Embedder:
        """The embedder of that name, opened once. Raises ``UsageError`` and ``EmbedderUnavailable``."""
        spec = spec or self.settings.embedder
        if spec not in self._embedders:
            self._embedders[spec] = open_embedder(
                spec,
                openai_base_url=self.settings.openai_base_url,
                openai_api_key=self.settings.openai_api_key or None,
            )
        return self._embedders[spec]

    def run_folder(self, run_id: str) -> Path:
        """Where the spool, the plan and the batch files of a run lie."""
        return self.state_folder / "work" / run_id

    def close(self) -> None:
        """Closes all that was opened; may be called twice."""
        for store in self._stores.values():
            store.close()
        for embedder in self._embedders.values():
            embedder.close()
        self._stores.clear()
        self._embedders.clear()
        self.database.close()

    @contextmanager
    def work_on(self, run_id: str, *, label: str = "", keeper: Owner | None = None) -> Iterator["Work"]:
        """Takes the run's lease for the block; gives it back, or (``keeper``) parks it for the next Dagster step.

        Raises ``UsageError`` for a run that is finished or of the earlier system, ``RepositoriesHeld`` for one that
        another process works on, ``CollectionMismatch``, ``StoreUnavailable``, ``EmbedderUnavailable``.
        """
        run = lookup.load_run(self.database, run_id)
        if run.options is None or run.store is None:
            raise UsageError(
                f"Run {run_id} was made by an earlier version and cannot be resumed.",
                next_step=f"Give it up (elysiactl index abandon --run-id {run_id}) and send its changeset again.",
            )
        if run.status is not RunStatus.RUNNING:
            raise UsageError(f"Run {run_id} is {run.status.value}.", next_step="See: elysiactl index status")
        collection = open_collection(self, run)
        # a lease must outlive the longest request, or a write could arrive when another has taken over
        seconds = max(self.settings.lease_s, 2 * self.store(run.store).request_timeout_s)
        with _expiry_told(self):
            lease = claims.take_lease(
                self.database,
                run,
                collection_id=collection.collection_id if collection else None,
                owner=Owner.this_process(self.host),
                label=label,
                seconds=seconds,
            )
        run = lookup.load_run(self.database, run_id)
        if run.status is not RunStatus.RUNNING:  # finished between the look at it and the lease
            claims.release_lease(self.database, lease)
            raise UsageError(f"Run {run_id} is {run.status.value}.", next_step="See: elysiactl index status")
        park = keeper is not None
        try:
            self.faults("lease-taken")
            remove_parts(self.run_folder(run_id))
            with _expiry_told(self), Heartbeat(self.database, lease) as heartbeat, _rare_collections():
                yield Work(
                    engine=self,
                    run=run,
                    lease=lease,
                    heartbeat=heartbeat,
                    collection=collection,
                )
        except BaseException as error:
            # an outage is retried by the same Dagster run; everything else gives the run back at once
            park = park and isinstance(error, TransientError) and not isinstance(error, NOT_RETRIED)
            if isinstance(error, ElysiaError):
                with suppress(ElysiaError):
                    runs.record_interruption(self.database, lease, str(error))
            raise
        finally:
            with suppress(ElysiaError):
                if park and keeper is not None:
                    claims.park_lease(self.database, lease, keeper=keeper, seconds=self.settings.park_s)
                else:
                    claims.release_lease(self.database, lease)


@contextmanager
def _expiry_told(engine: Engine) -> Iterator[None]:
    """Adds to a ``RepositoriesHeld`` when the holder's lease ends, where that is what has to be waited for."""
    try:
        yield
    except RepositoriesHeld as error:
        run_id = error.ids.get("holder") or error.ids.get("run_id")
        if run_id and (sentence := lease_end(engine, lookup.load_run(engine.database, str(run_id)))):
            error.message = f"{error.message} {sentence}"
        raise


def lease_end(engine: Engine, run: RunRecord) -> str:
    """When the lease of a run ends that a process of another host holds, as a sentence; '' for one of this host.

    A process of this host is known to live or not: its lease is not waited for.
    """
    if run.lease_owner is None or run.lease_expires_at is None:
        return ""
    if Owner.from_json(run.lease_owner).liveness(engine.host) is not Liveness.UNKNOWN:
        return ""
    return f"Its lease ends at {run.lease_expires_at} unless that process renews it."


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Lets the garbage collector look at what the block makes less often, and not at what was there before.

    The stages make hundreds of thousands of tuples and no cycles: by default the collector goes through them, and
    through every imported module, again and again (measured: a third of the time of a plan).
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@dataclass(frozen=True, kw_only=True)
class Work:
    """The right to work on one run, and what it works with. ``collection`` is None in a dry run into nothing."""

    engine: Engine
    run: RunRecord
    lease: Lease
    heartbeat: Heartbeat
    collection: CollectionRecord | None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.engine.run_folder(self.run.run_id)

    @property
    def spool(self) -> Path:
        """The changeset as it was read, decompressed."""
        return self.folder / "changeset.jsonl"

    @property
    def store(self) -> VectorStore:
        """The run's store."""
        return self.engine.store(self.run.store or "")

    @property
    def embedder(self) -> Embedder:
        """The run's embedder."""
        return self.engine.embedder(self.run.options.embedder if self.run.options else "")

    def check_incarnation(self) -> None:
        """Raises ``CollectionMismatch`` where the collection was dropped, or made anew, since the run was taken."""
        assert self.collection is not None
        there = self.store.describe(self.collection.name)
        if there is None or there.incarnation != self.collection.incarnation:
            raise dropped(self.collection.name, self.store.url)

    def pause_point(self) -> None:
        """Between two batches: raises where the lease is lost or somebody asked this process to stop."""
        self.heartbeat.check()
        if self.engine.stop_requested():
            raise interrupted(self.run.run_id)


def interrupted(run_id: str) -> Interrupted:
    """The error of a process that was asked to stop while it worked on a run."""
    return Interrupted(
        f"Run {run_id} was interrupted; what is settled stays settled.",
        next_step=f"Go on with: elysiactl index resume --run-id {run_id}",
        run_id=run_id,
    )


def open_collection(engine: Engine, run: RunRecord) -> CollectionRecord | None:
    """Sees that store and embedder answer and that the collection is the one the ledger knows; creates a new one.

    A dry run creates nothing and may get None. Raises ``CollectionMismatch``, ``StoreUnavailable``,
    ``EmbedderUnavailable``.
    """
    assert run.store is not None
    assert run.options is not None
    store = engine.store(run.store)
    embedder = engine.embedder(run.options.embedder)
    known = collections.find_collection(engine.database, run.store, run.collection_name)
    # asked in this order, since another process registers a collection, then creates it, then writes into it
    holds = known is not None and collections.holds_documents(engine.database, known.collection_id)
    if known is not None and holds and known.model != embedder.model_id:  # told without asking anybody
        raise CollectionMismatch(
            f"Collection {known.name} began with {known.model}; this embedder is {embedder.model_id}.",
            next_step="Use the embedder it began with, or another --collection.",
        )
    embedder.check()
    there = store.describe(run.collection_name)
    if known is None and there is not None:
        known = collections.find_collection(engine.database, run.store, run.collection_name)
    if known is None and there is not None:
        raise CollectionMismatch(
            f"Collection {run.collection_name} in {run.store} was not made by this checkpoint.",
            next_step="Choose another --collection, or the state folder (ELYSIACTL_CHECKPOINT_DB_DIR) that made it.",
        )
    if known is None:
        if run.dry_run:
            return None
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
    is_as_asked = (known.model, known.dimensions) == (embedder.model_id, embedder.dimensions)
    if not is_as_asked and there is None and not holds and not run.dry_run:
        # registered for another embedder and never created: nothing holds it to that one. Whoever registered it may
        # yet create it: that is then seen by its incarnation
        known = collections.register_anew(
            engine.database,
            known,
            incarnation=str(uuid.uuid4()),
            model=embedder.model_id,
            dimensions=embedder.dimensions,
        )
    if (known.model, known.dimensions) != (embedder.model_id, embedder.dimensions):
        raise CollectionMismatch(
            f"Collection {known.name} began with {known.model} ({known.dimensions} dimensions); this embedder is "
            f"{embedder.model_id} ({embedder.dimensions}).",
            next_step="Use the embedder it began with, or another --collection.",
        )
    if there is None and not run.dry_run:
        if holds:
            raise dropped(known.name, run.store)
        there = store.ensure_collection(
            known.name, incarnation=known.incarnation, model_id=known.model, dimensions=known.dimensions
        )
        engine.faults("collection-created")
    if there is not None and there.incarnation != known.incarnation:
        raise dropped(known.name, run.store)
    return known


def dropped(collection: str, store: str) -> CollectionMismatch:
    """The error for a collection that was dropped, or dropped and made anew, behind the ledger's back."""
    return CollectionMismatch(
        f"Collection {collection} in {store} is not the one that the ledger knows: it was dropped or made anew.",
        next_step="Restore it, or choose another --collection; to begin it anew: "
        f"elysiactl index forget --collection {collection} --store {shlex.quote(store)} --yes",
    )


def remove_run_folder(engine: Engine, run_id: str) -> None:
    """Removes a run's spool, plan and batch files, if any."""
    shutil.rmtree(engine.run_folder(run_id), ignore_errors=True)
