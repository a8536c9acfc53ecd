"""A store whose answer is no proof: what it has acknowledged is read back, hash by hash, before it is settled."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from crash.scenario import text_of
from crash.within import run_ids
from sync_world import COLLECTION, RecordingStore, World, sha256

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import RunStatus, StoreObject, object_id

LAST = object_id(COLLECTION, "repo", "b.py", 1)


def line(path: str, text: str) -> dict[str, str]:
    return {"repo": "repo", "op": "modify", "path": path, "content": text}


class ForgetfulStore(RecordingStore):
    """Acknowledges the last object of its next ``losses`` requests, and leaves what it had in its place."""

    losses = 0

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        last = objects[-1].id
        before = self.objects.get(last)
        reasons = super().upsert(collection, objects)
        if self.losses:
            self.losses -= 1
            self.objects.pop(last)
            if before is not None:
                self.objects[last] = before
        return reasons


@pytest.fixture
def store() -> ForgetfulStore:
    return ForgetfulStore()


@pytest.fixture
def forgetful_world(store: ForgetfulStore, tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, store=store) as world:
        yield world


def assert_whole(world: World, text: str) -> None:
    assert world.held() == {"repo/a.py": sha256(text_of("a")), "repo/b.py": sha256(text)}
    assert set(world.query("SELECT state FROM documents")) == {("present",)}


def test_what_was_acknowledged_and_not_kept_is_sent_again(forgetful_world: World, store: ForgetfulStore) -> None:
    store.losses = 1
    run = forgetful_world.sync(line("a.py", text_of("a")), line("b.py", text_of("b", 2)))
    assert run.status is RunStatus.COMPLETED
    assert store.take_sent() == ["repo/a.py", "repo/b.py", "repo/b.py", "repo/b.py"]
    assert_whole(forgetful_world, text_of("b", 2))


def test_what_was_acknowledged_and_not_replaced_is_sent_again(forgetful_world: World, store: ForgetfulStore) -> None:
    """The object of the version before is there, under the very id. Repair is delete, then insert."""
    forgetful_world.sync(line("a.py", text_of("a")), line("b.py", text_of("b", 2)))
    store.losses = 1
    run = forgetful_world.sync(line("b.py", text_of("newer", 2)))
    assert run.status is RunStatus.COMPLETED
    assert store.deleted == [LAST]
    assert_whole(forgetful_world, text_of("newer", 2))


def test_what_is_lost_again_is_an_outage(forgetful_world: World, store: ForgetfulStore) -> None:
    """Nothing of the batch is settled, nobody is charged, and the run goes on when the store is well."""
    store.losses = 2
    with pytest.raises(StoreUnavailable, match=r"acknowledged 1 objects of batch 0, and does not hold them"):
        forgetful_world.sync(line("a.py", text_of("a")), line("b.py", text_of("b", 2)))
    assert forgetful_world.query("SELECT (SELECT COUNT(*) FROM completed_lines), COUNT(*) FROM failed_lines") == [
        (0, 0)
    ]
    assert set(forgetful_world.query("SELECT state FROM documents")) == {("writing",)}
    assert forgetful_world.resume(run_ids(forgetful_world)[0]).status is RunStatus.COMPLETED
    assert_whole(forgetful_world, text_of("b", 2))
