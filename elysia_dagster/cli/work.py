"""Work on runs from the shell: an engine that heeds signals, and one run after the other brought to its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.cli import report
from elysia_dagster.cli.progress import RunProgress
from elysia_dagster.cli.report import Finished
from elysia_dagster.cli.signals import StopSignals
from elysia_dagster.cli.terminal import Terminal
from elysia_dagster.errors import ElysiaError, Interrupted
from elysia_dagster.settings import Settings
from elysia_dagster.sync.drive import carry_out
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.files import resources_named
from elysia_dagster.sync.request import ChangesetManifest
from elysia_dagster.sync.spool import incomplete_input

_ANNOUNCEMENT = "Stopping after the batch in hand; the same signal again stops at once."


@contextmanager
def working_engine(settings: Settings, terminal: Terminal) -> Iterator[tuple[Engine, StopSignals]]:
    """The engine of this command, closed at the end, and the signals that it heeds meanwhile."""
    announcement = "" if terminal.quiet else _ANNOUNCEMENT
    with (
        StopSignals(incomplete_input, announcement) as signals,
        opened_engine(settings, terminal, stop_requested=signals.requested, input_read=signals.input_read) as engine,
        resources_named("what this command keeps"),
    ):
        yield engine, signals


@contextmanager
def opened_engine(settings: Settings, terminal: Terminal, **parts: Callable[[], object]) -> Iterator[Engine]:
    """An engine that says its sentences on the terminal, closed at the end."""
    engine = Engine.open(settings, say=terminal.note, **parts)
    try:
        yield engine
    finally:
        engine.close()


def finish(engine: Engine, manifest: ChangesetManifest, terminal: Terminal, *, began: float) -> Finished:
    """Works on the run until it is closed; ``began`` is when the command did, by ``time.monotonic``.

    Raises what ``carry_out`` raises.
    """
    if manifest.resumed:
        terminal.detail(f"Going on with run {manifest.run_id}.")
    elif not manifest.finished:
        terminal.detail(f"Run {manifest.run_id}: {manifest.total_lines:,} lines from {manifest.input_source}.")
    if manifest.finished:
        found = carry_out(engine, manifest, lambda _work, _report: None)
        return Finished(manifest=manifest, report=found, seconds=time.monotonic() - began, lines_per_second=0.0)
    dry_run = load_run(engine.database, manifest.run_id).dry_run
    with RunProgress(terminal, engine.database, manifest.run_id, dry_run=dry_run) as progress:
        done = carry_out(engine, manifest, progress.batch_settled)
    return Finished(
        manifest=manifest,
        report=done,
        seconds=time.monotonic() - began,
        lines_per_second=progress.lines_per_second,
    )


def finish_all(
    engine: Engine, begin: Sequence[Callable[[], ChangesetManifest | int]], terminal: Terminal, *, as_json: bool
) -> int:
    """Works on one run after the other, and prints their reports; the exit code of them all.

    A run that cannot be worked on now does not keep the others from their turn: its error is said, and its exit code
    is the command's. One of ``begin`` that gives an exit code in place of a manifest has said why there is nothing to
    do. Raises ``Interrupted``.
    """
    codes: list[int] = []
    errors: list[int] = []
    printed = []
    for start in begin:
        began = time.monotonic()
        try:
            with terminal.waiting("opening the store"):
                manifest = start()
            if isinstance(manifest, int):
                codes.append(manifest)
                continue
            finished = finish(engine, manifest, terminal, began=began)
        except Interrupted:
            raise
        except ElysiaError as error:
            if len(begin) == 1:
                raise
            terminal.error(str(error))
            errors.append(error.exit_code)
            continue
        codes.append(finished.exit_code)
        if as_json:
            printed.append(report.as_json(finished))
        elif not terminal.quiet:
            terminal.result(report.as_text(finished))
    if as_json:
        terminal.result_json({"runs": printed})
    return errors[0] if errors else max(codes, default=0)
