"""A store whose index stays as it is for a vector it has: what an interrupted write left is removed, then written."""

from collections.abc import Mapping, Sequence

import pytest
from crash.scenario import text_of
from crash.within import Stopped, go_on, run_ids, stop_at
from sync_world import RecordingStore, World

from elysia_dagster.models import RunStatus


def line(path: str, op: str = "modify") -> dict[str, object]:
    return {"repo": "repo", "op": op, "path": path, "content": text_of(path.partition(".")[0], 2)}


@pytest.fixture
def store(light_world: World) -> RecordingStore:
    """The light world's store, which leaves the index as it is for a vector that it has; it holds one document."""
    assert light_world.recording is not None
    light_world.recording.rewrites_identical = False
    light_world.sync(line("old.py"))
    light_world.recording.take_sent()
    assert light_world.recording.deleted == [], "nothing was interrupted"
    return light_world.recording


@pytest.mark.parametrize("point", ["inserted", "verified", "removed"])
def test_what_an_interrupted_run_had_sent_is_removed_and_sent_again(
    light_world: World, store: RecordingStore, point: str
) -> None:
    stop_at(light_world, point)
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"), line("b.py"))
    half_written = {each for each, item in store.objects.items() if item.relative_path != "old.py"}
    store.take_sent()
    go_on(light_world)
    assert light_world.resume(run_ids(light_world)[-1]).status is RunStatus.COMPLETED
    assert set(store.deleted) == half_written
    assert store.take_sent() == ["repo/a.py"] * 2 + ["repo/b.py"] * 2
    assert len(store.objects) == 6


def test_what_an_interrupted_run_had_sent_goes_before_a_newer_version(
    light_world: World, store: RecordingStore
) -> None:
    """Its chunks may have the same texts and vectors, but not the same write hash."""
    stop_at(light_world, "inserted")
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"))
    half_written = {each.id: each.content for each in store.objects.values() if each.relative_path == "a.py"}
    go_on(light_world)
    newer = {**line("a.py"), "content": text_of("a", 2) + "# one more line\n"}
    assert light_world.sync(newer).status is RunStatus.COMPLETED
    assert set(store.deleted) == set(half_written)
    kept = [each for each in half_written if store.objects[each].content == half_written[each]]
    assert kept, "the versions have no chunk in common"


def test_what_was_only_intended_is_not_removed(light_world: World, store: RecordingStore) -> None:
    stop_at(light_world, "intended")
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"))
    go_on(light_world)
    light_world.resume(run_ids(light_world)[-1])
    assert store.deleted == []


def test_stopped_between_removal_and_writing(light_world: World, store: RecordingStore) -> None:
    """The row says that it is being written: nobody takes the document for unchanged."""
    stop_at(light_world, "inserted")
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"))
    stop_at(light_world, "interrupted-cleared")
    with pytest.raises(Stopped):
        light_world.resume(run_ids(light_world)[-1])
    assert {item.relative_path for item in store.objects.values()} == {"old.py"}
    go_on(light_world)
    assert light_world.sync(line("a.py")).status is RunStatus.COMPLETED
    assert sorted(item.relative_path for item in store.objects.values()) == ["a.py"] * 2 + ["old.py"] * 2


def test_a_suspect_document_and_a_forced_one(light_world: World, store: RecordingStore) -> None:
    old = set(store.objects)
    light_world.query("UPDATE documents SET state = 'suspect'")
    light_world.sync(line("old.py"), line("b.py"))
    assert set(store.deleted) == old
    store.deleted.clear()
    light_world.sync(line("old.py"), force=True)
    assert set(store.deleted) == old
    store.deleted.clear()
    light_world.sync(line("old.py"), line("c.py"))
    assert store.deleted == []
    assert len(store.objects) == 6


def test_a_suspect_document_is_mended_whatever_its_hashes_say(light_world: World, store: RecordingStore) -> None:
    """A server that died while it took what was mended holds it just so, and its index may lack it."""
    old = set(store.objects)
    light_world.query("UPDATE documents SET state = 'suspect'")
    light_world.sync(line("b.py"))
    assert set(store.deleted) == old
    assert light_world.query("SELECT DISTINCT state FROM documents") == [("present",)]
    assert len(store.objects) == 4


def test_stopped_between_the_removal_of_what_is_gone_and_the_end_of_its_doubt(
    light_world: World, store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removed document was written once more by an overtaken process, into a store whose index of ids lacks it."""
    written = dict(store.objects)
    light_world.sync({"repo": "repo", "op": "delete", "path": "old.py"})
    assert store.objects == {}
    store.objects.update(written)
    light_world.query("UPDATE documents SET state = 'suspect', max_chunks = 2")
    found = store.fetch_hashes

    def lacking(collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None) -> dict[str, str]:
        return found(collection, [each for each in ids if each not in written], expected)

    monkeypatch.setattr(store, "fetch_hashes", lacking)
    store.deleted.clear()
    stop_at(light_world, "suspects-rest-removed")
    with pytest.raises(Stopped):
        light_world.sync(line("b.py"))
    assert set(store.deleted) == set(written)
    store.objects.update(written)  # that process is not dead yet
    go_on(light_world)
    assert light_world.resume(run_ids(light_world)[-1]).status is RunStatus.COMPLETED
    assert {item.relative_path for item in store.objects.values()} == {"b.py"}
    assert dict(light_world.query("SELECT path, state FROM documents")) == {"old.py": "absent", "b.py": "present"}


def test_a_store_that_rewrites_keeps_them(light_world: World, store: RecordingStore) -> None:
    store.rewrites_identical = True
    stop_at(light_world, "inserted")
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"))
    go_on(light_world)
    light_world.resume(run_ids(light_world)[-1])
    light_world.sync(line("a.py"), force=True)
    assert store.deleted == []
