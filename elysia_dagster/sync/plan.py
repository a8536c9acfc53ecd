"""The second stage: one pass over the spool that says what each line asks of which document, and in which batch.

The plan is written once, under the claim of the repositories it names, and used by every later process. Content is
never held in it: a change knows its line's place in the spool.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elysia_dagster.checkpoint import claims, folders, ledger, lines, runs
from elysia_dagster.sync import columns
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.files import resources_named, write_aside
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.planfile import (
    FLAG_CONTESTED,
    FLAG_LAST,
    FLAG_SINGLE,
    DraftWriter,
    cut_batches,
    read_draft,
    write_batches,
)
from elysia_dagster.sync.plans import PLAN_NAME, RETRY_PLAN_NAME, RunPlan, plan_is_whole
from elysia_dagster.sync.scan import OP_NAMES, Scan, scan_spool
from elysia_dagster.sync.unsent import UNSENT_NAME, UnsentWriter, settle_unsent
from elysia_dagster.sync.winners import CONTESTED, SUPERSEDED

DRAFT_NAME = ".plan-draft.arrow.part"
"""Named like all that is written aside, so that a killed process's goes when the run is taken."""

BATCH_BYTES = 16 << 20
"""Bytes of documents in one batch, as far as the plan knows their sizes: bounds memory where documents are large."""


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What the later stages work through."""

    run_id: str
    batches: int
    repositories: tuple[str, ...]


def plan_batches(work: Work, *, asks_for_due: bool = True) -> BatchPlan:
    """Makes the run's plan, or takes the one on disk; claims its repositories; settles what needs no store.

    With ``asks_for_due`` failed lines whose time has come are tried again: once for each start of a run.

    Raises ``RepositoriesHeld`` (who holds what since when), ``LeaseLost``, ``ResourceExhausted``, ``Interrupted``,
    ``FailureBudgetSpent``.
    """
    database = work.engine.database
    if not plan_is_whole(work.folder / PLAN_NAME):
        _make_plan(work, work.folder / PLAN_NAME)
    if not work.run.dry_run:
        with RunPlan(work.folder) as plan:  # a retried line is planned under the claim, too
            claims.claim_repositories(database, work.lease, frozenset(plan.repositories))
        if asks_for_due:
            _ask_for_due_lines(work)
        _plan_retried_lines(work)
    with RunPlan(work.folder) as plan:
        if not work.run.dry_run:
            take_up_plan(work, plan)
            if plan.batches:  # else there is nothing that it would keep from being sent
                work.check_failures()
        return BatchPlan(run_id=work.run.run_id, batches=plan.batches, repositories=tuple(plan.repositories))


def take_up_plan(work: Work, plan: RunPlan) -> None:
    """Claims the repositories of the plan on disk, and settles what it left of the lines that need no store.

    Raises ``RepositoriesHeld``, ``LeaseLost``, ``Interrupted``, ``FailureBudgetSpent``.
    """
    claims.claim_repositories(work.engine.database, work.lease, frozenset(plan.repositories))
    work.engine.faults("claimed")
    settle_unsent(work, work.folder / UNSENT_NAME)


def _ask_for_due_lines(work: Work) -> None:
    """A resume tries those failed lines again whose time has come."""
    if work.run.error_count and work.run.options is not None:
        runs.request_retry(
            work.engine.database, work.run, host=None, max_retries=work.run.options.max_retries, due_only=True
        )


def _plan_retried_lines(work: Work) -> None:
    """Lines that failed while they were planned and are asked for again get a plan of their own.

    A folder or a root may be there now that was not there before; all other lines keep the plan they have.
    """
    path = work.folder / RETRY_PLAN_NAME
    pending = lines.pending_lines(work.engine.database, work.run.run_id)
    if not pending:
        return
    with RunPlan(work.folder) as plan:
        is_missing = bool(pending - plan.planned_lines())
    if is_missing:
        # what a killed process has left to settle would be overwritten
        settle_unsent(work, work.folder / UNSENT_NAME, leave=pending)
        path.unlink(missing_ok=True)
        with RunPlan(work.folder) as plan:  # without the plan of an earlier retry, whose lines are planned anew too
            _make_plan(work, path, only=pending - plan.planned_lines())


def _make_plan(work: Work, path: Path, only: frozenset[int] | None = None) -> None:
    options = work.run.options
    assert options is not None
    locator = Locator([Path(root) for root in options.roots], options.repo)
    draft = work.folder / DRAFT_NAME
    unsent = UnsentWriter(work.folder / UNSENT_NAME)
    try:
        with resources_named(str(draft)):
            scan = _scan(work, locator, draft, unsent, only)
            work.engine.faults("plan-drafted")
            if not work.run.dry_run and only is None:
                claims.claim_repositories(work.engine.database, work.lease, frozenset(scan.repositories))
                work.engine.faults("claimed-before-plan")
            if scan.removed_folders:  # what a removed folder held is known only under the claim
                if not work.run.dry_run:  # from here on no older run adds to it, whenever this process dies
                    folders.record_removed_folders(work.engine.database, work.lease, scan.removed_folders)
                scan = _scan(work, locator, draft, unsent, only, _documents_below(work))
            if not work.run.dry_run and only is None:
                _record(work, scan)  # before the plan has its name: who finds a plan does not look at the lines again
            _write_plan(work, path, draft, scan, unsent, locator.decisions())
    finally:
        locator.close()
        unsent.discard()
        draft.unlink(missing_ok=True)


def _record(work: Work, scan: Scan) -> None:
    info = json.dumps(scan.changesets, sort_keys=True) if scan.changesets else None
    runs.record_plan(work.engine.database, work.lease, changeset_info=info, self_contained=scan.is_self_contained)
    work.engine.faults("plan-recorded")


def _scan(
    work: Work,
    locator: Locator,
    draft: Path,
    unsent: UnsentWriter,
    only: frozenset[int] | None,
    documents_below: Callable[[str, str], list[str]] | None = None,
) -> Scan:
    unsent.restart()
    scan = Scan()
    writer = DraftWriter(draft, scan.index)
    try:
        scan_spool(work, scan, locator, writer, unsent, documents_below, only)
    finally:
        writer.close()
    return scan


def _documents_below(work: Work) -> Callable[[str, str], list[str]]:
    collection = work.collection
    if collection is None:
        return lambda _repository, _folder: []
    return lambda repository, folder: ledger.documents_below(
        work.engine.database, collection.collection_id, repository, folder
    )


def _write_plan(work: Work, path: Path, draft: Path, scan: Scan, unsent: UnsentWriter, places: dict[str, str]) -> None:
    all_lines = np.frombuffer(scan.index.lines, dtype=np.int32)
    sizes = np.frombuffer(scan.index.sizes, dtype=np.uint32)
    winners = scan.index.winners()
    wins = winners != SUPERSEDED
    winning_lines = all_lines[wins]
    answered = np.zeros(work.run.total_lines + 2, dtype=bool)
    answered[winning_lines] = True
    _set_aside_superseded(draft, all_lines, answered, scan.repositories, unsent)
    is_last = np.ones(len(winning_lines), dtype=bool)
    is_last[:-1] = winning_lines[1:] != winning_lines[:-1]
    changes_of_line = np.zeros(work.run.total_lines + 2, dtype=bool)  # True: the line asks for several things
    changes_of_line[all_lines[1:][all_lines[1:] == all_lines[:-1]]] = True
    flags = np.where(is_last, FLAG_LAST, 0).astype(np.int8)
    flags |= np.where(changes_of_line[winning_lines], 0, FLAG_SINGLE).astype(np.int8)
    flags |= np.where(winners[wins] == CONTESTED, FLAG_CONTESTED, 0).astype(np.int8)
    options = work.run.options
    assert options is not None
    metadata: dict[str, Any] = {
        "repositories": scan.repositories,
        "folders": places,
        "commits": {name: record.get("commit") for name, record in scan.changesets.items()},
    }
    cuts = cut_batches(winning_lines, sizes[wins], options.batch_size, BATCH_BYTES)
    unsent.finish()
    work.engine.faults("before-plan-renamed")
    with write_aside(path) as file:
        write_batches(file, _winning_slices(draft, wins, flags), cuts, metadata)
    work.engine.faults("planned")


def _winning_slices(draft: Path, wins: np.ndarray, flags: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The draft's changes that count, with their flags."""
    at = winner = 0
    for batch in read_draft(draft):
        mask = wins[at : at + batch.num_rows]
        at += batch.num_rows
        kept = batch if mask.all() else batch.filter(columns.flags(mask))
        here = flags[winner : winner + kept.num_rows]
        winner += kept.num_rows
        place = batch.schema.get_field_index("flags")
        merged = columns.array_of(kept.column(place)) | here
        yield kept.set_column(place, batch.schema.field(place), columns.numbers(merged, pa.int8()))


def _set_aside_superseded(
    draft: Path, all_lines: np.ndarray, answered: np.ndarray, repositories: list[str], unsent: UnsentWriter
) -> None:
    """Lines of which no change counts are settled as superseded, without the store."""
    at = 0
    for batch in read_draft(draft):
        here = all_lines[at : at + batch.num_rows]
        first = np.ones(batch.num_rows, dtype=bool)
        first[1:] = here[1:] != here[:-1]
        if at and batch.num_rows:
            first[0] = here[0] != all_lines[at - 1]
        lost = np.flatnonzero(first & ~answered[here])
        at += batch.num_rows
        for row in lost:
            unsent.superseded(
                line=int(here[row]),
                path=batch.column("path")[row].as_py(),
                operation=OP_NAMES[batch.column("kind")[row].as_py()],
                repository=repositories[batch.column("repository")[row].as_py()],
            )
