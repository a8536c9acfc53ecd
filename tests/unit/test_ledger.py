"""Intend and settle: what the ledger believes of a document at every step, and whom it lets write."""

from typing import Any

import pytest
from checkpoint_world import REPOSITORY, Checkpoint, completed, failed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elysia_dagster.checkpoint import claims, ledger, suspects
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.records import Intent, Settlement
from elysia_dagster.errors import TransientError
from elysia_dagster.models import DocumentState, Outcome


def settlement(path: str = "a.py", line: int = 1, **fields: Any) -> Settlement:
    values: dict[str, Any] = {
        "repository": REPOSITORY,
        "path": path,
        "line": line,
        "state": DocumentState.PRESENT,
        "outcome": Outcome.INDEXED,
        "is_written": True,
        "content_hash": "h",
        "write_hash": "w",
        "chunker": "c",
        "chunks": 1,
        "max_chunks": 1,
    }
    return Settlement(**{**values, **fields})


def write(checkpoint: Checkpoint, lease: Lease, path: str = "a.py", line: int = 1, chunks: int = 1) -> None:
    """A document that is indexed, whole."""
    checkpoint.intend(lease, path, line, chunks=chunks)
    ledger.settle_batch(
        checkpoint.database, lease, settlements=[settlement(path, line, chunks=chunks, max_chunks=chunks)]
    )


def unchanged(path: str = "a.py", line: int = 1) -> Settlement:
    return settlement(path, line, outcome=Outcome.UNCHANGED, is_written=False)


def test_intended_is_writing_with_the_most_chunks_that_may_exist(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    assert checkpoint.intend(lease, "a.py", 1, chunks=4) == 4
    row = checkpoint.document("a.py")
    assert (row.state, row.version) == (DocumentState.WRITING, (lease.sequence, 1))
    assert (row.chunks, row.max_chunks, row.content_hash, row.write_hash) == (4, 4, "h", None)
    assert checkpoint.intend(lease, "a.py", 1, chunks=2) == 4, "killed and prepared anew: what was sent may be there"
    assert checkpoint.document("a.py").max_chunks == 4


def test_settled_is_present_with_just_its_chunks(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    write(checkpoint, lease, chunks=10)
    assert checkpoint.intend(lease, "a.py", 2, chunks=2) == 10, "ten may exist until the leftover is removed"
    assert checkpoint.document("a.py").write_hash is None
    ledger.settle_batch(checkpoint.database, lease, settlements=[settlement(line=2, chunks=2, max_chunks=2)])
    row = checkpoint.document("a.py")
    assert (row.state, row.chunks, row.max_chunks, row.outcome) == (DocumentState.PRESENT, 2, 2, "indexed")
    assert (row.write_hash, row.chunker, row.version) == ("w", "c", (lease.sequence, 2))
    assert ledger.count_chunks(checkpoint.database, checkpoint.collection, REPOSITORY) == 2


def test_a_removed_document_keeps_its_row_as_absent(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    write(checkpoint, lease, chunks=3)
    assert checkpoint.intend(lease, "a.py", 2, chunks=0, content_hash="") == 3
    gone = settlement(line=2, state=DocumentState.ABSENT, outcome=Outcome.DELETED, chunks=0, max_chunks=0)
    ledger.settle_batch(checkpoint.database, lease, settlements=[gone])
    row = checkpoint.document("a.py")
    assert (row.state, row.chunks, row.max_chunks) == (DocumentState.ABSENT, 0, 0)
    assert row.version == (lease.sequence, 2)


def test_an_older_run_is_superseded_and_moves_nothing(checkpoint: Checkpoint) -> None:
    older, newer = checkpoint.held(), checkpoint.held()
    write(checkpoint, newer)
    before = checkpoint.document("a.py")
    assert checkpoint.intend(older, "a.py", 3, chunks=9) is None
    assert checkpoint.document("a.py") == before


def test_an_older_line_of_the_same_run_is_superseded(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    write(checkpoint, lease, line=2)
    assert checkpoint.intend(lease, "a.py", 1) is None
    assert checkpoint.intend(lease, "a.py", 2) == 1


def test_a_newer_run_that_has_only_intended_already_fences(checkpoint: Checkpoint) -> None:
    older, newer = checkpoint.held(), checkpoint.held()
    checkpoint.intend(newer, "a.py", 1)
    assert checkpoint.intend(older, "a.py", 1) is None


def test_a_settle_whose_document_is_another_runs_by_now_is_refused_whole(checkpoint: Checkpoint) -> None:
    older, newer = checkpoint.held(), checkpoint.held()
    checkpoint.intend(older, "a.py", 1)
    checkpoint.intend(newer, "a.py", 1)
    before = checkpoint.dump()
    with pytest.raises(TransientError, match=r"has sent late .* elysiactl index resume"):
        ledger.settle_batch(
            checkpoint.database, older, settlements=[settlement()], completed=[completed(1)], failed=[failed(2)]
        )
    assert checkpoint.dump() == before


def test_unchanged_moves_the_version_and_nothing_else(checkpoint: Checkpoint) -> None:
    write(checkpoint, checkpoint.held())
    before = checkpoint.document("a.py")
    later = checkpoint.held()
    ledger.settle_batch(checkpoint.database, later, settlements=[unchanged(line=3)], completed=[completed(3)])
    assert checkpoint.document("a.py") == before._replace(version=(later.sequence, 3), outcome="unchanged")


def test_replayed_in_its_own_run_a_document_still_says_that_it_was_indexed(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    write(checkpoint, lease)
    ledger.settle_batch(checkpoint.database, lease, settlements=[unchanged()])
    assert checkpoint.document("a.py").outcome == "indexed"


@pytest.mark.parametrize("meanwhile", ["writing", "suspect", "absent", "other content", "newer version"])
def test_unchanged_is_stale_where_the_document_is_no_longer_what_it_was(meanwhile: str, checkpoint: Checkpoint) -> None:
    write(checkpoint, checkpoint.held())
    lease = checkpoint.held()
    if meanwhile == "other content":
        checkpoint.execute("UPDATE documents SET content_hash = 'other'")
    elif meanwhile == "newer version":
        checkpoint.execute("UPDATE documents SET version_sequence = 1000")
    else:
        checkpoint.execute("UPDATE documents SET state = :state", state=meanwhile)
    before = checkpoint.dump()
    with pytest.raises(ledger.StaleBatch):
        ledger.settle_batch(checkpoint.database, lease, settlements=[unchanged()], completed=[completed(1)])
    assert checkpoint.dump() == before, "its line is not completed either"


def test_a_rejected_object_leaves_a_suspect(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    checkpoint.intend(lease, "a.py", 1, chunks=3)
    ledger.settle_batch(checkpoint.database, lease, suspects=[(REPOSITORY, "a.py")], failed=[failed(1)])
    row = checkpoint.document("a.py")
    assert (row.state, row.max_chunks) == (DocumentState.SUSPECT, 3)
    assert suspects.count_unsettled(checkpoint.database, checkpoint.collection, REPOSITORY) == 1
    assert ledger.count_chunks(checkpoint.database, checkpoint.collection, REPOSITORY) == 0
    assert suspects.unsettled_documents(checkpoint.database, checkpoint.collection) == [row]


def test_an_overtaken_process_marks_its_documents_suspect_without_the_token(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    old = checkpoint.take(run)
    write(checkpoint, old, "a.py", chunks=2)
    write(checkpoint, old, "b.py", chunks=9)
    claims.release_lease(checkpoint.database, old)
    checkpoint.take(run)
    most = {(REPOSITORY, "a.py"): 5, (REPOSITORY, "b.py"): 5, (REPOSITORY, "never.py"): 5}
    suspects.mark_documents_suspect(checkpoint.database, old, most)
    first, second = checkpoint.document("a.py"), checkpoint.document("b.py")
    assert (first.state, first.chunks, first.max_chunks) == (DocumentState.SUSPECT, 2, 5)
    assert (second.state, second.max_chunks) == (DocumentState.SUSPECT, 9)


def test_suspicion_is_cleared_only_of_the_version_that_was_compared(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    for path in ("a.py", "b.py"):
        write(checkpoint, lease, path)
    checkpoint.execute("UPDATE documents SET state = 'suspect', max_chunks = 7")
    rows = suspects.unsettled_documents(checkpoint.database, checkpoint.collection)
    checkpoint.execute("UPDATE documents SET version_line = 2 WHERE path = 'b.py'")
    suspects.clear_suspicion(checkpoint.database, lease, rows)
    assert checkpoint.document("a.py").state is DocumentState.PRESENT
    assert checkpoint.document("a.py").max_chunks == 1
    assert checkpoint.document("b.py").state is DocumentState.SUSPECT


def test_documents_below_a_folder_are_just_those(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held()
    for path in ("a/b.py", "a/c/d.py", "a.py", "a-b.py", "a0.py", "ab/x.py", "A/b.py", "a/ü%_.py"):
        write(checkpoint, lease, path)
    checkpoint.intend(lease, "a/writing.py", 2)
    write(checkpoint, lease, "a/gone.py")
    checkpoint.execute("UPDATE documents SET state = 'absent' WHERE path = 'a/gone.py'")
    found = ledger.documents_below(checkpoint.database, checkpoint.collection, REPOSITORY, "a")
    assert sorted(found) == ["a/b.py", "a/c/d.py", "a/writing.py", "a/ü%_.py"]
    assert len(ledger.documents_below(checkpoint.database, checkpoint.collection, REPOSITORY, "")) == 9
    assert ledger.documents_below(checkpoint.database, checkpoint.collection, "other", "a") == []


def test_rows_of_other_repositories_and_collections_are_others(checkpoint: Checkpoint) -> None:
    write(checkpoint, checkpoint.held())
    other = checkpoint.register("Other")
    assert ledger.fetch_documents(checkpoint.database, other, [(REPOSITORY, "a.py")]) == {}
    assert ledger.fetch_documents(checkpoint.database, checkpoint.collection, [("other", "a.py")]) == {}
    assert ledger.count_chunks(checkpoint.database, other, REPOSITORY) == 0


def test_a_batch_of_many_documents_of_many_repositories(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(5000)
    keys = [(f"r{number % 7}", f"dir/{number}.py") for number in range(2000)]
    intents = [
        Intent(repository=repository, path=path, line=line, content_hash=None, chunks=line % 5)
        for line, (repository, path) in enumerate(keys, start=1)
    ]
    verdicts = ledger.intend_batch(checkpoint.database, lease, intents)
    assert verdicts == {key: (line % 5, None) for line, key in enumerate(keys, start=1)}
    found = ledger.fetch_documents(checkpoint.database, checkpoint.collection, keys)
    assert found.keys() == set(keys)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["older", "newer"]),
            st.integers(1, 3),
            st.integers(0, 6),
            st.sampled_from(["intend", "settle", "remove"]),
        ),
        max_size=12,
    )
)
def test_the_version_never_goes_back_and_the_store_never_holds_more_than_said(
    checkpoint: Checkpoint, steps: list[tuple[str, int, int, str]]
) -> None:
    """A model of the store: a document's highest chunk. Whatever two runs do, it stays below ``max_chunks``."""
    checkpoint.execute("DELETE FROM documents")
    leases = {"older": checkpoint.held(), "newer": checkpoint.held()}
    in_store, version = 0, (0, 0)
    for who, line, chunks, how in steps:
        lease = leases[who]
        most = checkpoint.intend(lease, "a.py", line, chunks=chunks)
        if (lease.sequence, line) < version:
            assert most is None
            continue
        version = (lease.sequence, line)
        assert most is not None
        in_store = max(in_store, chunks)
        assert in_store <= most == checkpoint.document("a.py").max_chunks
        if how == "intend":
            continue  # killed before the leftover was removed
        in_store = 0 if how == "remove" else chunks
        state = DocumentState.ABSENT if how == "remove" else DocumentState.PRESENT
        ledger.settle_batch(
            checkpoint.database,
            lease,
            settlements=[settlement(line=line, state=state, chunks=in_store, max_chunks=in_store)],
        )
        assert checkpoint.document("a.py").version == version
        assert checkpoint.document("a.py").max_chunks == in_store
