"""``index inbox``: what the sensor knows of each changeset that was dropped."""

import click

from elysia_dagster.cli.options import command
from elysia_dagster.cli.terminal import Terminal, moment
from elysia_dagster.settings import Settings
from elysia_dagster.sync.existing import existing_checkpoint

_LATEST_FILES = 50
_STYLES = {"refused": "red", "held": "yellow", "applied": "dim"}


@command("inbox", json=True)
@click.option("--limit", type=click.IntRange(min=1), default=_LATEST_FILES, show_default=True, help="Files shown.")
def inbox(terminal: Terminal, limit: int, as_json: bool) -> int:
    """Show the changesets of the inbox: those that wait first, then those that were settled last.

    arriving: not yet whole; waiting: for its turn, or for its next attempt; requested: a Dagster run was asked for;
    held: somebody stopped its run; applied: every line is settled; refused: set aside, with the reason.

    \b
    Example: elysiactl index inbox
    """
    settings = Settings.from_environment()
    with existing_checkpoint(settings) as database:
        from elysia_dagster.checkpoint.inbox import InboxRecords, inbox_name
        from elysia_dagster.cli.listing import Listing

        folder = settings.inbox_folder()
        name = inbox_name(folder, settings.collection, settings.store)
        files = InboxRecords(database, name).every_file(most=limit) if database is not None else []
        if as_json:
            terminal.result_json(
                [
                    {
                        "name": file.name,
                        "state": file.state.value,
                        "attempt": file.attempt,
                        "lines": file.line_count,
                        "repositories": file.repositories,
                        "run_id": file.run_id,
                        "reason": file.reason,
                        "next_attempt_at": file.next_attempt_at,
                        "settled_at": file.settled_at,
                        "place": file.place,
                    }
                    for file in files
                ]
            )
        elif not files:
            terminal.result(f"Nothing was seen in {folder} yet.")
        else:
            shown = Listing(names=("file", "state", "attempt>", "lines>", "run", "settled (UTC)", "reason"), heads=2)
            for file in files:
                shown.add(
                    file.name,
                    file.state.value,
                    str(file.attempt),
                    "" if file.line_count is None else f"{file.line_count:,}",
                    file.run_id or "",
                    moment(file.settled_at),
                    file.reason or "",
                    style=_STYLES.get(file.state.value, ""),
                )
            shown.show(terminal)
    return 0
