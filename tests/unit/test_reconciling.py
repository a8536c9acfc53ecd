"""The ledger as a repair reads and moves it, on every database; and the temporary file of a comparison."""

import random
from pathlib import Path

import pytest
from checkpoint_world import ELSEWHERE, OPTIONS, REPOSITORY, STORE, Checkpoint

from elysia_dagster.checkpoint import ledger, queries, reconciling, runs
from elysia_dagster.checkpoint.collections import find_collection
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.checkpoint.records import CollectionRecord, Intent, Settlement
from elysia_dagster.checkpoint.spill import Spill
from elysia_dagster.errors import LeaseLost, ResourceExhausted
from elysia_dagster.models import DocumentState, Outcome


def known_of(checkpoint: Checkpoint) -> CollectionRecord:
    found = find_collection(checkpoint.database, STORE, "Demo")
    assert found is not None
    return found


def settlement(path: str, state: DocumentState = DocumentState.PRESENT, chunks: int = 2) -> Settlement:
    return Settlement(
        repository=REPOSITORY,
        path=path,
        line=1,
        state=state,
        outcome=Outcome.INDEXED,
        is_written=True,
        write_hash="new" if chunks else None,
        chunker="k" if chunks else None,
        chunks=chunks,
        max_chunks=chunks,
    )


def test_rows_come_in_the_order_of_their_bytes(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "ROWS_AT_ONCE", 3)
    names = ["a", "B", "a-b", "a_b", "é", "z", "Z", "a/b", "a.b", "ab"]
    lease = checkpoint.held()
    intents = [
        Intent(repository=repository, path=path, line=1, content_hash="h", chunks=1)
        for repository in names[:6]
        for path in names
    ]
    ledger.intend_batch(checkpoint.database, lease, intents)
    found = [
        (row.repository, row.path) for row in reconciling.all_documents(checkpoint.database, checkpoint.collection)
    ]
    assert found == sorted((repository, path) for repository in names[:6] for path in names)
    one = reconciling.all_documents(checkpoint.database, checkpoint.collection, "B")
    assert [row.path for row in one] == sorted(names)


def test_a_repair_moves_no_version(checkpoint: Checkpoint) -> None:
    older = checkpoint.held()
    checkpoint.claim(older, REPOSITORY)
    checkpoint.intend(older, "a.py", 2)
    before = checkpoint.document("a.py")
    run = reconciling.start_repair(checkpoint.database, known_of(checkpoint), source="s", options=OPTIONS)
    again = reconciling.start_repair(checkpoint.database, known_of(checkpoint), source="s", options=OPTIONS)
    assert run.run_id == again.run_id
    assert queries.is_repair(run)
    assert [each.run_id for each in queries.unfinished_runs(checkpoint.database)] == [older.run_id]
    lease = checkpoint.take(run)
    key = (REPOSITORY, "a.py")
    reconciling.intend_repairs(checkpoint.database, lease, {key: (before, 4)})
    row = checkpoint.document("a.py")
    assert (row.state, row.version, row.write_hash, row.max_chunks) == (DocumentState.SUSPECT, before.version, None, 4)
    with pytest.raises(LeaseLost):  # it is no longer as it was found
        reconciling.intend_repairs(checkpoint.database, lease, {key: (before, 4)})
    reconciling.settle_repairs(checkpoint.database, lease, [(before, settlement("a.py"))])
    row = checkpoint.document("a.py")
    assert (row.state, row.version, row.write_hash) == (DocumentState.PRESENT, before.version, "new")
    assert (row.chunks, row.max_chunks, row.content_hash, row.outcome) == (2, 2, "h", "indexed")
    with pytest.raises(LeaseLost):
        reconciling.settle_repairs(checkpoint.database, lease, [(before, settlement("a.py"))])
    assert runs.finish_run(checkpoint.database, lease).status.value == "completed"
    assert reconciling.unfinished_repair(checkpoint.database, known_of(checkpoint)) is None


def test_an_overtaken_repair_changes_nothing(checkpoint: Checkpoint) -> None:
    checkpoint.intend(checkpoint.held(), "a.py", 1)
    row = checkpoint.document("a.py")
    run = reconciling.start_repair(checkpoint.database, known_of(checkpoint), source="s", options=OPTIONS)
    lease = checkpoint.take(run)
    checkpoint.execute("UPDATE sync_runs SET lease_token = lease_token + 1")
    with pytest.raises(LeaseLost):
        reconciling.intend_repairs(checkpoint.database, lease, {(REPOSITORY, "a.py"): (row, 1)})
    with pytest.raises(LeaseLost):
        reconciling.settle_repairs(checkpoint.database, lease, [])
    assert checkpoint.document("a.py") == row


def test_who_may_have_written_since(checkpoint: Checkpoint) -> None:
    known, database, host = known_of(checkpoint), checkpoint.database, checkpoint.host
    idle = checkpoint.start()
    dry = checkpoint.start(dry_run=True)
    live = checkpoint.held()
    before = reconciling.look_at_writers(database, known, host)
    assert before.live == {live.sequence}
    assert reconciling.moved_since(database, known, before, host).sequences == {live.sequence}
    runs.finish_run(database, checkpoint.held(0))
    taken = checkpoint.take(idle)
    checkpoint.take(dry)
    meanwhile = reconciling.moved_since(database, known, before, host)
    ended = max(meanwhile.sequences)
    assert meanwhile.sequences == {live.sequence, taken.sequence, ended}
    assert not meanwhile.is_repaired
    checkpoint.intend(live, "a.py", 1)
    assert meanwhile.has_moved(checkpoint.document("a.py"))
    assert not meanwhile.has_moved(None)
    assert before.is_writing(checkpoint.document("a.py"))
    repair = reconciling.start_repair(database, known, source="s", options=OPTIONS)
    lease = checkpoint.take(repair, Owner(host=ELSEWHERE, pid=1, started=""))
    checkpoint.claim(lease, "other")
    now = reconciling.look_at_writers(database, known, host)
    assert now.repaired == {"other"}
    assert reconciling.moved_since(database, known, before, host).is_repaired
    assert not now.is_writing(None)


def test_the_spill_gives_back_what_it_was_given_sorted(tmp_path: Path) -> None:
    objects = [(f"r{at % 3}", f"p{at % 7}", at, f"w{at}", "c", True) for at in range(100)]
    shuffled = random.Random(1).sample(objects, len(objects))
    with Spill(tmp_path / "work" / "spill") as spill:
        assert list(spill.objects()) == []
        for first in range(0, 100, 9):
            spill.add_slice(shuffled[first : first + 9])
        assert [each[:3] for each in spill.objects()] == sorted(each[:3] for each in objects)
        spill.forget_objects()
        assert list(spill.objects()) == []
        spill.add_foreign([(f"id{at}", "r", "p") for at in range(5)])
        assert [len(some) for some in spill.foreign_ids(2)] == [2, 2, 1]
        spill.add_findings([(f"r{at % 2}", f"b{at}") for at in range(6)])
        assert spill.repositories() == ["r0", "r1"]
        assert list(spill.findings("r1", at_once=2)) == ["b1", "b3", "b5"]
        assert list(spill.findings()) == [f"b{at}" for at in range(6)]
    assert list((tmp_path / "work").iterdir()) == []


def test_where_the_spill_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceExhausted, match="cannot be written"), Spill(tmp_path / "file" / "spill"):
        pass
