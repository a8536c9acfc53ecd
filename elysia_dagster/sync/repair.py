"""Repairs what a comparison has found: a run of its own kind, that claims one repository after the other."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from elysia_dagster.checkpoint import claims, queries, reconciling, runs
from elysia_dagster.checkpoint.records import CollectionRecord, RunOptions
from elysia_dagster.embedders import STORE_EMBEDDER
from elysia_dagster.embedders.store import MODEL_PREFIX
from elysia_dagster.errors import Interrupted, RepositoriesHeld, UsageError
from elysia_dagster.sync.difference import Finding
from elysia_dagster.sync.engine import Engine, Work
from elysia_dagster.sync.files import write_aside
from elysia_dagster.sync.mend import MENDED_CHUNKS, Mended, Mender
from elysia_dagster.sync.origin import Origins
from elysia_dagster.sync.parse import make_line
from elysia_dagster.sync.reconcile import LOOKED_AT_ONCE, Comparison
from elysia_dagster.sync.sending import LEASE_MARGIN_S

FIRST_REASONS = 20
"""Documents whose rejection a report explains."""


@dataclass(kw_only=True)
class RepairReport:
    """What a repair did. ``rewritten`` and ``cleared`` count documents, ``removed``, ``holes`` and ``foreign`` objects.

    ``remaining`` documents still differ; ``sent_again`` of them are in ``file``, which ``command`` applies; of these
    ``holes`` objects were deleted that it would not have mended. ``held`` says by repository who holds it.
    """

    remaining: int = 0
    rewritten: int = 0
    cleared: int = 0
    removed: int = 0
    holes: int = 0
    foreign: int = 0
    sent_again: int = 0
    file: Path | None = None
    command: str = ""
    held: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def check_repair(*, is_repair: bool, foreign: bool, send_again: Path | None) -> None:
    """Raises ``UsageError`` for what makes no sense together, or a folder that is not there."""
    if (foreign or send_again) and not is_repair:
        raise UsageError("--foreign and --send-again belong to a repair.", next_step="Add --repair, or leave them out.")
    if send_again and not send_again.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {send_again.absolute().parent}.", next_step="Make it, or name another.")


def repair(comparison: Comparison, *, foreign: bool = False, send_again: Path | None = None) -> RepairReport:
    """Mends what can be mended, and writes the rest as a changeset to ``send_again``.

    A repository that a sync holds is left out, and told. Killed, it is taken over by the next one. Raises
    ``RepositoriesHeld`` while another repair of the collection runs, ``StoreUnavailable``, ``EmbedderUnavailable``,
    ``CollectionMismatch``, ``LeaseLost``, ``ResourceExhausted``, ``Interrupted``.
    """
    report = RepairReport(remaining=comparison.differing)
    engine, known = comparison.engine, comparison.known
    is_unfinished = reconciling.unfinished_repair(engine.database, known) is not None
    if not (comparison.differing or (foreign and comparison.foreign) or is_unfinished):
        return report
    options = options_for(engine, known)
    run = reconciling.start_repair(engine.database, known, source="index reconcile --repair", options=options)
    engine.faults("reconcile-opened")
    with _own_words(known), engine.work_on(run.run_id) as work:
        origins = Origins(engine, known)
        try:
            rest = comparison.spill.folder / "rest.jsonl"
            if foreign:  # first: one of them may lie under the id of an object that is mended
                _remove_foreign(work, comparison, report)
            with open(rest, "wb") as file:
                _mend_all(work, comparison, Mender(work, origins), report, file)
            if report.sent_again:
                report.file = send_again or engine.state_folder / f"send-again-{run.run_id}.jsonl"
                with write_aside(report.file) as target, open(rest, "rb") as file:
                    while block := file.read(1 << 20):
                        target.write(block)
                engine.faults("reconcile-listed")
                report.command = sync_command(known, options, list(origins.roots), report.file)
        finally:
            origins.close()
        runs.finish_run(engine.database, work.lease)
        engine.faults("reconcile-finished")
    return report


def options_for(engine: Engine, known: CollectionRecord) -> RunOptions:
    """The options of a repair: the embedder is the one that the collection began with, as its latest run named it."""
    latest = reconciling.latest_options(engine.database, known)
    embedder = STORE_EMBEDDER if known.model.startswith(MODEL_PREFIX) else engine.settings.embedder
    return RunOptions(
        roots=(),
        repo="",
        null_separated=False,
        embedder=latest.embedder if latest and latest.embedder else embedder,
        batch_size=engine.settings.batch_size,
        force=False,
        max_retries=0,
    )


def _mend_all(work: Work, comparison: Comparison, mender: Mender, report: RepairReport, rest: BinaryIO) -> None:
    database, spill = work.engine.database, comparison.spill
    for repository in spill.repositories():
        try:
            claims.claim_repositories(database, work.lease, frozenset([repository]))
        except RepositoriesHeld as error:
            report.held[repository] = error.message
            continue
        work.engine.faults("reconcile-claimed")
        findings = map(Finding.from_json, spill.findings(repository))
        while some := list(islice(findings, LOOKED_AT_ONCE)):
            _pause_point(work)
            _add(report, mender.mend(some), rest)


def _add(report: RepairReport, done: Mended, rest: BinaryIO) -> None:
    report.remaining -= done.right
    report.rewritten += done.rewritten
    report.cleared += done.cleared
    report.removed += done.removed
    report.holes += done.holes
    report.sent_again += len(done.rest)
    for (repository, path), is_gone in done.rest.items():
        rest.write(make_line(repository, path, is_gone=is_gone))
    for (repository, path), reason in done.reasons.items():
        if len(report.reasons) < FIRST_REASONS:
            report.reasons[f"{repository}/{path}"] = reason


def _remove_foreign(work: Work, comparison: Comparison, report: RepairReport) -> None:
    for ids in comparison.spill.foreign_ids(MENDED_CHUNKS):
        _pause_point(work)
        work.heartbeat.ensure(work.store.request_timeout_s + LEASE_MARGIN_S)
        work.store.delete_objects(comparison.known.name, ids)
        report.foreign += len(ids)
        work.engine.faults("reconcile-foreign-removed")


def _pause_point(work: Work) -> None:
    work.heartbeat.check()
    if work.engine.stop_requested():
        raise Interrupted(f"Repair {work.run.run_id} was interrupted; what is mended stays mended.", next_step="")


@contextmanager
def _own_words(known: CollectionRecord) -> Iterator[None]:
    """What to type next is the repair again, not the resume of a run."""
    try:
        yield
    except (RepositoriesHeld, Interrupted) as error:
        go_on = "Go on with" if isinstance(error, Interrupted) else "Wait for it, then"
        error.next_step = f"{go_on}: {queries.repair_command(known.name, known.store)}"
        raise


def sync_command(known: CollectionRecord, options: RunOptions, roots: list[str], file: Path) -> str:
    """What to type to sync a changeset into a collection; of ``roots`` those that are there."""
    named = [each for root in roots if Path(root).is_dir() for each in ("--root", root)]
    where = ["--collection", known.name, "--store", known.store, "--embedder", options.embedder]
    return shlex.join(["elysiactl", "index", "sync", *where, *named, str(file)])
