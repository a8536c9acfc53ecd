"""A collection as a run opens it: completed where it lacks a property, refused before anything is planned where it
cannot be written, and never taken for another."""

import uuid
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from crash.interposed import interpose
from crash.within import run_ids
from sync_world import COLLECTION, RecordingStore, World

from elysia_dagster.errors import CollectionMismatch, StoreUnavailable
from elysia_dagster.models import RunStatus

LINE = {"repo": "repo", "op": "add", "path": "a.py", "content": "a = 1\n"}
OTHER = {**LINE, "path": "b.py"}


def table(world: World) -> Any:
    return lancedb.connect(world.state / "vectors").open_table(COLLECTION)


def test_what_a_collection_of_ours_lacks_is_added_but_not_by_a_dry_run(world: World) -> None:
    world.sync(LINE)
    before = set(table(world).schema.names)
    table(world).drop_columns(["commit", "line_count"])
    world.preview(OTHER)
    assert set(table(world).schema.names) == before - {"commit", "line_count"}
    assert world.sync(OTHER).status is RunStatus.COMPLETED
    assert set(table(world).schema.names) == before
    rows = {row["relative_path"]: row for row in table(world).to_arrow().to_pylist()}
    assert (rows["a.py"]["line_count"], rows["b.py"]["line_count"]) == (None, 1)
    version = table(world).version
    world.begin({**LINE, "path": "c.py"})
    assert table(world).version == version, "nothing is written where nothing lacks"


def test_a_property_of_another_type_is_told_before_anything_is_planned(world: World) -> None:
    world.sync(LINE)
    table(world).drop_columns(["line_count"])
    table(world).add_columns(pa.field("line_count", pa.string()))
    with pytest.raises(CollectionMismatch, match="Column line_count of table Demo is string, and must be int64"):
        world.begin(OTHER)
    assert world.query("SELECT status FROM sync_runs ORDER BY sequence") == [("completed",), ("canceled",)]
    assert world.query("SELECT * FROM repository_claims") == []
    assert not (world.state / "work" / run_ids(world)[-1]).exists()


def test_a_collection_of_another_type_is_not_taken_over_either(world: World) -> None:
    world.sync(LINE)
    table(world).drop_columns(["line_count"])
    table(world).add_columns(pa.field("line_count", pa.string()))
    world.query("UPDATE collections SET incarnation = 'another'")
    with pytest.raises(CollectionMismatch, match="Column line_count"):
        world.begin(OTHER, adopt=True)
    assert world.query("SELECT incarnation FROM collections") == [("another",)]


def test_what_is_made_in_the_place_of_a_dropped_one_does_not_pass_for_it(world: World) -> None:
    """Dropped between the look at it and its completion: creating it there must not hide that."""
    world.sync(LINE)
    store, _ = interpose(world.engine)

    def before(name: str) -> None:
        if name == "ensure_collection":
            store.before = lambda _name: None
            lancedb.connect(world.state / "vectors").drop_table(COLLECTION)

    store.before = before
    with pytest.raises(CollectionMismatch, match="dropped or made anew"):
        world.begin(OTHER)
    there = world.engine.store().describe(COLLECTION)
    known = world.query("SELECT incarnation FROM collections")[0][0]
    assert there is None or there.incarnation != known


def test_a_new_collection_carries_the_incarnation_that_the_ledger_knows(light_world: World) -> None:
    light_world.begin(LINE)
    assert light_world.recording is not None
    known = light_world.query("SELECT incarnation FROM collections")[0][0]
    assert light_world.recording.collections[COLLECTION].incarnation == known
    assert str(uuid.UUID(known)) == known


def test_an_address_in_two_spellings_is_one_store(world: World) -> None:
    url = f"lancedb:{world.state}/vectors"
    assert world.engine.store() is world.engine.store(url) is world.engine.store(f"{url}/../vectors/")
    assert world.engine.store(f"{url}/other") is not world.engine.store()


class _Unreachable(RecordingStore):
    """A store that cannot be asked what it holds."""

    is_out = False

    def describe(self, collection: str) -> Any:
        if self.is_out:
            raise StoreUnavailable("The store does not answer.", next_step="Start it.")
        return super().describe(collection)


@pytest.mark.parametrize("spelling", ["", "lancedb:elsewhere", "recording:"])
def test_forget_takes_any_store_url_and_needs_no_answer(
    shell: Any, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    store = _Unreachable()
    if not spelling.startswith("lancedb"):
        monkeypatch.setattr("elysia_dagster.sync.engine.Engine.store", lambda _engine, _url="": store)
    named = ("--store", spelling) if spelling else ()
    shell.write(read_py="x = 1\n")
    assert shell.call("sync", "--stdin", *named, stdin=b"read.py\n").code == 0
    store.is_out = True
    done = shell.call("forget", "--yes", *named)
    assert (done.code, done.out) == (0, "Forgot Demo with 1 document.\n")
    assert ("cannot be told" in done.err) is not spelling.startswith("lancedb")
    assert ("--adopt" in done.err) is spelling.startswith("lancedb")
    assert shell.query("SELECT * FROM collections") == []
    assert shell.call("where").code == 0
    assert shell.call("status", "--summary").code == 0
