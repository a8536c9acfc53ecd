"""The fourth stage: the side effects of a batch, in the one order that comes back from any death.

intend (transaction) - insert - read back - remove what is left over - settle (transaction) - unlink the batch file.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from elysia_dagster.checkpoint import claims, ledger, lines, suspects
from elysia_dagster.checkpoint.records import Intent, Settlement, Verdict
from elysia_dagster.errors import CollectionMismatch, ElysiaError, LeaseLost, StoreUnavailable
from elysia_dagster.models import DocumentState, ErrorKind, Outcome, StoreObject
from elysia_dagster.sync.background import Background, Turn
from elysia_dagster.sync.batch import Action, EmbeddedBatch, PreparedChange, document_write_hash
from elysia_dagster.sync.batchfile import batch_path
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.leftovers import leftovers_of
from elysia_dagster.sync.linetracker import LineTracker
from elysia_dagster.sync.objects import objects_of
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.winners import ChangeKind

BATCHES_AT_ONCE = 2
"""Batches on their way to a store that takes calls of several threads: with one, a server leaves cores idle between the
steps of an insert."""

LEASE_MARGIN_S = 5.0
"""Seconds that the lease must live beyond the longest request it covers."""


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What one batch did. Counts are of changes, ``chunks`` of objects written."""

    number: int
    outcomes: dict[Outcome, int]
    failed: int
    settled_lines: int
    chunks: int
    embedded: int
    seconds: float


@dataclass(kw_only=True)
class _Sending:
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


class BatchUpserter:
    """Applies embedded batches to the store and the checkpoint, one after the other.

    Where the store takes calls of several threads, a batch is inserted while the one before is still on its way: no
    document is in two batches of a run, so what holds for each batch holds for both. They are settled in their order,
    since a line may have changes in several.

    ``make_anew`` prepares a batch again whose documents have changed since; ``raw_line`` gives a line of the spool.
    """

    def __init__(
        self,
        work: Work,
        *,
        commits: dict[str, str | None],
        make_anew: Callable[[int], EmbeddedBatch],
        raw_line: Callable[[PlannedChange], bytes],
    ) -> None:
        assert work.collection is not None
        self._work = work
        self._collection = work.collection
        self._database = work.engine.database
        self._faults = work.engine.faults
        self._commits = commits
        self._make_anew = make_anew
        self._tracker = LineTracker(raw_line)
        self._answers = lines.has_older_failures(self._database, work.lease)

    def upsert(self, batches: Iterator[EmbeddedBatch]) -> Iterator[BatchReport]:
        """Every batch in turn; a report is given when its lines are settled.

        Raises ``StoreUnavailable`` (nothing is charged to a line), ``CollectionMismatch``, ``LeaseLost``,
        ``ResourceExhausted``, ``Interrupted``, and ``FailureBudgetSpent`` while there is a batch left to send.
        """
        threads = BATCHES_AT_ONCE if self._work.store.takes_calls_at_once else 0
        background: Background[BatchReport] = Background(threads=threads)
        is_stopped = False
        with background:
            try:
                for batch in batches:
                    self._work.pause_point()
                    is_stopped = self._work.budget.is_spent
                    if is_stopped:  # what is under way is finished, nothing more is sent
                        break
                    sending = self._intended(batch)
                    with self._ownership_told(sending):
                        while background.is_full:
                            yield self._counted(background)
                    background.start(partial(self._apply, sending))
                    if not threads:
                        yield self._counted(background)
            except ElysiaError:  # also of who makes the batches: what is under way comes to its end, and is told
                while background.has_tasks:
                    yield self._counted(background)
                raise
            while background.has_tasks:
                yield self._counted(background)
        if is_stopped:
            self._work.check_failures()

    def _counted(self, background: Background[BatchReport]) -> BatchReport:
        """The report of the oldest batch under way, when it is settled."""
        report = background.result()
        self._work.budget.count(settled=report.settled_lines, failed=report.failed)
        return report

    def _intended(self, batch: EmbeddedBatch) -> _Sending:
        sending = _Sending(batch=batch, began=time.perf_counter())
        self._faults("embedded")
        with self._ownership_told(sending):
            self._intend(batch, sending)
        return sending

    def _apply(self, sending: _Sending, turn: Turn, *, is_anew: bool = False) -> BatchReport:
        """Inserts what was intended, beside other batches; all else is done in turn. Stale, it is made anew, once."""
        batch = sending.batch
        try:
            with self._ownership_told(sending):
                self._insert(sending)
                turn()
                self._read_back(sending)
                self._intend_renamed_away(batch, sending)
                self._remove(batch, sending)
                if sending.most:
                    self._work.check_incarnation()
                report = self._settle(batch, sending)
        except ledger.StaleBatch:
            self._tracker.take_back_batch()
            if is_anew:
                raise  # it would go on for ever: what was prepared just now is not what the ledger says
            return self._apply(self._intended(self._make_anew(batch.number)), turn, is_anew=True)
        self._faults("settled")
        batch_path(self._work.folder, batch.number).unlink(missing_ok=True)
        self._faults("unlinked")
        return report

    @contextmanager
    def _ownership_told(self, sending: _Sending) -> Iterator[None]:
        """Marks what was sent where the lease is lost, and says so where the collection is another.

        Whatever the error: a process that was stopped for long finds its connections closed, too, and may have sent.
        """
        try:
            yield
        except Exception as error:
            if sending.most and (isinstance(error, LeaseLost) or self._is_overtaken()):
                suspects.mark_documents_suspect(self._database, self._work.lease, sending.most)
            if isinstance(error, CollectionMismatch):
                self._work.check_incarnation()  # what a dropped collection needs is known there, not in the store
            raise

    def _is_overtaken(self) -> bool:
        with suppress(ElysiaError):
            return claims.is_lost(self._database, self._work.lease)
        return False

    def _intend(self, batch: EmbeddedBatch, sending: _Sending) -> None:
        changes = [
            (place, change)
            for place, change in enumerate(batch.changes)
            if change.action in (Action.WRITE, Action.REMOVE) and change.planned.kind is not ChangeKind.RENAME_OLD
        ]
        self._say_intentions(changes, sending)
        for place, change in changes:
            if change.action is Action.WRITE and place not in sending.superseded:
                commit = self._commits.get(change.planned.repository)
                sending.objects[place] = objects_of(batch, change, collection=self._collection.name, commit=commit)

    def _intend_renamed_away(self, batch: EmbeddedBatch, sending: _Sending) -> None:
        """The old side of a rename goes once the new side has arrived: not where that failed."""
        sending.not_arrived = {
            change.planned.line
            for place, change in enumerate(batch.changes)
            if change.action is Action.FAIL or place in sending.failures
        }
        changes = [
            (place, change)
            for place, change in enumerate(batch.changes)
            if change.planned.kind is ChangeKind.RENAME_OLD
            and change.action is Action.REMOVE
            and change.planned.line not in sending.not_arrived
        ]
        self._say_intentions(changes, sending)

    def _say_intentions(self, changes: list[tuple[int, PreparedChange]], sending: _Sending) -> None:
        if not changes:
            return
        verdicts = ledger.intend_batch(
            self._database,
            self._work.lease,
            [
                Intent(
                    repository=change.planned.repository,
                    path=change.planned.path,
                    line=change.planned.line,
                    content_hash=change.content_hash,
                    chunks=len(change.chunks),
                )
                for _, change in changes
            ],
        )
        for place, change in changes:
            key = (change.planned.repository, change.planned.path)
            verdict = verdicts[key]
            if verdict is None:
                sending.superseded.add(place)
                continue
            sending.most[key] = verdict.most
            sending.removals[place] = verdict
        self._faults("intended")

    def _insert(self, sending: _Sending) -> None:
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

    def _read_back(self, sending: _Sending) -> None:
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

    def _clear_interrupted(self, sending: _Sending) -> None:
        """Removes what is to be written again just as it is, where the store would leave it as it is.

        Repair, so it deletes first: an object whose write was interrupted may lack its place in an index, which the
        same write again does not give it. Asked for by an interrupted run, a suspect document, and ``force``.
        """
        store = self._work.store
        if store.rewrites_identical:
            return
        options = self._work.run.options
        is_forced = options is not None and options.force
        again = [
            each
            for place, some in sending.objects.items()
            if is_forced or sending.removals[place].before in (DocumentState.WRITING, DocumentState.SUSPECT)
            for each in some
        ]
        if not again:
            return
        held = store.fetch_hashes(self._collection.name, [each.id for each in again])
        identical = [each.id for each in again if held.get(each.id) == each.write_hash]
        if identical:
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
            store.delete_objects(self._collection.name, identical)
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

    def _remove(self, batch: EmbeddedBatch, sending: _Sending) -> None:
        """What is left over; not of a document that was rejected: which chunks belong to it is not known."""
        name, store = self._collection.name, self._work.store
        leftovers = leftovers_of(
            self._collection,
            (
                (batch.changes[place], verdict)
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

    def _settle(self, batch: EmbeddedBatch, sending: _Sending) -> BatchReport:
        settlements: list[Settlement] = []
        suspects: list[ledger.Key] = []
        outcomes: dict[Outcome, int] = {}
        self._tracker.begin_batch()
        for place, change in enumerate(batch.changes):
            planned = change.planned
            failure = sending.failures.get(place) or (change.reason if change.action is Action.FAIL else None)
            outcome = Outcome.SUPERSEDED if place in sending.superseded else change.outcome
            if planned.kind is ChangeKind.RENAME_OLD and planned.line in sending.not_arrived:
                self._tracker.left_alone(planned)
                continue
            if failure is not None:
                kind = ErrorKind.PERMANENT if change.permanent else ErrorKind.RETRYABLE
                self._tracker.failed(planned, failure, kind)
                if place in sending.failures:
                    suspects.append((planned.repository, planned.path))
                continue
            assert outcome is not None
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            self._tracker.done(planned, outcome, change.reason)
            if outcome is not Outcome.SUPERSEDED:
                settlements.append(self._settlement(batch, change, outcome))
        seconds = time.perf_counter() - sending.began
        milliseconds = round(1000 * seconds / max(1, len(batch.changes)))
        completed, failed = self._tracker.finished(milliseconds)
        ledger.settle_batch(
            self._database,
            self._work.lease,
            settlements=settlements,
            suspects=suspects,
            completed=completed,
            failed=failed,
            answers_older_failures=self._answers,
        )
        return BatchReport(
            number=batch.number,
            outcomes=outcomes,
            failed=len(failed),
            settled_lines=len(completed) + len(failed),
            chunks=sum(map(len, sending.objects.values())),
            embedded=batch.embedded,
            seconds=seconds,
        )

    def _settlement(self, batch: EmbeddedBatch, change: PreparedChange, outcome: Outcome) -> Settlement:
        planned = change.planned
        if change.action is Action.WRITE:
            first, end = change.rows
            return Settlement(
                repository=planned.repository,
                path=planned.path,
                line=planned.line,
                state=DocumentState.PRESENT,
                outcome=outcome,
                is_written=True,
                content_hash=change.content_hash,
                write_hash=document_write_hash(batch.write_hashes[first:end]),
                chunker=CHUNKER_ID,
                chunks=len(change.chunks),
                max_chunks=len(change.chunks),
            )
        is_kept = change.action is Action.KEEP
        return Settlement(
            repository=planned.repository,
            path=planned.path,
            line=planned.line,
            state=DocumentState.PRESENT if is_kept else DocumentState.ABSENT,
            outcome=outcome,
            is_written=not is_kept,
            content_hash=change.content_hash,
        )
