"""``index status``: what the checkpoint knows, failed lines in a table included.

Reads only, and imports no more than that takes.
"""

import click

from elysia_dagster.cli.options import command, run_id_option
from elysia_dagster.cli.terminal import Terminal
from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.existing import existing_checkpoint

_LATEST_RUNS = 20
_MOST_FAILED_LINES = 1000
"""Failed lines in a table; ``--json`` gives them all."""

_ALL = 2**31


@command("status", json=True)
@click.option("--summary", is_flag=True, help="Totals, collections, and where every repository stands.")
@click.option("--failed", "only_failed", is_flag=True, help="The failed lines, of all runs or of --run-id.")
@run_id_option("One run in full, and what to type next.")
def status(terminal: Terminal, summary: bool, only_failed: bool, run_id: str | None, as_json: bool) -> int:
    """Show the latest runs, or one in full.

    Works while a run writes. With --json: the stored columns, of every run.

    \b
    Example: elysiactl index status --summary
    """
    if summary and (only_failed or run_id):
        raise UsageError("--summary is about all runs.", next_step="Leave out --failed and --run-id.")
    if only_failed:
        return show_failed_lines(terminal, run_id, as_json=as_json)

    with existing_checkpoint(Settings.from_environment()) as database:
        from elysia_dagster.cli import tables

        if database is None:
            return _no_runs(terminal, run_id, as_json=as_json)
        if summary:
            tables.show_summary(terminal, database, as_json=as_json)
        elif run_id:
            tables.show_run(terminal, database, run_id, as_json=as_json)
        else:
            tables.show_runs(terminal, database, limit=_ALL if as_json else _LATEST_RUNS, as_json=as_json)
    return 0


def show_failed_lines(terminal: Terminal, run_id: str | None, *, as_json: bool) -> int:
    """Failed lines of a run, or of all, as a table or as one JSON list. Raises ``UsageError``."""
    with existing_checkpoint(Settings.from_environment()) as database:
        from elysia_dagster.cli import tables

        if database is None:
            return _no_runs(terminal, run_id, as_json=as_json)
        limit = _ALL if as_json else _MOST_FAILED_LINES
        tables.show_failed(terminal, database, run_id, limit=limit, as_json=as_json)
    return 0


def _no_runs(terminal: Terminal, run_id: str | None, *, as_json: bool) -> int:
    if run_id:
        raise UsageError(f"There is no run {run_id}.", next_step="No changeset was applied yet.")
    if as_json:
        terminal.result_json([])
    else:
        terminal.result(f"No runs yet in {Settings.from_environment().expected_state_folder()}.")
        terminal.result("The first: git ls-files | elysiactl index sync --stdin --collection Demo")
    return 0
