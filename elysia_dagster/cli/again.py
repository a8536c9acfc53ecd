"""Failed lines as a changeset: each as it stood, and none that would be another, or older, than it was."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_dagster.checkpoint.failures import failed_pages, runs_with_failed_lines
from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.cli.outlet import outlet
from elysia_dagster.cli.terminal import Terminal, counted
from elysia_dagster.errors import UsageError
from elysia_dagster.sync.payload import CutPayload, line_of

if TYPE_CHECKING:
    from elysia_dagster.checkpoint.database import Database

_SHOWN_RUNS = 5
_SHOWN_LEFT_OUT = 20


def give_again(terminal: Terminal, database: "Database | None", run_id: str | None, output: Path | None) -> int:
    """Writes the lines, oldest run first, and says how to send them; 1 where some are left out, which are named.

    A new changeset is the newest of all: a line whose document a newer run has changed would undo that, and is left
    out. Raises ``UsageError`` where the lines belong to several places.
    """
    runs: list[RunRecord] = []
    if database is not None:
        runs = [load_run(database, run_id)] if run_id else runs_with_failed_lines(database)
    _refuse_several_places(runs)
    is_null = bool(runs) and runs[0].options is not None and runs[0].options.null_separated
    given = left_out = 0
    with outlet(terminal, output) as out:
        for page in failed_pages(database, [run.run_id for run in runs]) if database is not None else ():
            lines = []
            for row in page:
                try:
                    if row["is_overtaken"]:
                        raise CutPayload("a newer run has changed or removed its document since")
                    lines.append(line_of(row["payload"]) + (b"\0" if is_null else b"\n"))
                except CutPayload as reason:
                    left_out += 1
                    if left_out <= _SHOWN_LEFT_OUT:
                        place = ", ".join(filter(None, [f"line {row['line_number']}", row["file_path"]]))
                        retry = f"elysiactl index retry --run-id {row['run_id']} --line {row['line_number']}"
                        terminal.note(f"Left out, {place}: {reason}. Try it where it is: {retry}")
            given += len(lines)
            out.write(b"".join(lines))
    if left_out > _SHOWN_LEFT_OUT:
        terminal.note(f"And {left_out - _SHOWN_LEFT_OUT:,} more are left out: elysiactl index failed --format csv")
    if not given:
        terminal.note("No failed lines." if not left_out else "No line is left to send.")
    else:
        terminal.note(f"{counted(given, 'line')}. Apply them: {_command(runs[0], run_id, output)}")
    return int(left_out > 0)


def _refuse_several_places(runs: list[RunRecord]) -> None:
    places = {_options_of(run) for run in runs}
    if len(places) > 1:
        names = [run.run_id for run in runs]
        shown = ", ".join(names[:_SHOWN_RUNS]) + (" …" if len(names) > _SHOWN_RUNS else "")
        raise UsageError(
            f"The failed lines are of runs into different collections, or from different roots: {shown}.",
            next_step=f"Name one: elysiactl index failed --as-changeset --run-id {names[0]}",
        )


def _options_of(run: RunRecord) -> tuple[str, ...]:
    """What a sync needs to be told to apply lines of the run where the run applied them."""
    options = run.options
    told = ["--collection", run.collection_name]
    told += ["--store", run.store] if run.store else []
    if options is not None:
        told += [part for root in options.roots for part in ("--root", root)]
        told += ["--repo", options.repo] if options.repo else []
        told += ["--embedder", options.embedder]
        told += ["--null"] if options.null_separated else []
    return tuple(told)


def _command(run: RunRecord, run_id: str | None, output: Path | None) -> str:
    sync = ["elysiactl", "index", "sync", str(output) if output else "--stdin", *_options_of(run)]
    if output:
        return shlex.join(sync)
    give = ["elysiactl", "index", "failed", *(["--run-id", run_id] if run_id else []), "--as-changeset"]
    return f"{shlex.join(give)} | {shlex.join(sync)}"
