"""Makes a collection anew from another one, for another embedder, chunker or store; then it may take its place.

What differs is carried over as changesets of their own, which are synced like any other: planned, batched, retried,
resumed. What is left to do is told by the two ledgers alone, so the same command goes on after whatever has happened.
Syncs of the old collection may go on meanwhile; what they change is carried over in the next pass. For the switch the
old collection is closed, what is left carried over, and the two compared for good.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from elysia_dagster.checkpoint import collections, rebuilding, reconciling
from elysia_dagster.checkpoint.records import CollectionRecord
from elysia_dagster.embedders.base import Embedder
from elysia_dagster.errors import CollectionMismatch, ElysiaError, UsageError
from elysia_dagster.sync.carry import Carrier, LineStream, Missing, Standing, standing
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.collection import check_model
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.files import write_aside
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.read import read_changeset
from elysia_dagster.sync.reconcile import known_collection
from elysia_dagster.sync.repair import options_for, sync_command
from elysia_dagster.sync.request import ChangesetManifest, SyncRequest, check_collection_name
from elysia_dagster.sync.resume import resume_run
from elysia_dagster.sync.switch import check_alias, check_holds, check_no_alias, drop_old, is_switched, switch_readers

RUN_BYTES = 1 << 30
"""Bytes of a run's changeset, after which the repository in hand is its last."""

PASSES = 3
"""Passes while syncs of the old collection go on; under the switch nothing changes any more."""

SHOWN_FAILURES = 20
"""Failed lines that a report quotes."""

CarryOut = Callable[[ChangesetManifest], SyncReport]
"""Brings a run to its end."""


@dataclass(frozen=True, kw_only=True)
class RebuildRequest:
    """What is asked for. ``store`` and ``embedder`` are the new collection's, '' for the old one's store and, once a
    run has begun, for the embedder that it began with."""

    collection: str
    into: str
    from_store: str = ""
    store: str = ""
    embedder: str = ""
    batch_size: int = 200
    max_retries: int = 3
    switch: bool = False
    alias: str = ""
    drop_old: bool = False
    run_bytes: int = RUN_BYTES


@dataclass(kw_only=True)
class RebuildReport:
    """What was done, and how the two collections stand. ``outcomes`` counts lines of ``runs``.

    ``missing`` documents are in ``file``, which ``command`` syncs into the old collection. ``aliases`` mean the new
    collection after a switch, None where the store can have none.
    """

    source: CollectionRecord
    target: CollectionRecord
    standing: Standing = field(default_factory=Standing)
    runs: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    missing: int = 0
    file: Path | None = None
    command: str = ""
    switched: bool = False
    dropped: bool = False
    aliases: list[str] | None = None
    without_commit: list[str] = field(default_factory=list)


def rebuild(engine: Engine, request: RebuildRequest, carry_out: CarryOut) -> RebuildReport:
    """Brings the new collection to what the old one's ledger says, and switches where that is asked for and so.

    Raises ``UsageError``, ``CollectionMismatch``, ``RepositoriesHeld`` (the switch meets an unfinished run of the old
    collection, or another process rebuilds the same), ``StoreUnavailable``, ``EmbedderUnavailable``,
    ``ResourceExhausted``, ``LeaseLost``, ``Interrupted``.
    """
    source, target, spec = _begin(engine, request)
    report = RebuildReport(source=source, target=target)
    if is_switched(source, target):
        report.switched = True
    else:
        if request.drop_old and not request.switch:
            raise UsageError(f"{target.name} has not taken the place of {source.name}.", next_step="Add --switch.")
        passes = _Passes(engine, request, report, carry_out, spec)
        passes.resume()
        if not request.switch:
            report.source = rebuilding.take_back_switch(engine.database, source, target)
        passes.carry()
        # made for another embedder, if it was never created for the one that its rebuild had begun with
        report.target = collections.load_collection(engine.database, target.collection_id)
        if request.switch and report.standing.is_whole:
            _switch(engine, report, passes)
    if report.switched:
        report.without_commit = _without_commit(engine, report)
        report.aliases = switch_readers(engine, report.source, report.target, request.alias)
        if request.drop_old:
            drop_old(engine, report.source, report.target)
            report.dropped = True
    return report


def _begin(engine: Engine, request: RebuildRequest) -> tuple[CollectionRecord, CollectionRecord, str]:
    """Both collections as the ledger knows them, the new one to be rebuilt, and the spec of its embedder."""
    for name in (request.into, request.alias or request.into):
        check_collection_name(name)
    source = _source(engine, request)
    store = engine.store_url(request.store or source.store)
    if (store, request.into) == (source.store, source.name):
        raise UsageError("A collection cannot be rebuilt into itself.", next_step="Choose another name with --into.")
    if request.alias:
        check_alias(engine, store, request.alias, of=frozenset([source.name, request.into]))
    check_no_alias(engine, store, request.into)
    known = collections.find_collection(engine.database, store, request.into)
    if known is None or not is_switched(source, known):
        known_collection(engine, source.name, source.store)
    if known is None and engine.store(store).describe(request.into) is not None:
        raise CollectionMismatch(
            f"There is a collection {request.into} in {store} already, which this checkpoint did not make.",
            next_step="Choose another name with --into.",
        )
    latest = reconciling.latest_options(engine.database, known) if known is not None else None
    spec = request.embedder or (latest.embedder if latest else "") or engine.settings.embedder
    if known is not None and is_switched(source, known):
        return source, known, spec
    embedder = engine.embedder(spec, store=store, collection=request.into)
    embedder.check()
    return source, _begun(engine, source, embedder, store, request.into), spec


def _begun(engine: Engine, source: CollectionRecord, embedder: Embedder, store: str, name: str) -> CollectionRecord:
    target = rebuilding.begin_rebuild(
        engine.database,
        source,
        store=store,
        name=name,
        model=embedder.model_id,
        dimensions=embedder.dimensions,
        chunker=CHUNKER_ID,
    )
    engine.faults("rebuild-begun")
    if collections.holds_documents(engine.database, target.collection_id):
        check_model(target, embedder)
    return target


def _source(engine: Engine, request: RebuildRequest) -> CollectionRecord:
    """The old collection: in the store that is named, else in the one of the settings, else in the only one."""
    found = collections.find_collection(engine.database, engine.store_url(request.from_store), request.collection)
    if found is None and not request.from_store:
        stores = collections.stores_of(engine.database, request.collection)
        if len(stores) > 1:
            raise UsageError(
                f"Collection {request.collection} is in {' and in '.join(stores)}.",
                next_step="Say which is to be rebuilt with --from-store.",
            )
        for each in stores:
            found = collections.find_collection(engine.database, each, request.collection)
    if found is None:
        raise UsageError(
            f"The checkpoint knows no collection {request.collection} to rebuild.",
            next_step="See: elysiactl index status --summary",
        )
    return found


class _Passes:
    """Carries over what differs, as often as that is worth it."""

    def __init__(
        self, engine: Engine, request: RebuildRequest, report: RebuildReport, carry_out: CarryOut, spec: str
    ) -> None:
        self._engine = engine
        self._request = request
        self._report = report
        self._carry_out = carry_out
        self._spec = spec

    def resume(self) -> None:
        """Brings to their end the runs that a killed process has left."""
        for run in rebuilding.unfinished_rebuilds(self._engine.database, self._report.target):
            self._finish(resume_run(self._engine, run.run_id))

    def carry(self) -> None:
        """Passes until nothing is left to carry over, or what is left cannot be; then the two are compared."""
        report = self._report
        for _ in range(PASSES):
            before = len(report.runs)
            self._pass()
            report.standing = standing(self._engine, report.source, report.target)
            if report.standing.is_whole or len(report.runs) == before or report.failed:
                break

    def _pass(self) -> None:
        engine, report = self._engine, self._report
        place = engine.state_folder / f"send-again-rebuild-{report.target.collection_id}.jsonl"
        with write_aside(place) as file:
            missing = Missing(lines=file)
            carrier = Carrier(engine, report.source, report.target, missing)
            try:
                while (first := next(lines := carrier.lines(self._request.run_bytes), None)) is not None:
                    self._run(itertools.chain([first], lines))
            finally:
                carrier.close()
        report.missing = missing.count
        if not missing.count:
            place.unlink()
            report.file, report.command = None, ""
            return
        engine.faults("rebuild-listed")
        report.file = place
        options = options_for(engine, report.source)
        report.command = sync_command(report.source, options, list(carrier.origins.roots), place)

    def _run(self, lines: Iterator[bytes]) -> None:
        report = self._report
        request = SyncRequest(
            changeset=None,
            collection=report.target.name,
            roots=(),
            store=report.target.store,
            embedder=self._spec,
            batch_size=self._request.batch_size,
            max_retries=self._request.max_retries,
            force=True,  # what the two ledgers say differs is written, whatever an earlier run of the same has done
            rebuilds=report.target.collection_id,
            source=f"<collection {report.source.name}>",
        )
        self._finish(read_changeset(self._engine, request, BufferedReader(LineStream(lines), 1 << 20)))

    def _finish(self, manifest: ChangesetManifest) -> None:
        done, report = self._carry_out(manifest), self._report
        report.runs.append(manifest.run_id)
        report.outcomes.update(done.outcomes)
        report.failed += done.run.error_count
        for failure in done.failures[: SHOWN_FAILURES - len(report.failures)]:
            report.failures.append(f"{failure['repository']}/{failure['file_path']}: {failure['error_message']}")


def _switch(engine: Engine, report: RebuildReport, passes: _Passes) -> None:
    """Closes the old collection, carries over what is left, and opens the new one, if then they agree."""
    report.source = rebuilding.begin_switch(engine.database, report.source, report.target)
    engine.faults("switch-begun")
    try:
        compared = rebuilding.leases_taken(engine.database, report.source, report.target)
        report.standing = standing(engine, report.source, report.target)
        if not report.standing.is_whole:
            passes.carry()
            compared = rebuilding.leases_taken(engine.database, report.source, report.target)
            report.standing = standing(engine, report.source, report.target)
        if report.standing.is_whole:
            check_holds(engine, report.target)
            report.source, report.target = rebuilding.finish_switch(
                engine.database, report.source, report.target, compared=compared
            )
            report.switched = True
    finally:
        if not report.switched:
            with suppress(ElysiaError):
                report.source = rebuilding.take_back_switch(engine.database, report.source, report.target)
    engine.faults("switch-finished")


def _without_commit(engine: Engine, report: RebuildReport) -> list[str]:
    """Repositories of the new collection that stand at no commit, since lines of the old one's had failed there."""
    number = report.target.collection_id
    known = set(reconciling.repositories_in_ledger(engine.database, number))
    return sorted(known - set(rebuilding.commit_records(engine.database, number)))
