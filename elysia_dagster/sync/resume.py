"""Going on with an unfinished run: by its name, or because the same changeset was started again."""

import os
from dataclasses import replace
from pathlib import Path

from elysia_dagster.checkpoint import lookup, runs
from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import RepositoriesHeld, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.budget import FailureLimit
from elysia_dagster.sync.collection import open_collection
from elysia_dagster.sync.engine import Engine, expiry_told, lease_end
from elysia_dagster.sync.files import sync_folder
from elysia_dagster.sync.plans import PLAN_NAME
from elysia_dagster.sync.request import SPOOL_NAME, ChangesetManifest, SyncRequest, manifest_of
from elysia_dagster.sync.spool import Spooled


def resume_run(engine: Engine, run_id: str, *, max_failures: str | None = None) -> ChangesetManifest:
    """The unfinished run of that name, without its input: the spool has it.

    ``max_failures`` stands from now on for what the run began with; None leaves that as it is.

    Raises ``UsageError`` for a run that is finished, unknown, or whose spool is gone.
    """
    FailureLimit.parse(max_failures or "")
    run = lookup.load_run(engine.database, run_id)
    if run.status is not RunStatus.RUNNING:
        raise UsageError(
            f"Run {run_id} is {run.status.value}: there is nothing to resume.",
            next_step="Failed lines are tried again by: elysiactl index retry --run-id " + run_id,
        )
    if not _spool_is_here(engine, run_id):
        raise UsageError(
            f"The input of run {run_id} is no longer in {engine.run_folder(run_id)}.",
            next_step="Sync the same changeset again, which puts it back, or give the run up: "
            f"elysiactl index abandon --run-id {run_id}",
        )
    return go_on_with(engine, run, max_failures=max_failures)


def why_left_out(engine: Engine, run_id: str) -> str | None:
    """Why a resume of every unfinished run passes this one by, as a sentence; None where it can be gone on with."""
    run = lookup.load_run(engine.database, run_id)
    if run.status is not RunStatus.RUNNING:
        return f"Run {run_id} is {run.status.value} meanwhile."
    if holder := _holder(engine, run):
        return f"Left out: run {run_id} is being worked on by {holder} since {run.lease_since}."
    if run.options is not None and not _spool_is_here(engine, run_id):
        return (
            f"Left out: the input of run {run_id} is not in {engine.run_folder(run_id)}. Sync its changeset again, or "
            f"give it up: elysiactl index abandon --run-id {run_id}"
        )
    return None


def _spool_is_here(engine: Engine, run_id: str) -> bool:
    return (engine.run_folder(run_id) / SPOOL_NAME).exists()


def _holder(engine: Engine, run: RunRecord) -> str | None:
    holder = live_holder(run, engine.host, taker=Owner.this_process(engine.host))
    return None if run.lease_parked else holder


def go_on_with(
    engine: Engine,
    run: RunRecord,
    request: SyncRequest | None = None,
    spooled: Spooled | None = None,
    incoming: Path | None = None,
    max_failures: str | None = None,
) -> ChangesetManifest:
    """``spooled`` below ``incoming`` is the run's input, given again: it stands in for a spool that is gone or torn."""
    if holder := _holder(engine, run):
        raise RepositoriesHeld(
            f"Run {run.run_id} of this changeset is held by {holder} since {run.lease_since}. "
            f"{lease_end(engine, run)}".rstrip(),
            next_step=f"Wait for it; see: elysiactl index status --run-id {run.run_id}",
            run_id=run.run_id,
        )
    if request is not None:
        run = _with_options_of(engine, run, request)
    run = with_max_failures(engine, run, max_failures)
    if spooled is not None and incoming is not None:
        _put_back(engine.run_folder(run.run_id), spooled, incoming)
    open_run_collection(engine, run, adopt=request is not None and request.adopt)
    return replace(
        manifest_of(run, resumed=True),
        planned_before=(engine.run_folder(run.run_id) / PLAN_NAME).exists(),
        settled_before=run.processed_lines,
    )


def open_run_collection(engine: Engine, run: RunRecord, *, adopt: bool) -> None:
    with expiry_told(engine):
        open_collection(engine, run, adopt=adopt)


def _put_back(folder: Path, spooled: Spooled, incoming: Path) -> None:
    """Gives a run the spool that was just made of the same bytes, where its own is not there whole."""
    place = folder / SPOOL_NAME
    if place.exists() and place.stat().st_size == spooled.size_bytes:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.replace(incoming / SPOOL_NAME, place)
    sync_folder(folder)
    sync_folder(folder.parent)


def _with_options_of(engine: Engine, run: RunRecord, request: SyncRequest) -> RunRecord:
    """What this start asks for, as far as the run can still take it.

    The embedder while nothing is settled, the size of batches while nothing is planned, the numbers of tries and
    failures always; ``force`` for what is not settled yet. Raises ``UsageError`` where the embedders differ otherwise.
    """
    old = run.options
    if old is None:
        return run
    asked = request.embedder or engine.settings.embedder
    if old.embedder != asked and run.processed_lines:
        raise UsageError(
            f"Run {run.run_id} of this changeset began with the embedder {old.embedder}, not {asked}.",
            next_step=f"Finish it (elysiactl index resume --run-id {run.run_id}) or give it up "
            f"(elysiactl index abandon --run-id {run.run_id}) first.",
        )
    folder = engine.run_folder(run.run_id)
    batch_size = request.batch_size
    if batch_size != old.batch_size and (folder / PLAN_NAME).exists():
        engine.say(f"Run {run.run_id} is planned already: it keeps its batch size of {old.batch_size}.")
        batch_size = old.batch_size
    new = replace(
        old,
        embedder=asked,
        batch_size=batch_size,
        max_retries=request.max_retries,
        max_failures=request.max_failures,
        force=old.force or request.force,
    )
    if new == old:
        return run
    run = runs.replace_options(engine.database, run, new)
    if new.force and not old.force:
        for path in folder.glob("batch-*.arrow"):  # they may call documents unchanged that are now to be written
            path.unlink(missing_ok=True)
    return run


def with_max_failures(engine: Engine, run: RunRecord, max_failures: str | None) -> RunRecord:
    """An unfinished run with another limit of failures, if one is given. Raises ``UsageError``."""
    if max_failures is None or run.options is None or run.options.max_failures == max_failures:
        return run
    return runs.replace_options(engine.database, run, replace(run.options, max_failures=max_failures))
