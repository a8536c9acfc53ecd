"""Numbers and tables as a person reads them on a run's page."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import MetadataValue

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.sync.cleanup import CleanupReport
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.plan import BatchPlan
from elysia_dagster.sync.preview import Preview
from elysia_dagster.sync.request import ChangesetManifest

Metadata = dict[str, Any]

CELL_CHARACTERS = 300
"""Characters of one table cell: a reason may quote a whole line."""


def manifest_metadata(manifest: ChangesetManifest) -> Metadata:
    """Which run, of which bytes."""
    return {
        "sync run": manifest.run_id,
        "lines": manifest.total_lines,
        "input": manifest.input_source,
        "SHA-256": manifest.digest,
        "resumed": manifest.resumed,
        "nothing to do": manifest.finished,
    }


def plan_metadata(plan: BatchPlan) -> Metadata:
    """How much there is to do, and where."""
    return {"batches": plan.batches, "repositories": ", ".join(plan.repositories) or "none"}


def embedding_metadata(batches: int, changes: int, embedded: int) -> Metadata:
    """What lies ready for the store."""
    return {"batches ready": batches, "changes ready": changes, "chunks embedded now": embedded}


def written_metadata(
    *, batches: int, lines: int, failed: int, chunks: int, seconds: float, outcomes: Mapping[str, int]
) -> Metadata:
    """What one step settled. ``outcomes`` counts changes."""
    return {
        "batches settled": batches,
        "lines settled": lines,
        "lines failed": failed,
        "chunks written": chunks,
        "lines/s": round(lines / seconds, 1) if seconds else 0.0,
        "changes by outcome": counts_table(outcomes),
    }


def cleanup_metadata(report: CleanupReport) -> Metadata:
    """What went."""
    return {
        "runs dropped": len(report.runs),
        "lines dropped": report.completed_lines + report.failed_lines,
        "tombstones dropped": report.tombstones,
        "bytes given back": report.freed_bytes,
    }


def report_metadata(report: SyncReport) -> Metadata:
    """What became of a run: counts, speed, commits, first failures, checks, and what to type next."""
    run = report.run
    entries: Metadata = {
        "sync run": run.run_id,
        "status": run.status.value,
        "lines": run.total_lines,
        "lines completed": run.success_count,
        "lines failed": run.error_count,
        "lines by outcome": counts_table(report.outcomes),
    }
    if speed := _lines_per_second(run):
        entries["lines/s"] = speed
    if report.objects is not None:
        entries["objects in the collection"] = report.objects
    if report.commits:
        entries["repositories moved"] = table(
            ("repository", "commit"), [(name, commit or "") for name, commit in sorted(report.commits.items())]
        )
    if report.gaps:
        entries["gaps"] = MetadataValue.md("\n".join(f"- {_cell(gap)}" for gap in report.gaps))
    if report.failures:
        entries["first failures"] = table(
            ("line", "path", "reason"),
            [(row["line_number"], row["file_path"], row["error_message"]) for row in report.failures],
        )
    for check in report.checks:
        entries[f"check: {check.name}"] = f"{'passed' if check.passed else 'FAILED'}: {check.detail}"
    if report.repair_command:
        entries["repair"] = MetadataValue.md(f"`{report.repair_command}`")
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
    return table(("what", "count"), rows) if rows else MetadataValue.md("none")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> MetadataValue[Any]:
    """A Markdown table; what paths and reasons hold cannot break it."""
    text = [header, ["---"] * len(header), *rows]
    return MetadataValue.md("\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in text))


def _cell(value: object) -> str:
    said = "".join(" " if ord(each) < 32 or 0xD800 <= ord(each) < 0xE000 else each for each in str(value))
    if len(said) > CELL_CHARACTERS:
        said = said[:CELL_CHARACTERS] + "…"
    return said.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _lines_per_second(run: RunRecord) -> float | None:
    if run.completed_at is None:
        return None
    seconds = (clock.parse(run.completed_at) - clock.parse(run.started_at)).total_seconds()
    return round(run.processed_lines / seconds, 1) if seconds > 0 else None
