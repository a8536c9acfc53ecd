"""The transitions of a rebuild, on every database, and what it makes of two rows of the ledger."""

from typing import Any

import pytest
from checkpoint_world import STORE, Checkpoint

from elysia_dagster.checkpoint import claims, collections, rebuilding
from elysia_dagster.checkpoint.queries import REBUILD_IDENTITY, REPAIR_IDENTITY
from elysia_dagster.checkpoint.records import CollectionRecord, DocumentRow
from elysia_dagster.checkpoint.retention import forget_collection
from elysia_dagster.checkpoint.runs import abandon_run
from elysia_dagster.errors import CollectionMismatch, RepositoriesHeld, UsageError
from elysia_dagster.models import DocumentState
from elysia_dagster.sync.carry import Verdict, judge
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.succession import check_takes


def found(checkpoint: Checkpoint, name: str = "Demo") -> CollectionRecord:
    known = collections.find_collection(checkpoint.database, STORE, name)
    assert known is not None
    return known


def begin(checkpoint: Checkpoint, name: str = "Anew", source: str = "Demo") -> CollectionRecord:
    return rebuilding.begin_rebuild(
        checkpoint.database,
        found(checkpoint, source),
        store=STORE,
        name=name,
        model="other",
        dimensions=8,
        chunker="c",
    )


def switch(checkpoint: Checkpoint) -> tuple[CollectionRecord, CollectionRecord]:
    source, target = found(checkpoint), found(checkpoint, "Anew")
    source = rebuilding.begin_switch(checkpoint.database, source, target)
    compared = rebuilding.leases_taken(checkpoint.database, source, target)
    return rebuilding.finish_switch(checkpoint.database, source, target, compared=compared)


def test_it_begins_once_and_ends_with_the_switch(checkpoint: Checkpoint) -> None:
    target = begin(checkpoint)
    assert begin(checkpoint) == target
    assert (target.model, target.rebuilt_from) == ("other", found(checkpoint).collection_id)
    with pytest.raises(UsageError, match="itself being rebuilt"):
        begin(checkpoint, "Third", source="Anew")
    source, target = switch(checkpoint)
    assert (source.replaced_by, target.rebuilt_from) == (target.collection_id, None)
    assert rebuilding.take_back_switch(checkpoint.database, source, target) == source, "made is made"
    with pytest.raises(UsageError, match="which has taken its place"):
        begin(checkpoint, "Third")


def test_the_way_back_is_a_rebuild_too(checkpoint: Checkpoint) -> None:
    begin(checkpoint)
    switch(checkpoint)
    target = begin(checkpoint, "Demo", source="Anew")
    assert (target.rebuilt_from, target.replaced_by) == (found(checkpoint, "Anew").collection_id, None)


def test_a_collection_of_its_own_is_no_rebuild(checkpoint: Checkpoint) -> None:
    checkpoint.register("Own")
    with pytest.raises(UsageError, match="is no rebuild of Demo"):
        begin(checkpoint, "Own")


def test_the_switch_waits_for_every_run(checkpoint: Checkpoint) -> None:
    begin(checkpoint)
    run = checkpoint.start()
    with pytest.raises(RepositoriesHeld, match=f"Run {run.run_id} of collection Demo is not finished"):
        switch(checkpoint)
    assert found(checkpoint).replaced_by is None


@pytest.mark.parametrize("name", ["Demo", "Anew"])
def test_the_switch_is_not_made_past_a_run_since_the_comparison(checkpoint: Checkpoint, name: str) -> None:
    target = begin(checkpoint)
    source = rebuilding.begin_switch(checkpoint.database, found(checkpoint), target)
    compared = rebuilding.leases_taken(checkpoint.database, source, target)
    run = checkpoint.start(collection=name)
    claims.release_lease(checkpoint.database, checkpoint.take(run))
    with pytest.raises(RepositoriesHeld, match=f"of collection {name}|worked on collection {name}"):
        rebuilding.finish_switch(checkpoint.database, source, target, compared=compared)
    source = rebuilding.take_back_switch(checkpoint.database, source, target)
    assert source.replaced_by is None
    with pytest.raises(RepositoriesHeld):
        rebuilding.finish_switch(checkpoint.database, source, target, compared=compared)


def test_a_run_that_was_refused_or_a_dry_one_does_not_stand_in_the_way_of_the_switch(checkpoint: Checkpoint) -> None:
    """Whatever sends changesets to the old collection goes on trying."""
    target = begin(checkpoint)
    source = rebuilding.begin_switch(checkpoint.database, found(checkpoint), target)
    compared = rebuilding.leases_taken(checkpoint.database, source, target)
    for name in ("Demo", "Anew"):
        abandon_run(checkpoint.database, checkpoint.start(collection=name).run_id, checkpoint.host)
        checkpoint.take(checkpoint.start(collection=name, dry_run=True))
    _, target = rebuilding.finish_switch(checkpoint.database, source, target, compared=compared)
    assert target.rebuilt_from is None


def test_what_is_dropped_is_forgotten_but_for_its_name(checkpoint: Checkpoint) -> None:
    begin(checkpoint)
    with pytest.raises(RepositoriesHeld):
        rebuilding.retire(checkpoint.database, found(checkpoint))
    source, _ = switch(checkpoint)
    assert rebuilding.retire(checkpoint.database, source) == 0
    assert found(checkpoint) == source
    forget_collection(checkpoint.database, STORE, "Anew", checkpoint.host)
    assert found(checkpoint).replaced_by is None


def test_what_the_store_is_told_of_next_is_on_the_disk(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power failure could take the switch, when the old collection is dropped already."""
    write, told = checkpoint.database.write, []

    def noted(*, durable: bool = False) -> Any:
        told.append(durable)
        return write(durable=durable)

    monkeypatch.setattr(checkpoint.database, "write", noted)
    begin(checkpoint)
    source, _ = switch(checkpoint)
    rebuilding.retire(checkpoint.database, source)
    assert told == [True] * 4, "begun, switching, switched, retired"


def test_who_may_write(checkpoint: Checkpoint) -> None:
    """A repair always; a rebuild until the switch, a changeset after it, and of the old collection before it."""
    begin(checkpoint)
    identities = {"sync": "", "rebuild": f"{REBUILD_IDENTITY}1:x", "repair": f"{REPAIR_IDENTITY}1"}
    runs = {kind: checkpoint.start(identity=identity) for kind, identity in identities.items()}
    for run in runs.values():
        abandon_run(checkpoint.database, run.run_id, checkpoint.host)

    def takes(name: str) -> set[str]:
        taken = set()
        for kind, run in runs.items():
            try:
                check_takes(checkpoint.database, found(checkpoint, name), run)
            except (CollectionMismatch, RepositoriesHeld):
                continue
            taken.add(kind)
        return taken

    assert (takes("Demo"), takes("Anew")) == ({"sync", "repair"}, {"rebuild", "repair"})
    rebuilding.begin_switch(checkpoint.database, found(checkpoint), found(checkpoint, "Anew"))
    assert (takes("Demo"), takes("Anew")) == ({"repair"}, {"rebuild", "repair"})
    switch(checkpoint)
    assert (takes("Demo"), takes("Anew")) == ({"repair"}, {"sync", "repair"})


def row(state: str, **changes: Any) -> DocumentRow:
    values: dict[str, Any] = {
        "repository": "r",
        "path": "p",
        "state": DocumentState(state),
        "version": (1, 1),
        "content_hash": "h",
        "write_hash": "w",
        "chunker": CHUNKER_ID,
        "chunks": 2 if state == "present" else 0,
        "max_chunks": 2,
        "outcome": "indexed",
    }
    return DocumentRow(**{**values, **changes})


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (row("present"), row("present"), Verdict.AGREES),
        (row("present", chunker="older"), row("present"), Verdict.AGREES),
        (row("present"), row("present", chunker="older"), Verdict.WRITE),
        (row("present"), row("present", content_hash="other"), Verdict.WRITE),
        (row("present"), None, Verdict.WRITE),
        (row("present"), row("suspect"), Verdict.WRITE),
        (row("present"), row("writing"), Verdict.WRITE),
        (row("present"), row("absent", outcome="deleted"), Verdict.WRITE),
        (row("present"), row("absent", outcome="skipped"), Verdict.AGREES),
        (row("absent"), row("present"), Verdict.DELETE),
        (row("absent"), row("suspect"), Verdict.DELETE),
        (None, row("present"), Verdict.DELETE),
        (None, row("absent"), Verdict.AGREES),
        (row("absent"), None, Verdict.AGREES),
        (row("present", chunks=0), None, Verdict.AGREES),
        (row("writing"), row("present"), Verdict.UNSURE),
        (row("suspect"), None, Verdict.UNSURE),
    ],
)
def test_what_becomes_of_a_document(old: DocumentRow | None, new: DocumentRow | None, verdict: Verdict) -> None:
    assert judge(old, new) is verdict
