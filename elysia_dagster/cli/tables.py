"""The tables of ``index status``, and the same as JSON in the stored columns."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from elysia_dagster.checkpoint import queries, runs
from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.cli.terminal import Terminal, moment, printable
from elysia_dagster.models import RunStatus

if TYPE_CHECKING:
    from rich.table import Table

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
    table = _table("run", "started (UTC)", "status", "collection", "lines>", "ok>", "failed>", "source")
    for run in records[:limit]:
        table.add_row(
            run.run_id,
            moment(run.started_at),
            standing(run),
            run.collection_name,
            f"{run.processed_lines:,}/{run.total_lines:,}",
            f"{run.success_count:,}",
            f"{run.error_count:,}",
            printable(run.input_source or ""),
            style=_style(run),
        )
    terminal.result_table(table)
    if len(records) > limit:
        terminal.note(f"These are the latest {limit}; every run: elysiactl index status --json")


def show_run(terminal: Terminal, database: Database, run_id: str, *, as_json: bool) -> None:
    """One run in full. Raises ``UsageError`` where there is none."""
    run = runs.load_run(database, run_id)
    outcomes = queries.count_outcomes(database, run_id)
    repositories = queries.repositories_of(database, run_id)
    failures = queries.failed_lines_of(database, run_id, limit=_SHOWN_FAILURES)
    if as_json:
        columns = _run_columns(run)
        details = {"outcomes": outcomes, "repositories": repositories, "failures": failures}
        terminal.result_json({**columns, **details, "next_command": next_command(run)})
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
        "next": next_command(run),
    }
    terminal.result("\n".join(f"{name:13}{printable(value)}" for name, value in rows.items() if value))
    if failures:
        terminal.result("")
        terminal.result_table(_failures_table(failures, of_one_run=True))


def show_failed(terminal: Terminal, database: Database, run_id: str | None, *, limit: int, as_json: bool) -> None:
    """Failed lines of one run, or of all. Raises ``UsageError`` where there is no such run."""
    if run_id:
        runs.load_run(database, run_id)
    failures = queries.failed_lines_of(database, run_id, limit=limit if as_json else limit + 1)
    if as_json:
        terminal.result_json(failures)
        return
    if not failures:
        terminal.result("No failed lines.")
        return
    terminal.result_table(_failures_table(failures[:limit], of_one_run=run_id is not None))
    if len(failures) > limit:
        terminal.note(f"These are the first {limit:,}; every failed line: elysiactl index failed --json")
    terminal.note("Try them again: elysiactl index retry" + (f" --run-id {run_id}" if run_id else ""))


def show_summary(terminal: Terminal, database: Database, *, as_json: bool) -> None:
    """Totals, collections, and where every repository stands."""
    summary = queries.summarize(database)
    if as_json:
        terminal.result_json(summary)
        return
    by_status = ", ".join(f"{summary[f'{each.value}_runs']:,} {each.value}" for each in RunStatus)
    terminal.result(f"{summary['total_runs']:,} runs: {by_status}; the last began {moment(summary['last_run'])} UTC.")
    terminal.result(
        f"{summary['total_success']:,} lines completed, {summary['total_errors']:,} failed "
        f"({summary['due_failed_lines']:,} of them due for another try)."
    )
    if summary["collections"]:
        table = _table("collection", "documents>", "chunks>", "unsure>", "model", "store")
        for row in summary["collections"]:
            table.add_row(
                row["name"],
                f"{row['documents']:,}",
                f"{row['chunks']:,}",
                f"{row['unsure']:,}",
                row["model"],
                printable(row["store"]),
            )
        terminal.result("")
        terminal.result_table(table)
    if summary["repositories"]:
        table = _table("repository", "collection", "commit", "branch", "moved (UTC)", "state")
        for row in summary["repositories"]:
            state = "; ".join(filter(None, ["incomplete" if row["incomplete"] else "", row["gap"] or ""]))
            table.add_row(
                printable(row["repository"]),
                row["collection"],
                printable(row["commit_id"] or "")[:12],
                printable(row["branch"] or ""),
                moment(row["moved_at"]),
                printable(state) or "complete",
            )
        terminal.result("")
        terminal.result_table(table)


def standing(run: RunRecord) -> str:
    """A run's status; of one that is not finished, whether anybody works on it."""
    if run.status is not RunStatus.RUNNING:
        return run.status.value + (", dry run" if run.dry_run else "")
    if run.sequence is None:
        return "cannot be resumed"  # the earlier system's
    return "running" if _holder(run) else "waits to be resumed"


def next_command(run: RunRecord) -> str:
    """What to type next, or '' where nothing is left to do."""
    if run.status is RunStatus.FAILED:
        return f"elysiactl index retry --run-id {run.run_id}"
    if run.status is not RunStatus.RUNNING or _holder(run):
        return ""
    return f"elysiactl index {'abandon' if run.sequence is None else 'resume'} --run-id {run.run_id}"


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


def _failures_table(failures: list[dict[str, Any]], *, of_one_run: bool) -> "Table":
    names = ["line>", "path", "reason", "kind", "retries>", "next try (UTC)", "stale"]
    table = _table(*names if of_one_run else ["run", *names])
    for row in failures:
        cells = [
            str(row["line_number"]),
            printable(_path_of(row)),
            printable(row["error_message"] or ""),
            row["error_kind"] or "",
            str(row["retry_count"] or 0),
            moment(row["next_retry_at"]),
            "yes" if row["stale"] else "",
        ]
        table.add_row(*cells if of_one_run else [row["run_id"], *cells])
    return table


def _path_of(row: dict[str, Any]) -> str:
    names: list[str] = [row["repository"], row["file_path"]]
    return "/".join(filter(None, names))


def _table(*names: str) -> "Table":
    """A plain table; a name that ends with ``>`` is a column of numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for name in names:
        is_number = name.endswith(">")
        table.add_column(
            name.rstrip(">"),
            justify="right" if is_number else "left",
            no_wrap=is_number or name == "run",
            overflow="fold",
        )
    return table


def _style(run: RunRecord) -> str:
    if run.status is RunStatus.RUNNING:
        return "yellow"
    return "red" if run.status is RunStatus.FAILED else ""


def _some(names: list[str], most: int = 10) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
