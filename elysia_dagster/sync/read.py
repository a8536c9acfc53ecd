"""The first stage: spools the changeset, finds its run or opens one, and sees that it can be worked on."""

import hashlib
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from elysia_dagster.checkpoint import collections, lookup, queries, runs
from elysia_dagster.checkpoint.records import RunOptions, RunRecord
from elysia_dagster.errors import ChangesetReplaced, InputError, PermanentError, UsageError
from elysia_dagster.sync.budget import FailureLimit
from elysia_dagster.sync.collection import nothing_to_adopt
from elysia_dagster.sync.engine import Engine, remove_run_folder
from elysia_dagster.sync.files import sync_folder
from elysia_dagster.sync.locate import is_outside, named_path
from elysia_dagster.sync.request import SPOOL_NAME, ChangesetManifest, SyncRequest, check_collection_name, manifest_of
from elysia_dagster.sync.resume import go_on_with, open_run_collection
from elysia_dagster.sync.spool import OversizedLine, Spooled, iterate_lines, open_changeset, spool

_SHOWN_CHARACTERS = 500


def read_changeset(engine: Engine, request: SyncRequest, stream: BinaryIO | None = None) -> ChangesetManifest:
    """Spools the input and opens or finds its run.

    Raises ``InputError`` or ``ChangesetReplaced`` (no run is opened), ``UsageError``, ``RepositoriesHeld`` where
    another process works on the same run, ``CollectionMismatch``, ``StoreUnavailable``, ``EmbedderUnavailable``,
    ``ResourceExhausted``.
    """
    check_collection_name(request.collection)
    for root in request.roots:
        if not root.is_dir():
            raise UsageError(f"The root {root} is not a folder.", next_step="Name a folder with --root.")
    if request.adopt and request.dry_run:
        raise UsageError("A dry run takes no collection over.", next_step="Leave out --dry-run, or --adopt.")
    FailureLimit.parse(request.max_failures)
    engine.store_url(request.store)
    engine.expect_embedder(request.embedder)  # a spec that names nothing is said before anything is read
    source = _as_text(request.changeset) if request.changeset else request.source
    run_id = runs.new_run_id()
    with _incoming(engine, run_id) as incoming:
        engine.faults("spool-begun")
        opened = open_changeset(request.changeset) if request.changeset else stream
        assert opened is not None
        with opened:
            spooled = spool(
                opened,
                incoming / SPOOL_NAME,
                source=source,
                null_separated=request.null_separated,
                max_expansion=engine.settings.max_expansion,
            )
        if request.digest and spooled.digest != request.digest:
            raise ChangesetReplaced(
                f"{source} is another file than the one that was asked for: its SHA-256 is {spooled.digest}, not "
                f"{request.digest}.",
                next_step=f"To apply this one: elysiactl index sync {shlex.quote(source)}; the inbox asks "
                "again by itself.",
            )
        if spooled.null_separated and not request.null_separated:
            engine.say("The input is separated by NUL (as git ls-files -z writes it): read as paths.")
        _refuse_all_outside(incoming / SPOOL_NAME, spooled, request.roots, engine.settings.max_line_bytes)
        engine.input_read()
        engine.faults("spooled")
        return _open_run(engine, request, source, spooled, incoming, run_id)


@contextmanager
def _incoming(engine: Engine, run_id: str) -> Iterator[Path]:
    """A folder for a spool that has no run yet; what is left in it goes."""
    folder = engine.run_folder(f".incoming-{run_id}-{secrets.token_hex(2)}")
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_text(path: Path) -> str:
    """A path for the database: a name that is no UTF-8 shows its bytes."""
    return str(path.absolute()).encode("utf-8", "backslashreplace").decode()


def _open_run(
    engine: Engine, request: SyncRequest, source: str, spooled: Spooled, incoming: Path, run_id: str
) -> ChangesetManifest:
    store_url = engine.store_url(request.store)
    identity = run_identity(request, store_url, spooled)
    if not request.force and not request.dry_run and (done := _already_done(engine, identity)):
        if request.adopt:
            engine.say(nothing_to_adopt(done, is_there=True))
        return manifest_of(done, resumed=False, finished=True)
    if unfinished := lookup.find_unfinished(engine.database, identity):
        return go_on_with(engine, unfinished, request, spooled, incoming)
    folder = engine.run_folder(run_id)
    os.rename(incoming, folder)
    sync_folder(folder.parent)
    engine.faults("spool-renamed")
    run, is_new = runs.start_run(
        engine.database,
        run_id=run_id,
        identity=identity,
        digest=spooled.digest,
        input_source=source,
        total_lines=spooled.lines,
        store=store_url,
        collection=request.collection,
        dry_run=request.dry_run,
        options=RunOptions(
            roots=tuple(str(root) for root in request.roots),
            repo=request.repo,
            null_separated=spooled.null_separated,
            embedder=request.embedder or engine.settings.embedder,
            batch_size=request.batch_size,
            force=request.force,
            max_retries=request.max_retries,
            max_failures=request.max_failures,
        ),
    )
    engine.faults("run-opened")
    if not is_new:
        try:
            return go_on_with(engine, run, request, spooled, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    try:
        open_run_collection(engine, run, adopt=request.adopt)
    except PermanentError:  # what was asked for cannot be: the same changeset, asked for rightly, is another run
        runs.abandon_run(engine.database, run.run_id, engine.host)
        remove_run_folder(engine, run.run_id)
        raise
    return manifest_of(run, resumed=False)


def holds_earlier_files(engine: Engine, manifest: ChangesetManifest) -> bool:
    """Whether a run that has ended may have applied files as they were before the start that ``manifest`` is of.

    What an earlier start had settled, embedded or listed of a folder is not looked at again when the run is resumed.
    """
    run = lookup.load_run(engine.database, manifest.run_id)
    return manifest.planned_before and not run.dry_run and not run.self_contained


def begin_again(engine: Engine, request: SyncRequest, manifest: ChangesetManifest) -> ChangesetManifest:
    """A new run of the input of one that has ended, from its spool. Raises what ``read_changeset`` raises."""
    ended = lookup.load_run(engine.database, manifest.run_id)
    run_id = runs.new_run_id()
    with _incoming(engine, run_id) as incoming, open_changeset(engine.run_folder(ended.run_id) / SPOOL_NAME) as file:
        null_separated = ended.options is not None and ended.options.null_separated
        spooled = spool(file, incoming / SPOOL_NAME, source=manifest.input_source, null_separated=null_separated)
        # what was to be forced has been: now only what differs is written
        again = replace(request, force=False, adopt=False)
        return _open_run(engine, again, manifest.input_source, spooled, incoming, run_id)


def _already_done(engine: Engine, identity: str) -> RunRecord | None:
    """The finished run of the same bytes, where they carry all content, nothing later touched their repositories, and
    the collection is still the one that they were applied to."""
    run = lookup.find_finished(engine.database, identity)
    if run is None or not run.self_contained or lookup.touched_since(engine.database, run):
        return None
    # a collection that was forgotten took the run's repositories along, also where another run has begun it anew
    if not queries.repositories_of(engine.database, run.run_id) or not _collection_is_as_it_was(engine, run):
        return None  # a new run: opening its collection says what is wrong, or creates it
    return run


def _collection_is_as_it_was(engine: Engine, run: RunRecord) -> bool:
    """Whether the collection is there, and was not taken over from somebody else since the run began."""
    assert run.store is not None
    known = collections.find_collection(engine.database, run.store, run.collection_name)
    there = engine.store(run.store).describe(run.collection_name)
    if known is None or there is None or there.incarnation != known.incarnation:
        return False
    return run.sequence is not None and run.sequence >= known.adopted_sequence


def run_identity(request: SyncRequest, store_url: str, spooled: Spooled) -> str:
    """What makes two starts the same run, as a SHA-256 in hex; of a rebuild what it makes stands before it.

    How lines are separated belongs to it, since the same bytes say something else under ``--null``.
    """
    parts = {
        "store": store_url,
        "collection": request.collection,
        "digest": spooled.digest,
        "roots": [str(root) for root in request.roots],
        "repo": request.repo,
        "null": spooled.null_separated,
        "dry_run": request.dry_run,
    }
    identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return identity if request.rebuilds is None else f"{queries.REBUILD_IDENTITY}{request.rebuilds}:{identity}"


def _refuse_all_outside(path: Path, spooled: Spooled, roots: Sequence[Path], max_line_bytes: int) -> None:
    """Where every line is an absolute path outside the roots, ``--root`` was forgotten: no run is worth opening."""
    separator = b"\0" if spooled.null_separated else b"\n"
    first = None
    for _, _, line in iterate_lines(path, separator=separator, max_line_bytes=max_line_bytes):
        if isinstance(line, OversizedLine) or not is_outside(line, roots):
            return
        first = first or line
    if first is not None:
        name = named_path(first).decode("utf-8", "replace")
        more = "…" if len(name) > _SHOWN_CHARACTERS else ""
        raise InputError(
            f"Every line lies outside the roots ({', '.join(map(str, roots))}), the first is "
            f"{name[:_SHOWN_CHARACTERS]}{more}.",
            next_step=f"Add --root {str(Path(name).parent)[:_SHOWN_CHARACTERS]}",
        )
