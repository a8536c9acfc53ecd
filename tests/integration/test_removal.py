"""How documents go from the store: by the ids that the ledger is sure of, whole where it is not."""

from typing import Any

import pytest
from crash.scenario import text_of
from crash.within import Stopped, go_on, run_ids, stop_at
from sync_world import COLLECTION, RecordingStore, World

from elysia_dagster.models import document_id, object_id


def line(path: str, chunks: int = 1, op: str = "modify") -> dict[str, Any]:
    return {"repo": "repo", "op": op, "path": path, "content": text_of(path.partition(".")[0], chunks)}


def delete(path: str) -> dict[str, Any]:
    return {"repo": "repo", "op": "delete", "path": path}


def ids(path: str, *chunks: int) -> list[str]:
    return [object_id(COLLECTION, "repo", path, chunk) for chunk in chunks]


@pytest.fixture
def store(light_world: World) -> RecordingStore:
    """The light world's store, which holds three documents."""
    assert light_world.recording is not None
    light_world.sync(line("a.py", 3), line("b.py", 2), line("c.py", 2))
    light_world.recording.deleted.clear()
    return light_world.recording


def test_what_is_sure_goes_by_id(light_world: World, store: RecordingStore) -> None:
    skipped = {"repo": "repo", "op": "modify", "path": "c.py", "content": "", "skip_index": True}
    light_world.sync(line("a.py", 1), delete("b.py"), skipped, delete("never.py"))
    assert sorted(store.deleted) == sorted(ids("a.py", 1, 2) + ids("b.py", 0, 1) + ids("c.py", 0, 1))
    assert store.deleted_documents == []
    assert [each.relative_path for each in store.objects.values()] == ["a.py"]


def test_what_is_suspect_goes_whole_and_shrinks_by_id(light_world: World, store: RecordingStore) -> None:
    """What goes whole goes by id too, as far as ids are known: a server's indexes may lack what it holds."""
    light_world.query("UPDATE documents SET state = 'suspect'")
    light_world.sync(line("a.py", 1), delete("b.py"))
    assert sorted(store.deleted) == sorted(ids("a.py", 1, 2) + ids("b.py", 0, 1))
    assert store.deleted_documents == [document_id(COLLECTION, "repo", "b.py")]
    assert {each.relative_path for each in store.objects.values()} == {"a.py", "c.py"}


@pytest.mark.parametrize("point", ["intended", "documents-removed", "removed"])
def test_what_was_being_removed_when_a_process_died_goes_whole(
    light_world: World, store: RecordingStore, point: str
) -> None:
    """The row says no more that it was suspect."""
    light_world.query("UPDATE documents SET state = 'suspect'")
    stop_at(light_world, point)
    with pytest.raises(Stopped):
        light_world.sync(delete("b.py"))
    go_on(light_world)
    store.deleted_documents.clear()
    store.deleted.clear()
    light_world.resume(run_ids(light_world)[-1])
    assert store.deleted_documents == [document_id(COLLECTION, "repo", "b.py")]
    assert sorted(store.deleted) == sorted(ids("b.py", 0, 1))
    light_world.sync(delete("b.py"))
    assert store.deleted_documents == [document_id(COLLECTION, "repo", "b.py")], "sure now"
    assert sorted(store.deleted) == sorted(ids("b.py", 0, 1))
