"""Commands that keep house: ``index abandon``, ``cleanup``, ``forget`` and ``where``."""

import math
from typing import Any

import click

from elysia_dagster.cli.options import collection_option, command, store_option
from elysia_dagster.cli.terminal import Terminal, counted
from elysia_dagster.errors import StoreUnavailable, UsageError
from elysia_dagster.settings import MOST_DAYS, Settings


@command("abandon")
@click.option("--run-id", metavar="ID", required=True, help="The run to give up.")
def abandon(terminal: Terminal, run_id: str) -> int:
    """Give an unfinished run up for good.

    What it has settled stays settled; the rest is not applied, and its input is dropped.

    \b
    Example: elysiactl index abandon --run-id sync-20260102-030405-0123abcd
    """
    settings = Settings.from_environment()

    from elysia_dagster.checkpoint.runs import abandon_run
    from elysia_dagster.cli.work import opened_engine
    from elysia_dagster.sync.engine import remove_run_folder

    with opened_engine(settings, terminal) as engine:
        run = abandon_run(engine.database, run_id, engine.host)
        remove_run_folder(engine, run_id)
    terminal.result(f"Run {run_id} is given up; {run.processed_lines:,} of its {run.total_lines:,} lines were settled.")
    return 0


class Days(click.FloatRange):
    """A number of days up to a century: a longer time, or none at all (nan), has no moment that it began."""

    def __init__(self) -> None:
        super().__init__(min=0, max=MOST_DAYS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails as a usage error."""
        days = float(super().convert(value, param, ctx))
        if math.isnan(days):
            self.fail(f"{value} is no number of days.", param, ctx)
        return days


@command("cleanup")
@click.option(
    "--keep-days",
    type=Days(),
    help="Days that finished runs are kept.  [setting: ELYSIACTL_CHECKPOINT_CLEANUP_DAYS]",
)
def cleanup(terminal: Terminal, keep_days: float | None) -> int:
    """Drop old runs and give their space back.

    Only finished runs are dropped, with their lines and files; documents stay.

    \b
    Example: elysiactl index cleanup --keep-days 7
    """
    settings = Settings.from_environment()

    from elysia_dagster.cli.work import opened_engine
    from elysia_dagster.sync.cleanup import cleanup_checkpoints

    days = settings.checkpoint_cleanup_days if keep_days is None else keep_days
    with opened_engine(settings, terminal) as engine:
        report = cleanup_checkpoints(engine, keep_days=days, give_back_space=True)
    for run_id in report.runs:
        terminal.detail(f"Dropped {run_id}.")
    terminal.result(
        f"Dropped {counted(len(report.runs), 'run')} that ended more than {days:g} days ago, with "
        f"{counted(report.completed_lines, 'completed line')} and {counted(report.failed_lines, 'failed line')}; "
        f"{counted(report.freed_bytes, 'byte')} of their files freed."
    )
    return 0


@command("forget")
@collection_option
@store_option
@click.option("--yes", is_flag=True, help="Do it.")
def forget(terminal: Terminal, collection: str | None, store: str | None, yes: bool) -> int:
    """Forget a collection that was dropped.

    The checkpoint forgets its documents, so that the next sync can begin it anew. Drop it from the store first.

    \b
    Example: elysiactl index forget --collection Demo --yes
    """
    settings = Settings.from_environment()
    name = collection or settings.collection
    if not yes:
        raise UsageError(
            f"This makes the checkpoint forget every document of {name}: the next sync indexes all of it anew.",
            next_step="Add --yes to do so.",
        )

    from elysia_dagster.checkpoint.retention import forget_collection
    from elysia_dagster.cli.work import opened_engine

    with opened_engine(settings, terminal) as engine:
        url = engine.store_url(store or "")
        documents = forget_collection(engine.database, url, name, engine.host)
        terminal.result(f"Forgot {name} with {counted(documents, 'document')}.")
        try:
            is_there = engine.store(url).describe(name) is not None
        except StoreUnavailable as error:  # what was asked for is done, and needs no store
            terminal.note(f"Whether the collection is still there cannot be told: {error.message}")
            return 0
    if is_there:
        terminal.note(f"{url} still holds a collection {name}: drop it there, or take it over with --adopt.")
    return 0


@command("where")
@click.option("--inbox", is_flag=True, help="The folder that producers drop changesets into; it may not be there yet.")
def where(terminal: Terminal, inbox: bool) -> int:
    """Print the state folder, or the inbox.

    The state folder keeps the checkpoint database, the changesets that were read, and by default the vectors.

    \b
    Example: sqlite3 "$(elysiactl index where)/sync_checkpoints.db" .tables
    """
    settings = Settings.from_environment()
    if inbox:
        terminal.result(str(settings.inbox_folder()))
        return 0
    folder, note = settings.state_folder()
    if note:
        terminal.note(note)
    terminal.result(str(folder))
    return 0
