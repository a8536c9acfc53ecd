"""A dry run: what would be added, changed, deleted and skipped, and how much would be embedded. Changes nothing."""

from collections import Counter
from dataclasses import dataclass

from elysia_dagster.checkpoint import ledger, runs
from elysia_dagster.checkpoint.records import DocumentRow, RunRecord
from elysia_dagster.models import DocumentState, Outcome
from elysia_dagster.sync.batch import Action, PreparedChange
from elysia_dagster.sync.embed import BatchMaker, texts_of
from elysia_dagster.sync.engine import Work, remove_run_folder
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.unsent import iterate_unsent


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a sync would do, in documents; ``unsent`` counts the lines that need no store by outcome."""

    run: RunRecord
    added: int
    changed: int
    deleted: int
    unchanged: int
    skipped: int
    failed: int
    chunks: int
    tokens: int
    unsent: dict[str, int]
    failures: tuple[str, ...]


FIRST_FAILURES = 20


def preview_run(work: Work) -> Preview:
    """Looks at every document as a sync would, and closes the run."""
    counts: Counter[str] = Counter()
    unsent: Counter[str] = Counter()
    failures: list[str] = []
    chunks = tokens = 0
    for fields in iterate_unsent(work.folder):
        unsent[fields.get("outcome", "failed")] += 1
        if "error" in fields:
            failures.append(f"line {fields['line']}: {fields['error']}")
    with RunPlan(work.folder) as plan, BatchMaker(work, plan) as maker:
        for batch in maker.batches():
            known: dict[ledger.Key, DocumentRow] = {}
            if work.collection is not None:
                keys = [(each.planned.repository, each.planned.path) for each in batch.changes]
                known = ledger.fetch_documents(work.engine.database, work.collection.collection_id, keys)
            for change in batch.changes:
                key = (change.planned.repository, change.planned.path)
                row = known.get(key)
                is_held = row is not None and row.state is not DocumentState.ABSENT
                counts[_name(change, is_held=is_held)] += 1
                if change.action is Action.FAIL:
                    failures.append(f"line {change.planned.line}: {change.reason}")
            texts = texts_of(batch)
            chunks += len(texts)
            tokens += work.embedder.count_tokens(texts)
    run = runs.finish_run(work.engine.database, work.lease)
    remove_run_folder(work.engine, run.run_id)
    return Preview(
        run=run,
        added=counts["added"],
        changed=counts["changed"],
        deleted=counts["deleted"],
        unchanged=counts["unchanged"],
        skipped=counts["skipped"],
        failed=counts["failed"] + unsent["failed"],
        chunks=chunks,
        tokens=tokens,
        unsent=dict(unsent),
        failures=tuple(failures[:FIRST_FAILURES]),
    )


def _name(change: PreparedChange, *, is_held: bool) -> str:
    if change.action is Action.FAIL:
        return "failed"
    if change.action is Action.WRITE:
        return "changed" if is_held else "added"
    if change.outcome is Outcome.SKIPPED:
        return "skipped"
    if change.action is Action.REMOVE:
        return "deleted" if is_held else "nothing to delete"
    return "unchanged"
