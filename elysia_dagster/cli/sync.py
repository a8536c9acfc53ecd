"""``index sync``, ``index resume`` and ``index retry``: the commands that write a collection."""

import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elysia_dagster.cli.options import (
    batch_size_option,
    collection_option,
    command,
    embedder_option,
    max_failures_option,
    run_id_option,
    store_option,
)
from elysia_dagster.cli.terminal import Terminal, counted, printable
from elysia_dagster.errors import InputError, UsageError
from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    from elysia_dagster.sync.request import ChangesetManifest


@command("sync", quiet=True, json=True)
@click.argument("changeset", required=False, type=click.Path(path_type=Path))
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the changeset from standard input.")
@click.option("--null", is_flag=True, help="Every line is a path, ended by NUL (git ls-files -z, find -print0).")
@collection_option
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that is, or holds, the repositories; may be given again.  [setting: ELYSIACTL_ROOT; "
    "default: the working directory]",
)
@click.option("--repo", metavar="NAME", help="Repository of lines that name none.  [setting: ELYSIACTL_REPO]")
@store_option
@embedder_option
@batch_size_option
@click.option(
    "--max-retries",
    type=click.IntRange(min=0),
    metavar="N",
    help="Times that a failed line is tried again.  [setting: ELYSIACTL_MAX_RETRY_ATTEMPTS]",
)
@max_failures_option
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing. Exit code 0.")
@click.option("--force", is_flag=True, help="Embed and write unchanged documents too.")
@click.option("--adopt", is_flag=True, help="Take over a collection that is there and not this checkpoint's.")
def sync(
    terminal: Terminal,
    changeset: Path | None,
    from_stdin: bool,
    null: bool,
    collection: str | None,
    roots: tuple[Path, ...],
    repo: str | None,
    store: str | None,
    embedder: str | None,
    batch_size: int | None,
    max_retries: int | None,
    max_failures: str | None,
    dry_run: bool,
    force: bool,
    adopt: bool,
    as_json: bool,
) -> int:
    """Apply a changeset to a collection.

    CHANGESET is a file of JSON lines, as mgit diff prints them, or of paths; plain, .gz or .zst. The same command
    again goes on where an interrupted one stopped; where lines name files, it then looks at them all once more.

    \b
    Example: git ls-files | elysiactl index sync --stdin --collection Demo
    """
    if (changeset is None) != from_stdin:
        raise UsageError(
            "Both a changeset and --stdin were given." if from_stdin else "No changeset was given.",
            next_step="Name a file, or pipe one into --stdin.",
        )
    settings = Settings.from_environment()
    if from_stdin and sys.stdin is None:
        raise InputError("Standard input is closed.", next_step="Pipe a changeset into the command, or name a file.")

    from elysia_dagster.cli.report import as_json as json_report
    from elysia_dagster.cli.report import as_text
    from elysia_dagster.cli.work import finish, working_engine
    from elysia_dagster.sync.drive import sync as begin
    from elysia_dagster.sync.read import begin_again, holds_earlier_files
    from elysia_dagster.sync.request import SyncRequest
    from elysia_dagster.sync.scan import default_roots

    request = SyncRequest(
        changeset=changeset,
        collection=collection or settings.collection,
        roots=tuple(root.expanduser().absolute() for root in roots) or default_roots(settings.root),
        repo=repo if repo is not None else settings.repo,
        store=store or settings.store,
        embedder=embedder or settings.embedder,
        batch_size=batch_size or settings.batch_size,
        max_retries=settings.max_retry_attempts if max_retries is None else max_retries,
        max_failures=settings.max_failures if max_failures is None else max_failures,
        null_separated=null,
        dry_run=dry_run,
        force=force,
        adopt=adopt,
    )
    source = "standard input" if from_stdin else str(changeset)
    with working_engine(settings, terminal) as (engine, signals):
        began = time.monotonic()
        # imports what they need before a signal may raise: an import may swallow what is raised in it
        with terminal.waiting("opening the store"):
            engine.store(request.store)
            engine.expect_embedder(request.embedder)
        terminal.detail(f"Reading {source}.")
        is_typed = from_stdin and sys.stdin.isatty()
        if is_typed:
            terminal.note("Reading a changeset from the terminal; Ctrl-D ends it.")
        with nullcontext() if is_typed else terminal.waiting(f"reading {printable(source)}"):
            signals.begin_reading()
            manifest = begin(engine, request, sys.stdin.buffer if from_stdin else None)
        signals.input_read()
        finished = finish(engine, manifest, terminal, began=began)
        report = json_report(finished)
        if not as_json and not terminal.quiet:
            terminal.result(as_text(finished))
        if holds_earlier_files(engine, manifest):
            terminal.note(
                f"{counted(manifest.settled_before, 'line')} of run {manifest.run_id} had been settled before this "
                "start, and files may have changed since: the changeset is applied once more."
            )
            finished = finish(engine, begin_again(engine, request, manifest), terminal, began=time.monotonic())
            report["applied_again"] = json_report(finished)
            if not as_json and not terminal.quiet:
                terminal.result(as_text(finished))
    if as_json:
        terminal.result_json(report)
    return finished.exit_code


@command("resume", quiet=True, json=True)
@run_id_option("The run; without it every unfinished run, oldest first.")
@max_failures_option
def resume(terminal: Terminal, run_id: str | None, max_failures: str | None, as_json: bool) -> int:
    """Go on with an interrupted run, without its input.

    Without --run-id, runs that another process works on or whose input is not here are left out.

    \b
    Example: elysiactl index resume
    """
    settings = Settings.from_environment()

    from elysia_dagster.checkpoint import queries
    from elysia_dagster.cli.work import finish_all, working_engine
    from elysia_dagster.sync.resume import resume_run, why_left_out

    with working_engine(settings, terminal) as (engine, signals):
        signals.input_read()
        names = [run_id] if run_id else [run.run_id for run in queries.unfinished_runs(engine.database)]
        if not names:
            terminal.note("There is no unfinished run.")

        def go_on(name: str) -> "ChangesetManifest | int":
            # asked when its turn comes: meanwhile another process may have taken it
            if run_id is None and (reason := why_left_out(engine, name)):
                terminal.note(reason)
                return 0
            return resume_run(engine, name, max_failures=max_failures)

        return finish_all(engine, [partial(go_on, name) for name in names], terminal, as_json=as_json)


@command("retry", quiet=True, json=True)
@run_id_option("The run; without it every run with failed lines, oldest first.")
@click.option(
    "--line", "lines", multiple=True, type=click.IntRange(min=1), metavar="N", help="Only this line of the run."
)
@click.option("--all", "every", is_flag=True, help="Also lines whose tries are used up.")
@click.option("--permanent", is_flag=True, help="Also lines that, as they stand, no second try can mend.")
@max_failures_option
def retry(
    terminal: Terminal,
    run_id: str | None,
    lines: tuple[int, ...],
    every: bool,
    permanent: bool,
    max_failures: str | None,
    as_json: bool,
) -> int:
    """Try failed lines again.

    Their content comes from what was read, or from the files as they are now.

    \b
    Example: elysiactl index retry --run-id sync-20260102-030405-0123abcd
    """
    settings = Settings.from_environment()

    from elysia_dagster.checkpoint import queries
    from elysia_dagster.checkpoint.lookup import load_run
    from elysia_dagster.cli.work import finish_all, working_engine
    from elysia_dagster.sync.retries import RetryRequest
    from elysia_dagster.sync.retry import none_eligible, retry_run

    RetryRequest(run_id=run_id, lines=lines, every=every, permanent=permanent).check()

    with working_engine(settings, terminal) as (engine, signals):
        signals.input_read()
        runs = [load_run(engine.database, run_id)] if run_id else queries.runs_with_failures(engine.database)
        names = [run.run_id for run in runs if run.error_count]
        if not names:
            terminal.note(f"Run {run_id} has no failed line." if run_id else "There is no failed line.")

        def ask(name: str) -> "ChangesetManifest | int":
            manifest = retry_run(engine, name, lines=lines, every=every, permanent=permanent, max_failures=max_failures)
            if manifest is None:
                terminal.note(none_eligible(name))
            return 1 if manifest is None else manifest

        return finish_all(engine, [partial(ask, name) for name in names], terminal, as_json=as_json)
