"""Numbers and tables as a person reads them on a run's page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import MetadataValue

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.sync.cleanup import CleanupReport
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.measures import CHUNKS_EMBEDDED, CHUNKS_WRITTEN, DOCUMENTS, TOKENS, Measures
from elysia_dagster.sync.plan import BatchPlan
from elysia_dagster.sync.preview import Preview
from elysia_dagster.sync.request import ChangesetManifest

Metadata = dict[str, Any]

CELL_CHARACTERS = 300
"""Characters of one table cell: a reason may quote a whole line."""

SHOWN_REPOSITORIES = 100
"""Rows of a table of repositories: a changeset may be of hundreds."""

BAR_CHARACTERS = 20


def manifest_metadata(manifest: ChangesetManifest) -> Metadata:
    """Which run, of which bytes."""
    return {
        "sync run": manifest.run_id,
        "lines": manifest.total_lines,
        "input": manifest.input_source,
        "SHA-256": manifest.digest,
        "resumed": manifest.resumed,
        "lines settled before": manifest.settled_before,
        "nothing to do": manifest.finished,
        "to go on where it stops": MetadataValue.md(f"`elysiactl index resume --run-id {manifest.run_id}`"),
    }


def plan_metadata(plan: BatchPlan, run: RunRecord, stands_at: Mapping[str, str]) -> Metadata:
    """How much there is to do, and where: ``stands_at`` gives by repository the commit of the collection."""
    goes_to: dict[str, Any] = json.loads(run.changeset_info or "{}")
    rows = [
        (name, stands_at.get(name, ""), goes_to.get(name, {}).get("commit") or "")
        for name in plan.repositories[:SHOWN_REPOSITORIES]
    ]
    return {
        "sync run": run.run_id,
        "lines": run.total_lines,
        "lines settled by now": run.processed_lines,
        "batches": plan.batches,
        "repositories": len(plan.repositories),
        "commits": table(("repository", "stands at", "goes to"), rows) if rows else MetadataValue.md("none"),
    }


def embedding_metadata(batches: int, changes: int, counts: Mapping[str, int], seconds: float) -> Metadata:
    """What lies ready for the store. ``counts`` as they are measured, of this step alone."""
    embedded = counts.get(CHUNKS_EMBEDDED, 0)
    return {
        "batches ready": batches,
        "changes ready": changes,
        "chunks embedded now": embedded,
        "tokens embedded now": counts.get(TOKENS, 0),
        "chunks/s": _rate(embedded, seconds),
    }


def written_metadata(
    *,
    batches: int,
    lines: int,
    failed: int,
    chunks: int,
    seconds: float,
    outcomes: Mapping[str, int],
    failures: Sequence[Mapping[str, Any]],
) -> Metadata:
    """What one step settled. ``outcomes`` counts changes; ``failures`` are the first lines that failed in it."""
    entries: Metadata = {
        "batches settled": batches,
        "lines settled": lines,
        "lines failed": failed,
        "chunks written": chunks,
        "lines/s": _rate(lines, seconds),
        "changes by outcome": counts_table(outcomes),
    }
    if failures:
        entries["first failures"] = failures_table(failures)
    return entries


def cleanup_metadata(report: CleanupReport) -> Metadata:
    """What went."""
    return {
        "runs dropped": len(report.runs),
        "lines dropped": report.completed_lines + report.failed_lines,
        "tombstones dropped": report.tombstones,
        "bytes given back": report.freed_bytes,
    }


def report_metadata(report: SyncReport) -> Metadata:
    """What became of a run: counts, what to type next, first failures, speed, commits, checks.

    The page shows the first seven rows or so of an event: what is needed at night comes first.
    """
    run = report.run
    entries: Metadata = {"sync run": run.run_id, "status": run.status.value}
    if report.repair_command:  # as text: Markdown is behind a click
        entries["repair"] = report.repair_command
    entries |= {
        "lines": run.total_lines,
        "lines completed": run.success_count,
        "lines failed": run.error_count,
    }
    if report.failures:
        entries["first failures"] = failures_table(report.failures)
    entries["lines by outcome"] = counts_table(report.outcomes)
    if speed := _lines_per_second(run):
        entries["lines/s"] = speed
    if report.objects is not None:
        entries["objects in the collection"] = report.objects
    if report.commits:
        rows = [(name, commit or "", report.stood_at.get(name, "")) for name, commit in sorted(report.commits.items())]
        entries["repositories moved"] = table(("repository", "commit", "before"), rows[:SHOWN_REPOSITORIES])
    if report.gaps:
        entries["gaps"] = MetadataValue.md("\n".join(f"- {_cell(gap)}" for gap in report.gaps))
    for check in report.checks:
        entries[f"check: {check.name}"] = f"{'passed' if check.passed else 'FAILED'}: {check.detail}"
    return entries


def materialization_metadata(report: SyncReport, measures: Measures) -> Metadata:
    """A run's report, and the numbers that are worth a plot; ``measures`` are of all its steps and tries."""
    entries = report_metadata(report)
    counts = measures.counts
    entries["documents written"] = counts.get(DOCUMENTS, 0)
    entries["chunks written"] = counts.get(CHUNKS_WRITTEN, 0)
    entries["embedding tokens"] = counts.get(TOKENS, 0)
    entries.update((f"seconds: {stage}", seconds) for stage, seconds in measures.seconds.items())
    if measures.seconds:
        rows = _with_bars(list(measures.seconds.items()))
        entries["seconds by stage"] = table(("stage", "seconds", ""), rows)
    return entries


def preview_metadata(preview: Preview) -> Metadata:
    """What a sync would do."""
    documents = {
        name: getattr(preview, name) for name in ("added", "changed", "deleted", "unchanged", "skipped", "failed")
    }
    entries: Metadata = {
        "sync run": preview.run.run_id,
        "dry run": True,
        "would be": counts_table(documents),
        "chunks to embed": preview.chunks,
        "tokens to embed": preview.tokens,
    }
    if preview.failures:
        entries["first failures"] = MetadataValue.md("\n".join(f"- {_cell(reason)}" for reason in preview.failures))
    return entries


def counts_table(counts: Mapping[str, int]) -> MetadataValue[Any]:
    """Counts by name, the largest first."""
    rows = sorted(((name, count) for name, count in counts.items() if count), key=lambda row: (-row[1], row[0]))
    return table(("what", "count", ""), _with_bars(rows)) if rows else MetadataValue.md("none")


def failures_table(failures: Sequence[Mapping[str, Any]]) -> MetadataValue[Any]:
    """Failed lines, as stored: line, path, reason."""
    rows = [(row["line_number"], row["file_path"], row["error_message"]) for row in failures]
    return table(("line", "path", "reason"), rows)


def _with_bars(rows: Sequence[tuple[str, float]]) -> list[tuple[str, float, str]]:
    """Each row with its share of the largest, as a bar that can be seen from afar."""
    largest = max((value for _, value in rows), default=0) or 1
    return [(name, value, "█" * round(BAR_CHARACTERS * value / largest)) for name, value in rows]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> MetadataValue[Any]:
    """A Markdown table; what paths and reasons hold cannot break it."""
    text = [header, ["---"] * len(header), *rows]
    return MetadataValue.md("\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in text))


def _cell(value: object) -> str:
    said = "".join(" " if ord(each) < 32 or 0xD800 <= ord(each) < 0xE000 else each for each in str(value))
    if len(said) > CELL_CHARACTERS:
        said = said[:CELL_CHARACTERS] + "…"
    return said.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds > 0 else 0.0


def _lines_per_second(run: RunRecord) -> float | None:
    if run.completed_at is None:
        return None
    seconds = (clock.parse(run.completed_at) - clock.parse(run.started_at)).total_seconds()
    return round(run.processed_lines / seconds, 1) if seconds > 0 else None
