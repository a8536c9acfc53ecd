"""``index failed``: failed lines for people, for other programs, and as a changeset to send again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysia_dagster.cli.options import command, run_id_option
from elysia_dagster.cli.status import show_failed_lines
from elysia_dagster.cli.terminal import Terminal
from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.existing import existing_checkpoint

if TYPE_CHECKING:
    from elysia_dagster.checkpoint.database import Database

TABLE, CSV, JSONL, PARQUET = "table", "csv", "jsonl", "parquet"


@command("failed", json=True)
@run_id_option("Of this run only.")
@click.option(
    "--format",
    "format_",
    type=click.Choice([TABLE, CSV, JSONL, PARQUET]),
    help="How: a table for people (the default), or the stored columns of every line.",
)
@click.option(
    "--as-changeset", is_flag=True, help="The lines as they stood in their changeset, to be sent again by index sync."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where to write it.")
def failed(
    terminal: Terminal, run_id: str | None, format_: str | None, as_changeset: bool, output: Path | None, as_json: bool
) -> int:
    """Show failed lines (also: status --failed), or hand them on.

    A line that was not kept whole, or whose document a newer run has changed, is not given as a changeset, nor is one
    of a collection that was rebuilt as another: they are named on standard error, and the exit code is 1.

    \b
    Example: elysiactl index failed --as-changeset | elysiactl index sync --stdin --collection Demo
    """
    if sum([format_ is not None, as_changeset, as_json]) > 1:
        raise UsageError("--format, --as-changeset and --json exclude each other.", next_step="Give one of them.")
    if format_ in (None, TABLE) and not as_changeset:
        if output is not None:
            raise UsageError("--output needs to know how to write.", next_step=f"Add --format {CSV}, or another.")
        return show_failed_lines(terminal, run_id, as_json=as_json)
    settings = Settings.from_environment()

    from elysia_dagster.cli.outlet import outlet

    with existing_checkpoint(settings) as database:
        if database is None and run_id:
            raise UsageError(f"There is no run {run_id}.", next_step="No changeset was applied yet.")
        if as_changeset:
            from elysia_dagster.cli.again import give_again

            return give_again(terminal, database, run_id, output)
        assert format_ is not None
        from elysia_dagster.cli.tabular import write_rows

        if format_ == PARQUET and output is None:
            _refuse_terminal()
        with outlet(terminal, output) as out:
            write_rows(format_, _pages(database, run_id), out)
    return 0


def _refuse_terminal() -> None:
    import sys

    if sys.stdout.isatty():
        raise UsageError("Parquet is nothing for a terminal.", next_step="Name a file with --output.")


def _pages(database: "Database | None", run_id: str | None) -> Iterator[list[dict[str, Any]]]:
    if database is None:
        return
    from elysia_dagster.checkpoint.failures import failed_pages, runs_with_failed_lines
    from elysia_dagster.checkpoint.lookup import load_run

    runs = [load_run(database, run_id)] if run_id else runs_with_failed_lines(database)
    yield from failed_pages(database, [run.run_id for run in runs])
