"""A collection on a Weaviate server that an earlier state made: taken over, and then kept true by the new one."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.held import asking, drop_collection
from crash.scenario import text_of
from sync_world import World

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import RunStatus


def line(path: str, text: str) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": path, "content": text}


def delete(path: str) -> dict[str, Any]:
    return {"repo": "repo", "op": "delete", "path": path}


LINES = (line("big.py", text_of("big", 5)), line("small.py", text_of("small")), line("gone.py", text_of("gone", 3)))


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[tuple[World, World]]:
    """Two states on this machine."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with World(tmp_path / "first") as first, World(tmp_path / "second") as second:
        yield first, second


def test_it_is_taken_over_from_its_first_owner(worlds: tuple[World, World], weaviate_url: str) -> None:
    first, second = worlds
    where = {"store": weaviate_url, "collection": f"Adopted{uuid.uuid4().hex[:12]}"}
    store = second.engine.store(weaviate_url)

    def held() -> dict[str, list[int]]:
        chunks: dict[str, list[int]] = {}
        for each in store.scan(where["collection"]):
            chunks.setdefault(each.relative_path, []).append(each.chunk_index)
        return {path: sorted(indexes) for path, indexes in chunks.items()}

    first.sync(*LINES, **where)
    with pytest.raises(CollectionMismatch, match="--adopt"):
        second.sync(line("new.py", "x = 1\n"), **where)
    assert second.sync(line("new.py", "x = 1\n"), adopt=True, **where).status is RunStatus.COMPLETED
    assert second.query("SELECT path, state, chunks FROM documents ORDER BY path") == [
        ("big.py", "suspect", 5),
        ("gone.py", "suspect", 3),
        ("new.py", "present", 1),
        ("small.py", "suspect", 1),
    ]
    with pytest.raises(CollectionMismatch, match="dropped or made anew"):
        first.sync(line("late.py", "y = 1\n"), **where)
    second.sync(line("big.py", text_of("big", 2)), delete("gone.py"), delete("never.py"), **where)
    assert held() == {"big.py": [0, 1], "new.py": [0], "small.py": [0]}
    first.sync(delete("small.py"), adopt=True, **where)
    assert held() == {"big.py": [0, 1], "new.py": [0]}


def test_one_that_is_made_anew_meanwhile_is_not_blessed(worlds: tuple[World, World], weaviate_url: str) -> None:
    """Dropped while it was scanned, and made again by the first insert of another program."""
    first, second = worlds
    name = f"Adopted{uuid.uuid4().hex[:12]}"
    where = {"store": weaviate_url, "collection": name}
    first.sync(*LINES, **where)

    def make_anew(point: str) -> None:
        if point == "adoption-scanned":
            drop_collection(weaviate_url, name)
            asking(weaviate_url, lambda client: client.collections.use(name).data.insert({"file_path": "a"}))

    second.engine.faults = make_anew
    with pytest.raises(CollectionMismatch, match="made anew"):
        second.sync(line("new.py", "x = 1\n"), adopt=True, **where)
    there = second.engine.store(weaviate_url).describe(name)
    assert there is not None
    assert there.incarnation is None


def test_of_two_that_take_it_over_at_once_the_first_is_refused(worlds: tuple[World, World], weaviate_url: str) -> None:
    first, second = worlds
    where = {"store": weaviate_url, "collection": f"Adopted{uuid.uuid4().hex[:12]}"}
    first.sync(*LINES, **where)
    first.sync(line("more.py", "z = 1\n"), **where)

    def overtake(point: str) -> None:
        if point == "adoption-scanned":
            first.engine.faults = lambda _point: None
            first.sync(line("theirs.py", "y = 1\n"), adopt=True, **where)

    second.engine.faults = overtake
    with pytest.raises(CollectionMismatch, match="taken over by another process"):
        second.sync(line("new.py", "x = 1\n"), adopt=True, **where)
    assert first.sync(line("late.py", "y = 1\n"), **where).status is RunStatus.COMPLETED


def test_a_tenant_that_is_dropped_and_made_anew_is_noticed(worlds: tuple[World, World], weaviate_url: str) -> None:
    """Its marks are in the collection, and outlive it."""
    world, _ = worlds
    name = f"Tenants{uuid.uuid4().hex[:12]}"
    where = {"store": f"{weaviate_url}&tenant=one", "collection": name}
    world.sync(*LINES, **where)
    assert world.sync(line("more.py", "z = 1\n"), **where).status is RunStatus.COMPLETED

    def make_anew(client: Any) -> None:
        tenants = client.collections.use(name).tenants
        tenants.remove(["one"])
        tenants.create(["one"])

    asking(weaviate_url, make_anew)
    with pytest.raises(CollectionMismatch, match=r"dropped or made anew.*reconcile.*index forget"):
        world.sync(line("late.py", "y = 1\n"), **where)


def test_a_tenant_that_was_emptied_by_removals_is_no_other(worlds: tuple[World, World], weaviate_url: str) -> None:
    world, _ = worlds
    where = {"store": f"{weaviate_url}&tenant=one", "collection": f"Tenants{uuid.uuid4().hex[:12]}"}
    world.sync(line("a.py", "a = 1\n"), line("empty.py", ""), **where)
    world.sync(delete("a.py"), **where)
    assert world.sync(line("b.py", "b = 1\n"), **where).status is RunStatus.COMPLETED
