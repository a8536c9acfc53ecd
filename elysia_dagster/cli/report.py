"""What became of a run, for people and for programs."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from elysia_dagster.cli.terminal import counted, printable
from elysia_dagster.models import Outcome, RunStatus
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.preview import Preview
from elysia_dagster.sync.request import ChangesetManifest

_SHOWN_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that this process has brought to its end.

    ``seconds`` is what it took here, reading the input and opening the store included; ``lines_per_second`` counts
    from the plan on.
    """

    manifest: ChangesetManifest
    report: SyncReport | Preview
    seconds: float
    lines_per_second: float

    @property
    def exit_code(self) -> int:
        """0, or 1 where lines failed. A dry run that has looked at everything is 0: it has failed nothing."""
        return int(isinstance(self.report, SyncReport) and self.report.run.status is RunStatus.FAILED)


def as_json(finished: Finished) -> dict[str, Any]:
    """The report as ``--json`` prints it."""
    run = finished.report.run
    common = {
        "run_id": run.run_id,
        "status": run.status.value,
        "collection": run.collection_name,
        "store": run.store,
        "dry_run": run.dry_run,
        "resumed": finished.manifest.resumed,
        "nothing_to_do": finished.manifest.finished,
        "settled_before": finished.manifest.settled_before,
    }
    timing = {"seconds": round(finished.seconds, 3), "lines_per_second": round(finished.lines_per_second, 1)}
    if isinstance(finished.report, Preview):
        fields = {name: value for name, value in vars(finished.report).items() if name != "run"}
        return {**common, "total_lines": run.total_lines, **fields, **timing}
    report = finished.report
    return {
        **common,
        "counts": {
            "total_lines": run.total_lines,
            "processed_lines": run.processed_lines,
            "success_count": run.success_count,
            "error_count": run.error_count,
        },
        "outcomes": report.outcomes,
        "objects": report.objects,
        "checks": [asdict(check) for check in report.checks],
        "commits": report.commits,
        "gaps": list(report.gaps),
        "failures": list(report.failures),
        "repair_command": report.repair_command,
        **timing,
    }


def as_text(finished: Finished) -> str:
    """The report for people."""
    if isinstance(finished.report, Preview):
        return "\n".join(_preview_lines(finished, finished.report))
    return "\n".join(_report_lines(finished, finished.report))


def _report_lines(finished: Finished, report: SyncReport) -> list[str]:
    run = report.run
    if finished.manifest.finished:
        what = f"run {run.run_id} has applied this changeset, and nothing has touched its repositories since"
        lines = [f"Nothing to do: {what}."]
    else:
        ending = (
            "completed"
            if run.status is RunStatus.COMPLETED
            else f"ended with {counted(run.error_count, 'failed line')}"
        )
        lines = [f"Resumed run {run.run_id}."] if finished.manifest.resumed else []
        lines.append(
            f"Run {run.run_id} {ending}: {counted(run.total_lines, 'line')} into {run.collection_name} in "
            f"{_seconds(finished.seconds)}."
        )
    outcomes = [f"{report.outcomes[each.value]:,} {each.value}" for each in Outcome if report.outcomes.get(each.value)]
    if run.error_count:
        outcomes.append(f"{run.error_count:,} failed")
    if outcomes:
        lines.append(f"  {', '.join(outcomes)}")
    if report.objects is not None:
        lines.append(f"  The collection holds {counted(report.objects, 'object')} ({run.store}).")
    lines += [f"  {repository} now stands at {commit}." for repository, commit in report.commits.items() if commit]
    left_behind = sorted(set(json.loads(run.changeset_info or "{}")) - set(report.commits))
    if run.error_count and left_behind:
        lines.append(f"  Not moved, since lines failed there: {', '.join(left_behind)}.")
    lines += [f"  Gap: {gap}" for gap in report.gaps]
    lines += [f"  Check failed: {check.name}: {check.detail}" for check in report.checks if not check.passed]
    for failure in report.failures[:_SHOWN_FAILURES]:
        place = ", ".join(filter(None, [f"Line {failure['line_number']}", failure["file_path"]]))
        lines.append(f"  {place}: {failure['error_message']}")
    if run.error_count > _SHOWN_FAILURES:
        more = run.error_count - _SHOWN_FAILURES
        lines.append(f"  … and {more:,} more: elysiactl index failed --run-id {run.run_id}")
    if report.repair_command:
        is_permanent = report.repair_command.endswith("--permanent")
        again = "No second try can mend these lines as they stand; all the same" if is_permanent else "Try them again"
        lines.append(f"{again}: {report.repair_command}")
    return [printable(line) for line in lines]


def _preview_lines(finished: Finished, preview: Preview) -> list[str]:
    run = preview.run
    lines = [
        f"Dry run {run.run_id}: nothing was changed. {counted(run.total_lines, 'line')} would do this to "
        f"{run.collection_name}:",
        f"  {counted(preview.added, 'document')} added",
        f"  {preview.changed:,} changed",
        f"  {preview.deleted:,} deleted",
        f"  {preview.unchanged:,} unchanged",
        f"  {preview.skipped:,} skipped",
        f"  {preview.failed:,} failed",
    ]
    aside = [f"{preview.unsent[each.value]:,} {each.value}" for each in Outcome if preview.unsent.get(each.value)]
    if aside:
        lines.append(f"  and, without touching a document, {', '.join(aside)}")
    lines.append(f"  {counted(preview.chunks, 'chunk')} with {counted(preview.tokens, 'token')} to embed")
    lines += [f"  Would fail: {each}" for each in preview.failures[:_SHOWN_FAILURES]]
    if len(preview.failures) > _SHOWN_FAILURES:
        lines.append(
            f"  … and {preview.failed - _SHOWN_FAILURES:,} more (--json names the first {len(preview.failures)})"
        )
    return [printable(line) for line in lines]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
