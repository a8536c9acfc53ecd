"""A collection that is taken over, in the checkpoint: what the ledger believes of it afterwards."""

import pytest
from checkpoint_world import ELSEWHERE, REPOSITORY, STORE, Checkpoint, completed
from sqlalchemy import update

from elysia_dagster.checkpoint import adoption, claims, collections, ledger, lookup, suspects
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.checkpoint.records import CollectionRecord, Settlement
from elysia_dagster.checkpoint.schema import sync_runs
from elysia_dagster.errors import LeaseLost, RepositoriesHeld
from elysia_dagster.models import DocumentState, Outcome


def write(checkpoint: Checkpoint, path: str, chunks: int) -> Lease:
    """A document, settled by a run of its own."""
    lease = checkpoint.held(1)
    checkpoint.intend(lease, path, 1, chunks=chunks)
    settlement = Settlement(
        repository=REPOSITORY,
        path=path,
        line=1,
        state=DocumentState.PRESENT if chunks else DocumentState.ABSENT,
        outcome=Outcome.INDEXED,
        is_written=True,
        content_hash="h",
        write_hash="w",
        chunker="c",
        chunks=chunks,
        max_chunks=chunks,
    )
    ledger.settle_batch(checkpoint.database, lease, settlements=[settlement], completed=[completed(1)])
    claims.release_lease(checkpoint.database, lease)
    return lease


def register(checkpoint: Checkpoint, lease: Lease) -> CollectionRecord:
    run = lookup.load_run(checkpoint.database, lease.run_id)
    return adoption.register_adopted(
        checkpoint.database, lease, run, incarnation="new", model="other", dimensions=8, chunker="c2"
    )


def test_what_the_ledger_knew_is_believed_no_more(checkpoint: Checkpoint) -> None:
    written = write(checkpoint, "a.py", 3)
    write(checkpoint, "gone.py", 2)
    write(checkpoint, "removed.py", 0)
    other = checkpoint.register("Other")
    collections.move_commit(checkpoint.database, checkpoint.held(), REPOSITORY, {"commit": "c1"})
    checkpoint.execute("UPDATE sync_runs SET lease_owner = NULL")
    lease = checkpoint.held()
    known = register(checkpoint, lease)
    assert (known.incarnation, known.model, known.dimensions, known.chunker) == ("new", "other", 8, "c2")
    assert (known.collection_id, known.adopted_sequence) == (checkpoint.collection, lease.sequence)
    assert checkpoint.rows("SELECT * FROM repository_changesets") == []
    before = checkpoint.document("a.py")
    assert (before.state, before.chunks, before.max_chunks) == (DocumentState.SUSPECT, 0, 3)
    adoption.note_documents(
        checkpoint.database, lease, known.collection_id, {(REPOSITORY, "a.py"): 2, ("new", "b.py"): 1}
    )
    assert adoption.close_adoption(checkpoint.database, lease, known.collection_id) == 2
    row = checkpoint.document("a.py")
    assert (row.state, row.chunks, row.max_chunks, row.version) == (
        DocumentState.SUSPECT,
        2,
        3,
        (written.sequence, 1),
    )
    assert (row.content_hash, row.write_hash) == (None, None)
    gone = checkpoint.document("gone.py")
    assert (gone.state, gone.chunks, gone.max_chunks) == (DocumentState.ABSENT, 0, 2)
    assert checkpoint.document("removed.py").state is DocumentState.ABSENT
    new = ledger.fetch_documents(checkpoint.database, known.collection_id, [("new", "b.py")])["new", "b.py"]
    assert (new.state, new.chunks, new.version) == (DocumentState.SUSPECT, 1, (0, 0))
    untouched = collections.find_collection(checkpoint.database, STORE, "Other")
    assert untouched is not None
    assert (untouched.collection_id, untouched.incarnation, untouched.adopted_sequence) == (other, "Other", 0)


def test_a_collection_that_was_not_known_is_registered(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(collection="New")
    known = register(checkpoint, lease)
    assert (known.name, known.incarnation, known.adopted_sequence) == ("New", "new", lease.sequence)
    assert known.collection_id != checkpoint.collection


def test_chunks_are_noted_in_any_order_and_never_fewer(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    known = register(checkpoint, lease)
    for chunks in (2, 5, 1):
        adoption.note_documents(checkpoint.database, lease, known.collection_id, {(REPOSITORY, "a.py"): chunks})
    row = checkpoint.document("a.py")
    assert (row.state, row.chunks, row.max_chunks) == (DocumentState.SUSPECT, 5, 5)


def test_many_documents_are_noted_at_once(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    known = register(checkpoint, lease)
    found = {(f"r{number % 3}", f"{number}.py"): number % 7 + 1 for number in range(5000)}
    adoption.note_documents(checkpoint.database, lease, known.collection_id, found)
    assert adoption.close_adoption(checkpoint.database, lease, known.collection_id) == 5000
    assert {
        (repository, path): chunks
        for repository, path, chunks in checkpoint.rows("SELECT repository, path, chunks FROM documents")
    } == found
    checkpoint.claim(lease, "r0", "r1", "r2")
    assert suspects.comparable_suspects(checkpoint.database, known.collection_id, lease.run_id) == []


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_not_while_another_run_is_worked_on(checkpoint: Checkpoint, where: str) -> None:
    other = checkpoint.take(
        checkpoint.start(), checkpoint.me if where == "here" else Owner(host=ELSEWHERE, pid=1, started="1")
    )
    lease = checkpoint.held()
    run = lookup.load_run(checkpoint.database, lease.run_id)
    before = checkpoint.dump()
    for refused in (
        lambda: adoption.check_alone(checkpoint.database, lease, run),
        lambda: register(checkpoint, lease),
    ):
        with pytest.raises(RepositoriesHeld, match=other.run_id):
            refused()
    assert checkpoint.dump() == before
    claims.release_lease(checkpoint.database, other)
    adoption.check_alone(checkpoint.database, lease, run)


@pytest.mark.parametrize("change", [{"dry_run": True}, {"collection_name": "Other"}, {"store": "other:"}])
def test_a_run_that_writes_nothing_here_does_not_count(checkpoint: Checkpoint, change: dict[str, object]) -> None:
    other = checkpoint.held()
    with checkpoint.database.write() as connection:
        connection.execute(update(sync_runs).where(sync_runs.c.run_id == other.run_id).values(**change))
    assert register(checkpoint, checkpoint.held()).incarnation == "new"


def test_an_overtaken_process_is_refused_at_every_step(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    known = register(checkpoint, lease)
    checkpoint.execute("UPDATE sync_runs SET lease_token = lease_token + 1")
    before = checkpoint.dump()
    for step in (
        lambda: adoption.check_alone(checkpoint.database, lease, lookup.load_run(checkpoint.database, lease.run_id)),
        lambda: register(checkpoint, lease),
        lambda: adoption.note_documents(checkpoint.database, lease, known.collection_id, {("r", "p"): 1}),
        lambda: adoption.close_adoption(checkpoint.database, lease, known.collection_id),
    ):
        with pytest.raises(LeaseLost):
            step()
    assert checkpoint.dump() == before
