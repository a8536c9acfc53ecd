"""What every stage works with: the engine of a process, and the work on one run under its lease."""

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from elysia_dagster.checkpoint import claims, lookup
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.database import Database, open_database
from elysia_dagster.checkpoint.heartbeat import Heartbeat
from elysia_dagster.checkpoint.owner import Host, Liveness, Owner, this_host
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.embedders import STORE_EMBEDDER, open_embedder
from elysia_dagster.embedders.base import Embedder
from elysia_dagster.embedders.store import StoreEmbedder
from elysia_dagster.errors import (
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
from elysia_dagster.stores.stopping import Stoppable
from elysia_dagster.sync.budget import FailureBudget, FailureLimit
from elysia_dagster.sync.collection import dropped, open_collection
from elysia_dagster.sync.files import remove_parts
from elysia_dagster.sync.overtaken import note_end

NOT_RETRIED = (RepositoriesHeld, LeaseLost, Interrupted)
"""Transient, but somebody else's work or somebody's wish: no second try follows that would take up a parked lease."""


def no_fault(_point: str) -> None:
    """Passes every fault point by. A test hands in a function that kills the process at one of them."""


@dataclass(kw_only=True)
class Engine:
    """One process's open database, store and embedder; opened when first asked for, closed by ``close``.

    ``faults`` is called with the name of every point between two side effects. ``stop_requested`` is asked between
    batches, and by a store that waits for its server. ``input_read`` is called when the changeset is spooled whole: an
    interruption before leaves nothing to resume. ``say`` takes sentences for people.
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
            opened = self.open_store(url, self.settings)
            if isinstance(opened, Stoppable):
                opened.stop_requested = self.stop_requested
            self._stores[url] = self._stores.setdefault(opened.url, opened)  # one for all spellings of an address
        return self._stores[url]

    def embedder(self, spec: str = "", *, store: str = "", collection: str = "") -> Embedder:
        """The embedder of that name, opened once; ``store`` and ``collection`` are what the store's own belongs to.

        Raises ``UsageError`` and ``EmbedderUnavailable``, for the store's own ``StoreUnavailable``.
        """
        spec = spec or self.settings.embedder
        key = spec if spec != STORE_EMBEDDER else f"{spec}\0{self.store_url(store)}\0{collection}"
        if key not in self._embedders:
            self._embedders[key] = (
                self._own_embedder(store, collection)
                if spec == STORE_EMBEDDER
                else open_embedder(
                    spec,
                    openai_base_url=self.settings.openai_base_url,
                    openai_api_key=self.settings.openai_api_key or None,
                )
            )
        return self._embedders[key]

    def _own_embedder(self, store: str, collection: str) -> Embedder:
        opened = self.store(store)
        vectorizer = opened.vectorizer(collection)
        if vectorizer is None:
            raise UsageError(
                f"The store {opened.url} makes no vectors of its own for collection {collection}.",
                next_step="Set ELYSIACTL_WEAVIATE_VECTORIZER, with a Weaviate store, or choose another --embedder.",
            )
        return StoreEmbedder(vectorizer)

    def expect_embedder(self, spec: str = "") -> None:
        """Opens the embedder of that name early. The store's own is told by the collection, when that is opened.

        Raises ``UsageError`` for a name that is none.
        """
        if (spec or self.settings.embedder) != STORE_EMBEDDER:
            self.embedder(spec)

    def embedder_of(self, run: RunRecord) -> Embedder:
        """A run's embedder. Raises what ``embedder`` raises."""
        spec = run.options.embedder if run.options else ""
        return self.embedder(spec, store=run.store or "", collection=run.collection_name)

    def lease_seconds(self, store: VectorStore) -> float:
        """How long a lease lives that covers writes to ``store``: longer than the longest request, or a write could
        arrive when another process has taken over."""
        return max(self.settings.lease_s, 2 * store.request_timeout_s)

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
        with expiry_told(self):
            lease = claims.take_lease(
                self.database,
                run,
                collection_id=collection.collection_id if collection else None,
                owner=Owner.this_process(self.host),
                label=label,
                seconds=self.lease_seconds(self.store(run.store)),
            )
        run = lookup.load_run(self.database, run_id)
        if run.status is not RunStatus.RUNNING:  # finished between the look at it and the lease
            claims.release_lease(self.database, lease)
            raise UsageError(f"Run {run_id} is {run.status.value}.", next_step="See: elysiactl index status")
        park = keeper is not None
        try:
            self.faults("lease-taken")
            remove_parts(self.run_folder(run_id))
            with expiry_told(self), Heartbeat(self.database, lease) as heartbeat, _rare_collections():
                yield Work(
                    engine=self,
                    run=run,
                    lease=lease,
                    heartbeat=heartbeat,
                    collection=collection,
                    budget=FailureBudget(FailureLimit.parse(run.options.max_failures if run.options else "")),
                )
        except BaseException as error:
            # an outage is retried by the same Dagster run; everything else gives the run back at once
            park = park and isinstance(error, TransientError) and not isinstance(error, NOT_RETRIED)
            if isinstance(error, Interrupted) and not error.ids:  # a wait for the store that was ended
                error.next_step, error.ids = interrupted(run_id).next_step, {"run_id": run_id}
            if isinstance(error, Exception):
                note_end(self.database, lease, self.run_folder(run_id), error)
            raise
        finally:
            with suppress(ElysiaError):
                if park and keeper is not None:
                    claims.park_lease(self.database, lease, keeper=keeper, seconds=self.settings.park_s)
                else:
                    claims.release_lease(self.database, lease)


@contextmanager
def expiry_told(engine: Engine) -> Iterator[None]:
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
    budget: FailureBudget = field(default_factory=lambda: FailureBudget(None))

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
        return self.engine.embedder_of(self.run)

    def check_incarnation(self) -> None:
        """Raises ``CollectionMismatch`` where the collection was dropped, or made anew, since the run was taken."""
        assert self.collection is not None
        there = self.store.describe(self.collection.name)
        if there is None or there.incarnation != self.collection.incarnation:
            raise dropped(self.collection.name, self.store.url, is_there=there is not None)

    def pause_point(self) -> None:
        """Between two batches: raises where the lease is lost or somebody asked this process to stop."""
        self.heartbeat.check()
        if self.engine.stop_requested():
            raise interrupted(self.run.run_id)

    def check_failures(self) -> None:
        """Raises ``FailureBudgetSpent`` where more lines failed than the run allows."""
        if self.budget.is_spent:
            raise self.budget.spent(self.engine.database, self.run)


def interrupted(run_id: str) -> Interrupted:
    """The error of a process that was asked to stop while it worked on a run."""
    return Interrupted(
        f"Run {run_id} was interrupted; what is settled stays settled.",
        next_step=f"Go on with: elysiactl index resume --run-id {run_id}",
        run_id=run_id,
    )


def remove_run_folder(engine: Engine, run_id: str) -> None:
    """Removes a run's spool, plan and batch files, if any."""
    shutil.rmtree(engine.run_folder(run_id), ignore_errors=True)
