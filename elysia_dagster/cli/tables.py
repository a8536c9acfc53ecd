"""The tables of ``index status``, and the same as JSON in the stored columns."""

from dataclasses import asdict
from typing import Any

from elysia_dagster.checkpoint import lookup, queries
from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.cli.listing import Listing
from elysia_dagster.cli.terminal import Terminal, counted, moment, printable
from elysia_dagster.models import ErrorKind, RunStatus

_SHOWN_FAILURES = 10


def show_runs(terminal: Terminal, database: Database, *, limit: int, as_json: bool) -> None:
    """The latest runs, the newest first."""
    records = queries.list_runs(database, limit=limit if as_json else limit + 1)
    if as_json:
        terminal.result_json([_run_columns(run) for run in records])
        return
    if not records:
        terminal.result("No runs yet.")
        return
    names = ("run", "status", "started (UTC)", "collection", "lines>", "ok>", "failed>", "source")
    listing = Listing(names=names, heads=2)
    for run in records[:limit]:
        listing.add(
            run.run_id,
            standing(run),
            moment(run.started_at),
            run.collection_name,
            f"{run.processed_lines:,}/{run.total_lines:,}",
            f"{run.success_count:,}",
            f"{run.error_count:,}",
            run.input_source or "",
            style=_style(run),
        )
    listing.show(terminal)
    if len(records) > limit:
        terminal.note(f"These are the latest {limit}; every run: elysiactl index status --json")


def show_run(terminal: Terminal, database: Database, run_id: str, *, as_json: bool) -> None:
    """One run in full. Raises ``UsageError`` where there is none."""
    run = lookup.load_run(database, run_id)
    outcomes = queries.count_outcomes(database, run_id)
    repositories = queries.repositories_of(database, run_id)
    failures = queries.failed_lines_of(database, run_id, limit=_SHOWN_FAILURES)
    next_step = queries.next_command(run, failures, is_held=_holder(run) is not None)
    if as_json:
        columns = _run_columns(run)
        details = {"outcomes": outcomes, "repositories": repositories, "failures": failures}
        terminal.result_json({**columns, **details, "next_command": next_step})
        return
    settled = f"{run.processed_lines:,} of {run.total_lines:,} settled: {run.success_count:,} completed"
    options = run.options
    rows = {
        "run": run.run_id,
        "status": standing(run),
        "held": f"by {holder} since {moment(run.lease_since)} UTC" if (holder := _holder(run)) else "",
        "started": moment(run.started_at) + " UTC",
        "ended": moment(run.completed_at) + " UTC" if run.completed_at else "",
        "source": run.input_source or "",
        "collection": f"{run.collection_name} ({run.store})",
        "embedder": options.embedder if options else "",
        "roots": ", ".join(options.roots) if options else "",
        "lines": f"{settled}, {run.error_count:,} failed",
        "outcomes": ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items())),
        "attempt": str(run.attempt) if run.attempt > 1 else "",
        "repositories": _some(repositories),
        "last error": run.last_error or "",
        "next": next_step,
    }
    terminal.result("\n".join(f"{name:13}{printable(value)}" for name, value in rows.items() if value))
    if failures:
        terminal.result("")
        _failures(failures, of_one_run=True).show(terminal)


def show_failed(terminal: Terminal, database: Database, run_id: str | None, *, limit: int, as_json: bool) -> None:
    """Failed lines of one run, or of all. Raises ``UsageError`` where there is no such run."""
    if run_id:
        lookup.load_run(database, run_id)
    failures = queries.failed_lines_of(database, run_id, limit=limit if as_json else limit + 1)
    if as_json:
        terminal.result_json(failures)
        return
    if not failures:
        terminal.result("No failed lines.")
        return
    _failures(failures[:limit], of_one_run=run_id is not None).show(terminal)
    if len(failures) > limit:
        terminal.note(f"These are the first {limit:,}; every failed line: elysiactl index failed --format csv")
    options = [f"--run-id {run_id}"] if run_id else []
    if all(row["error_kind"] == ErrorKind.PERMANENT.value for row in failures):
        options.append("--permanent")
    terminal.note(" ".join(["Try them again: elysiactl index retry", *options]))


def show_summary(terminal: Terminal, database: Database, *, as_json: bool) -> None:
    """Totals, collections, and where every repository stands."""
    summary = queries.summarize(database)
    if as_json:
        terminal.result_json(summary)
        return
    by_status = ", ".join(f"{summary[f'{each.value}_runs']:,} {each.value}" for each in RunStatus)
    terminal.result(
        f"{counted(summary['total_runs'], 'run')}: {by_status}; the last began {moment(summary['last_run'])} UTC."
    )
    terminal.result(
        f"{summary['total_success']:,} lines completed, {summary['total_errors']:,} failed "
        f"({summary['due_failed_lines']:,} of them due for another try)."
    )
    if summary["collections"]:
        listing = Listing(names=("collection", "documents>", "chunks>", "unsure>", "model", "store"))
        for row in summary["collections"]:
            listing.add(
                row["name"],
                f"{row['documents']:,}",
                f"{row['chunks']:,}",
                f"{row['unsure']:,}",
                row["model"],
                row["store"],
            )
        terminal.result("")
        listing.show(terminal)
        for row in summary["collections"]:
            if row["replaced_by"]:
                terminal.result(f"{row['name']} ({row['store']}) takes no changeset: {row['replaced_by']} replaces it.")
            if row["rebuilt_from"]:
                terminal.result(f"{row['name']} ({row['store']}) is being rebuilt from {row['rebuilt_from']}.")
    if summary["repositories"]:
        listing = Listing(names=("repository", "collection", "commit", "branch", "moved (UTC)", "state"))
        for row in summary["repositories"]:
            state = "; ".join(filter(None, ["incomplete" if row["incomplete"] else "", row["gap"] or ""]))
            listing.add(
                row["repository"],
                row["collection"],
                (row["commit_id"] or "")[:12],
                row["branch"] or "",
                moment(row["moved_at"]),
                state or "complete",
            )
        terminal.result("")
        listing.show(terminal)


def standing(run: RunRecord) -> str:
    """A run's status; of one that is not finished, whether anybody works on it."""
    if run.status is not RunStatus.RUNNING:
        return f"{run.status.value}, dry run" if run.dry_run else str(run.status.value)
    if run.sequence is None:
        return "cannot be resumed"  # the earlier system's
    if queries.is_repair(run):
        return "running" if _holder(run) else "interrupted"
    return "running" if _holder(run) else "waits to be resumed"


def _holder(run: RunRecord) -> str | None:
    return live_holder(run, this_host()) if run.status is RunStatus.RUNNING else None


def _run_columns(run: RunRecord) -> dict[str, Any]:
    """The row as it is stored, and who works on the run now."""
    return {
        **asdict(run),
        "status": run.status.value,
        "options": run.options.to_json() if run.options else None,
        "holder": _holder(run),
    }


def _failures(failures: list[dict[str, Any]], *, of_one_run: bool) -> Listing:
    names = ("line>", "path", "reason", "kind", "retries>", "next try (UTC)", "stale")
    listing = Listing(names=names, heads=2) if of_one_run else Listing(names=("run", *names), heads=3)
    for row in failures:
        cells = [
            str(row["line_number"]),
            _path_of(row),
            row["error_message"] or "",
            row["error_kind"] or "",
            str(row["retry_count"] or 0),
            moment(row["next_retry_at"]),
            "yes" if row["stale"] else "",
        ]
        listing.add(*cells if of_one_run else [row["run_id"], *cells])
    return listing


def _path_of(row: dict[str, Any]) -> str:
    return "/".join(str(each) for each in (row["repository"], row["file_path"]) if each)


def _style(run: RunRecord) -> str:
    if run.status is RunStatus.RUNNING:
        return "yellow"
    return "red" if run.status is RunStatus.FAILED else ""


def _some(names: list[str], most: int = 10) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
