"""Which changesets a collection takes that is being rebuilt, or that another one has taken the place of."""

import shlex

from elysia_dagster.checkpoint import collections
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.queries import is_rebuild, is_repair
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.errors import CollectionMismatch, RepositoriesHeld


def check_takes(database: Database, known: CollectionRecord, run: RunRecord) -> None:
    """Raises ``CollectionMismatch`` for a run that may not write the collection, ``RepositoriesHeld`` during a switch.

    Asked when the run is in the database: whoever closes a collection sees the run, or the run sees that it is closed.
    A repair writes nothing that the ledger does not say, and may go on.
    """
    if is_repair(run):
        return
    if is_rebuild(run):
        if known.rebuilt_from is None:
            raise CollectionMismatch(
                f"Collection {known.name} is no longer being rebuilt: run {run.run_id} would bring back what is older.",
                next_step=f"Give it up: elysiactl index abandon --run-id {run.run_id}",
            )
    elif known.rebuilt_from is not None:
        source = collections.load_collection(database, known.rebuilt_from)
        raise CollectionMismatch(
            f"Collection {known.name} is being rebuilt from {source.name}, and takes no changeset before the switch.",
            next_step=f"Sync {source.name}, or go on with: {rebuild_command(source, known, switch=True)}",
        )
    elif known.replaced_by is not None:
        heir = collections.load_collection(database, known.replaced_by)
        if heir.rebuilt_from == known.collection_id:
            raise RepositoriesHeld(  # it may be opened again: the run is kept for that
                f"Collection {known.name} is being switched over to {heir.name} at the moment.",
                next_step=f"Then: elysiactl index resume --run-id {run.run_id} . If no process is at it any more: "
                f"{rebuild_command(known, heir, switch=True)}",
                run_id=run.run_id,
            )
        raise CollectionMismatch(
            f"Collection {known.name} was rebuilt as {heir.name}, which has taken its place.",
            next_step=f"Sync that one: --collection {heir.name} --store {shlex.quote(heir.store)}",
        )


def rebuild_command(source: CollectionRecord, target: CollectionRecord, *, switch: bool = False) -> str:
    """What to type to go on with a rebuild; the embedder is told by the runs that it has had."""
    stores = ["--from-store", source.store, "--store", target.store]
    last = ["--switch"] if switch else []
    return shlex.join(
        ["elysiactl", "index", "rebuild", "--collection", source.name, "--into", target.name, *stores, *last]
    )
