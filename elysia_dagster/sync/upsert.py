"""The fourth stage: the side effects of a batch, in the one order that comes back from any death.

intend (transaction) - insert - read back - remove what is left over - settle (transaction) - unlink the batch file.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from elysia_dagster.checkpoint import ledger, lines, suspects
from elysia_dagster.checkpoint.records import Intent, Settlement
from elysia_dagster.errors import CollectionMismatch, ElysiaError, TransientError
from elysia_dagster.models import DocumentState, ErrorKind, Outcome
from elysia_dagster.sync.background import Background, Turn
from elysia_dagster.sync.batch import Action, EmbeddedBatch, PreparedChange, document_write_hash
from elysia_dagster.sync.batchfile import batch_path
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.linetracker import LineTracker
from elysia_dagster.sync.objects import objects_of
from elysia_dagster.sync.overtaken import is_overtaken
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.sending import Sending, StoreWriter
from elysia_dagster.sync.winners import ChangeKind

BATCHES_AT_ONCE = 2
"""Batches on their way to a store that takes calls of several threads: with one, a server leaves cores idle between the
steps of an insert."""


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


class BatchUpserter:
    """Applies embedded batches to the store and the checkpoint, one after the other.

    Where the store takes calls of several threads, a batch is inserted while the one before is still on its way: they
    have no document in common, so what holds for each batch holds for both. They are settled in their order, since a
    line may have changes in several.

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
        self._in_hand: deque[frozenset[ledger.Key]] = deque()
        self._writer = StoreWriter(work, work.collection)
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
                    documents = _documents(batch)
                    while self._are_in_hand(documents):  # lines that are planned again may ask for them again
                        yield self._counted(background)
                    is_stopped = self._work.budget.is_spent
                    if is_stopped:  # what is under way is finished, nothing more is sent
                        break
                    sending = self._intended(batch)
                    with self._ownership_told(sending):
                        while background.is_full:
                            yield self._counted(background)
                    self._in_hand.append(documents)
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
        self._in_hand.popleft()
        self._work.budget.count(settled=report.settled_lines, failed=report.failed)
        return report

    def _are_in_hand(self, documents: frozenset[ledger.Key]) -> bool:
        return any(not documents.isdisjoint(others) for others in self._in_hand)

    def _intended(self, batch: EmbeddedBatch) -> Sending:
        sending = Sending(batch=batch, began=time.perf_counter())
        self._faults("embedded")
        with self._ownership_told(sending):
            self._intend(batch, sending)
        return sending

    def _apply(self, sending: Sending, turn: Turn, *, is_anew: bool = False) -> BatchReport:
        """Inserts what was intended, beside other batches; all else is done in turn. Stale, it is made anew, once."""
        batch = sending.batch
        try:
            with self._ownership_told(sending):
                self._writer.insert(sending)
                turn()
                self._writer.read_back(sending)
                self._intend_renamed_away(batch, sending)
                self._writer.remove(sending)
                if sending.most:
                    self._work.check_incarnation()
                report = self._settle(batch, sending)
        except ledger.StaleBatch:
            self._tracker.take_back_batch()
            if is_anew:  # not for ever: somebody goes on changing what the ledger says of its documents
                raise TransientError(
                    f"Documents of batch {batch.number} changed while it was prepared, and once more after that.",
                    next_step=f"Go on with: elysiactl index resume --run-id {self._work.run.run_id}",
                    run_id=self._work.run.run_id,
                ) from None
            return self._apply(self._intended(self._make_anew(batch.number)), turn, is_anew=True)
        self._faults("settled")
        batch_path(self._work.folder, batch.number).unlink(missing_ok=True)
        self._faults("unlinked")
        return report

    @contextmanager
    def _ownership_told(self, sending: Sending) -> Iterator[None]:
        """Marks what was sent where the lease is lost, and says so where the collection is another."""
        try:
            yield
        except Exception as error:
            if sending.most and is_overtaken(self._database, self._work.lease, error):
                suspects.mark_documents_suspect(self._database, self._work.lease, sending.most)
            if isinstance(error, CollectionMismatch):
                self._work.check_incarnation()  # what a dropped collection needs is known there, not in the store
            raise

    def _intend(self, batch: EmbeddedBatch, sending: Sending) -> None:
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

    def _intend_renamed_away(self, batch: EmbeddedBatch, sending: Sending) -> None:
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

    def _say_intentions(self, changes: list[tuple[int, PreparedChange]], sending: Sending) -> None:
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

    def _settle(self, batch: EmbeddedBatch, sending: Sending) -> BatchReport:
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


def _documents(batch: EmbeddedBatch) -> frozenset[ledger.Key]:
    return frozenset((change.planned.repository, change.planned.path) for change in batch.changes)
