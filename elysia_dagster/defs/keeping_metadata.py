"""What the jobs beside ``sync_changeset`` show on a run's page."""

from collections.abc import Sequence

from dagster import MetadataValue

from elysia_dagster.checkpoint.queries import repair_command
from elysia_dagster.defs.metadata import Metadata, counts_table, table
from elysia_dagster.sync.collect import CollectReport
from elysia_dagster.sync.difference import Difference
from elysia_dagster.sync.finalize import FIRST_FAILURES
from elysia_dagster.sync.reconcile import Comparison
from elysia_dagster.sync.repair import RepairReport
from elysia_dagster.sync.retries import Retried

SHOWN_RUNS = 50
"""Sync runs in a table; the counts beside it are of all."""

SHOWN_DOCUMENTS = 20


def retry_metadata(done: Sequence[Retried]) -> Metadata:
    """What came of each sync run, the first lines that failed again, and what to type next."""
    reports = [each.report for each in done if each.report is not None]
    entries: Metadata = {
        "sync runs tried": len(reports),
        "sync runs left out": len(done) - len(reports),
        "lines mended": sum(each.failed_before - each.report.run.error_count for each in done if each.report),
        "lines still failed": sum(report.run.error_count for report in reports),
    }
    if reports:
        rows = [
            (each.run_id, each.report.run.status.value, each.failed_before, each.report.run.error_count)
            for each in done
            if each.report
        ]
        entries["sync runs"] = table(("sync run", "status", "failed before", "failed now"), rows[:SHOWN_RUNS])
    failures = [
        (report.run.run_id, row["line_number"], row["file_path"], row["error_message"])
        for report in reports
        for row in report.failures
    ]
    if failures:
        entries["first failures"] = table(("sync run", "line", "path", "reason"), failures[:FIRST_FAILURES])
    if reasons := [(each.run_id, str(each.error or each.left_out)) for each in done if each.report is None]:
        entries["left out"] = table(("sync run", "why"), reasons[:SHOWN_RUNS])
    if commands := [report.repair_command for report in reports if report.repair_command]:
        entries["repair"] = commands_text(commands[:SHOWN_RUNS])
    return entries


def reconcile_metadata(comparison: Comparison, done: RepairReport | None) -> Metadata:
    """What differs, what was mended, and what to type next."""
    known = comparison.known
    entries: Metadata = {
        "collection": f"{known.name} ({known.store})",
        "objects in the store": comparison.objects,
        "documents in the ledger": comparison.documents,
        "documents that differ": comparison.differing,
        "documents being written": comparison.being_written,
        "objects that are not ours": comparison.foreign,
    }
    if comparison.repository is not None:
        entries["repository"] = comparison.repository
    if comparison.differing:
        counts = [
            (each.value, comparison.documents_by_difference[each], comparison.objects_by_difference[each])
            for each in Difference
            if comparison.documents_by_difference[each]
        ]
        entries["differences"] = table(("difference", "documents", "objects"), counts)
        found = [
            (f"{each.held.repository}/{each.held.path}", ", ".join(kind.value for kind in each.differences))
            for each in comparison.first_findings(SHOWN_DOCUMENTS)
        ]
        entries["first differences"] = table(("document", "difference"), found)
    if done is not None:
        entries.update(_repair_metadata(done))
    if command := next_command(comparison, done):
        entries["repair"] = commands_text([command])
    return entries


def _repair_metadata(done: RepairReport) -> Metadata:
    mended = {
        "documents deleted and written anew": done.rewritten,
        "documents only suspected, and right": done.cleared,
        "objects removed that were left over": done.removed,
        "objects removed that were not ours": done.foreign,
        "documents not mended": done.sent_again,
        "objects of these missing until they are sent again": done.holes,
    }
    entries: Metadata = {"documents that still differ": done.remaining, "repaired": counts_table(mended)}
    if done.file is not None:
        entries["to be sent again"] = MetadataValue.path(done.file)
    if done.reasons:
        entries["first reasons"] = table(("document", "reason"), list(done.reasons.items()))
    if done.held:
        entries["left as it is"] = table(("repository", "held by"), list(done.held.items())[:SHOWN_RUNS])
    return entries


def next_command(comparison: Comparison, done: RepairReport | None) -> str:
    """What to type next, '' where nothing differs any more."""
    if done is not None and done.command:
        return done.command
    differing = comparison.differing if done is None else done.remaining
    return repair_command(comparison.known.name, comparison.known.store) if differing else ""


def collect_metadata(report: CollectReport) -> Metadata:
    """The changeset that is in the inbox now, and what the command said beside."""
    entries: Metadata = {"bytes": report.size_bytes, "seconds": round(report.seconds, 3)}
    if report.file is not None:
        entries["changeset"] = MetadataValue.path(report.file)
    if report.standard_error:
        entries["standard error"] = report.standard_error
    return entries


def commands_text(commands: Sequence[str]) -> MetadataValue[str]:
    """Commands, to be copied."""
    return MetadataValue.md("\n".join(f"`{each}`\n" for each in commands).rstrip())
