"""``index rebuild``: a collection anew, for another embedder, chunker or store, and the switch to it."""

import time
from typing import TYPE_CHECKING, Any

import click

from elysia_dagster.cli.options import batch_size_option, collection_option, command
from elysia_dagster.cli.terminal import Terminal, counted
from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    from elysia_dagster.sync.finalize import SyncReport
    from elysia_dagster.sync.rebuild import RebuildReport
    from elysia_dagster.sync.request import ChangesetManifest


@command("rebuild", quiet=True, json=True)
@collection_option
@click.option("--into", required=True, metavar="NEW", help="Name of the new collection.")
@click.option(
    "--embedder",
    metavar="SPEC",
    help="Embedder of the new collection.  [default: what its rebuild began with; setting: ELYSIACTL_EMBEDDER]",
)
@click.option("--store", metavar="URL", help="Store of the new collection.  [default: the store of the old one]")
@click.option(
    "--from-store",
    metavar="URL",
    help="Store of the old collection.  [setting: ELYSIACTL_STORE; default: the only one that has it]",
)
@batch_size_option
@click.option("--switch", is_flag=True, help="Then let the new collection take the old one's place.")
@click.option("--alias", metavar="NAME", help="With --switch, on Weaviate: an alias that is to mean the new one, too.")
@click.option("--drop-old", is_flag=True, help="After the switch: drop the old collection.")
def rebuild(
    terminal: Terminal,
    collection: str | None,
    into: str,
    embedder: str | None,
    store: str | None,
    from_store: str | None,
    batch_size: int | None,
    switch: bool,
    alias: str | None,
    drop_old: bool,
    as_json: bool,
) -> int:
    """Make a collection anew from another one.

    For another embedder, chunker or store. What the ledger says the old one holds is carried over; syncs of it may go
    on meanwhile, and are carried over by the next pass. The same command again goes on. Exit code 1: something could
    not be carried over, and nothing is switched.

    \b
    Example: elysiactl index rebuild --collection Demo --into Demo2 --embedder openai:text-embedding-3-small --switch
    """
    if alias and not (switch or drop_old):
        raise UsageError("--alias belongs to a switch.", next_step="Add --switch, or leave it out.")
    settings = Settings.from_environment()

    from elysia_dagster.cli.work import finish, working_engine
    from elysia_dagster.sync.finalize import SyncReport
    from elysia_dagster.sync.rebuild import RebuildRequest
    from elysia_dagster.sync.rebuild import rebuild as begin

    request = RebuildRequest(
        collection=collection or settings.collection,
        into=into,
        from_store=from_store or "",
        store=store or "",
        embedder=embedder or "",
        batch_size=batch_size or settings.batch_size,
        max_retries=settings.max_retry_attempts,
        switch=switch,
        alias=alias or "",
        drop_old=drop_old,
    )
    with working_engine(settings, terminal) as (engine, signals):
        signals.input_read()

        def carry_out(manifest: "ChangesetManifest") -> "SyncReport":
            done = finish(engine, manifest, terminal, began=time.monotonic()).report
            assert isinstance(done, SyncReport)
            return done

        done = begin(engine, request, carry_out)
    if as_json:
        terminal.result_json(_as_json(done))
    elif not terminal.quiet:
        _show(terminal, done)
    return 0 if done.switched or (done.standing.is_whole and not request.switch) else 1


def _show(terminal: Terminal, done: "RebuildReport") -> None:
    from elysia_dagster.sync.succession import rebuild_command

    old, new = done.source, done.target
    if done.runs:
        outcomes = ", ".join(f"{count:,} {name}" for name, count in sorted(done.outcomes.items()))
        terminal.result(f"Carried over in {counted(len(done.runs), 'run')}: {outcomes or 'nothing'}.")
    where = "" if new.store == old.store else f" ({new.store})"
    if done.switched:
        _show_switched(terminal, done)
        return
    standing = done.standing
    terminal.result(
        f"{new.name}{where} agrees with {old.name} in {counted(standing.agreeing, 'document')}; "
        f"{standing.behind + standing.unsure:,} differ."
    )
    for each in done.failures:
        terminal.note(each)
    if done.missing:
        terminal.result(
            f"Content not to be had, or changed since: {counted(done.missing, 'document')}, in {done.file}. "
            f"Sync {old.name} with it, then give the same command again: {done.command}"
        )
    if standing.unsure:
        for each in standing.first_unsure:
            terminal.note(f"In doubt: {each}")
        terminal.result(
            f"In doubt, or being written, in {old.name}: {counted(standing.unsure, 'document')}. When no sync is at "
            f"it: elysiactl index reconcile --collection {old.name} --store {old.store} --repair"
        )
    if standing.is_whole:
        terminal.result(f"Nothing is switched yet: {rebuild_command(old, new, switch=True)}")
    elif not done.missing and not standing.unsure:
        terminal.result(f"Go on: {rebuild_command(old, new)}")


def _show_switched(terminal: Terminal, done: "RebuildReport") -> None:
    old, new = done.source, done.target
    terminal.result(f"{new.name} has taken the place of {old.name}, which takes no changeset any more.")
    if done.without_commit:
        terminal.result(
            f"Without a commit, since none was recorded there, or lines had failed: {', '.join(done.without_commit)}."
        )
    if done.aliases:
        terminal.result(f"Aliases of {new.name}: {', '.join(done.aliases)}.")
    terminal.result(f"Sync and search it from now on: export ELYSIACTL_COLLECTION={new.name}")
    if new.store != old.store:
        terminal.result(f"It is in another store: export ELYSIACTL_STORE={new.store}")
    kept = "is dropped" if done.dropped else "is kept as it is"
    terminal.result(f"{old.name} {kept}.")


def _as_json(done: "RebuildReport") -> dict[str, Any]:
    return {
        "collection": done.source.name,
        "from_store": done.source.store,
        "into": done.target.name,
        "store": done.target.store,
        "model": done.target.model,
        "runs": done.runs,
        "outcomes": dict(done.outcomes),
        "agreeing": done.standing.agreeing,
        "behind": done.standing.behind,
        "unsure": done.standing.unsure,
        "failed": done.failed,
        "failures": done.failures,
        "missing": done.missing,
        "file": str(done.file) if done.file else None,
        "command": done.command,
        "switched": done.switched,
        "aliases": done.aliases,
        "dropped": done.dropped,
        "without_commit": done.without_commit,
    }
