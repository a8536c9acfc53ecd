"""Failed lines as a changeset: each as it stood, and none that would be another, or older, than it was."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_dagster.checkpoint.collections import find_collection, load_collection
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
_LOOK = (
    "See what they ask for (elysiactl index failed --run-id {run_id} --format jsonl), and sync into the new collection "
    "what still holds."
)


def give_again(terminal: Terminal, database: "Database | None", run_id: str | None, output: Path | None) -> int:
    """Writes the lines, oldest run first, and says how to send them; 1 where some are left out, which are named.

    A new changeset is the newest of all: a line whose document a newer run has changed would undo that, and is left
    out, and so is a run of a collection that another one has replaced. Raises ``UsageError`` where that is the run that
    is asked for, and where the lines belong to several places.
    """
    runs: list[RunRecord] = []
    replaced: dict[str, str] = {}
    if database is not None:
        runs = [load_run(database, run_id)] if run_id else runs_with_failed_lines(database)
        replaced = {run.run_id: text for run in runs if (text := _replaced(database, run))}
        if run_id and replaced:
            raise UsageError(replaced[run_id], next_step=_LOOK.format(run_id=run_id))
        runs = [run for run in runs if run.run_id not in replaced]
    _refuse_several_places(runs)
    is_null = bool(runs) and runs[0].options is not None and runs[0].options.null_separated
    given = left_out = 0
    for left, reason in list(replaced.items())[:_SHOWN_RUNS]:
        terminal.note(f"Left out, run {left}: {reason} {_LOOK.format(run_id=left)}")
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
        terminal.note("No line is left to send." if left_out or replaced else "No failed lines.")
    else:
        terminal.note(f"{counted(given, 'line')}. Apply them: {_command(runs[0], run_id, output)}")
    return int(left_out > 0 or bool(replaced))


def _replaced(database: "Database", run: RunRecord) -> str:
    """Why no line of a run is given whose collection another one has replaced, '' for any other run.

    What has become of the document since is in the other one's ledger, whose versions count rebuilds as well.
    """
    known = find_collection(database, run.store, run.collection_name) if run.store else None
    if known is None or known.replaced_by is None:
        return ""
    heir = load_collection(database, known.replaced_by)
    if heir.rebuilt_from == known.collection_id:  # the switch is not made yet
        return ""
    return (
        f"Collection {known.name} was rebuilt as {heir.name} in {heir.store}, where its old lines could undo what is "
        "newer."
    )


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
