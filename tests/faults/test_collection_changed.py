"""Somebody deletes the collection while a run goes on, makes another of its name, or makes its shards read-only."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from crash.held import asking, drop_collection
from crash.oracle import COLLECTION, Line, Oracle, assert_ledger, assert_store
from crash.scenario import BASE, BATCH_SIZE, NEWER, delete, inline, text_of
from crash.within import apply, run_ids
from faults.mortal import MortalServer
from faults.weaviate_world import WeaviateWorld, assert_searchable, assert_truth

from elysia_dagster.checkpoint.retention import forget_collection
from elysia_dagster.errors import CollectionMismatch, ElysiaError, StoreUnavailable
from elysia_dagster.models import RunStatus
from elysia_dagster.settings import DATABASE_NAME
from elysia_dagster.stores.weaviate_write import WeaviateWriter
from elysia_dagster.sync import upsert

pytestmark = pytest.mark.weaviate


@pytest.fixture
def world(server: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world whose store is not waited for long."""
    with WeaviateWorld(tmp_path, server.url, store_retry_s=1.0) as opened:
        yield opened


def at_passing(world: WeaviateWorld, moment: str, act: Callable[[], None]) -> list[int]:
    """Acts once at a moment (``<point>:<n>``); gives the lines that are settled then, in the latest run."""
    passed: list[str] = []
    settled: list[int] = []

    def at(point: str) -> None:
        passed.append(point)
        if moment == f"{point}:{passed.count(point)}":
            settled.extend(settled_lines(world))
            act()

    world.engine.faults = at
    return settled


def settled_lines(world: WeaviateWorld) -> list[int]:
    """Lines of the latest run that are completed."""
    rows = world.query("SELECT line_number FROM completed_lines WHERE run_id = ? ORDER BY 1", run_ids(world)[-1])
    return [number for (number,) in rows]


def make_anew(world: WeaviateWorld) -> None:
    """Somebody deletes the collection and makes another of the same name and settings, but for its mark."""

    def remake(client: Any) -> None:
        schema = client.collections.use(COLLECTION).config.get().to_dict()
        client.collections.delete(COLLECTION)
        schema["description"] = "Made anew by somebody."
        client.collections.create_from_dict(schema)

    asking(world.weaviate, remake)


def assert_documents(world: WeaviateWorld, *changesets: Sequence[Line]) -> None:
    """Collection and ledger, not the runs, are what these changesets make of them."""
    oracle = Oracle()
    for lines in changesets:
        oracle.apply(lines)
    assert_store(world.state, oracle, weaviate=world.weaviate)
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        assert_ledger(connection, oracle)
    assert_searchable(world.weaviate)


def assert_nothing_more(world: WeaviateWorld, settled: list[int]) -> None:
    """No line failed, none was settled since, and the run waits to be resumed with true counters."""
    assert settled_lines(world) == settled, "settled into a collection that is not ours"
    assert world.query("SELECT * FROM failed_lines") == []
    latest = "SELECT status, processed_lines, success_count, lease_owner FROM sync_runs ORDER BY sequence DESC LIMIT 1"
    assert world.query(latest) == [("running", len(settled), len(settled), None)]


def assert_refused(world: WeaviateWorld, lines: Sequence[Line]) -> None:
    """The same command is refused, with what to type; after that was typed it begins anew and gives the truth."""
    world.engine.faults = lambda _point: None
    with pytest.raises(CollectionMismatch, match=r"dropped or made anew.*elysiactl index forget --collection Demo"):
        apply(world, lines, batch_size=BATCH_SIZE)
    drop_collection(world.weaviate, COLLECTION)
    forget_collection(world.engine.database, world.engine.store_url(), COLLECTION, world.engine.host)
    apply(world, BASE)
    assert apply(world, lines, batch_size=BATCH_SIZE).status is RunStatus.COMPLETED
    assert_documents(world, BASE, lines)


@pytest.mark.parametrize(
    ("moment", "made_anew"),
    [
        *((moment, False) for moment in ("embedded:2", "intended:2", "inserted:2", "verified:2", "removed:2")),
        *((moment, True) for moment in ("intended:2", "inserted:2", "removed:2")),
    ],
)
def test_deleted_in_the_middle_of_a_run(
    world: WeaviateWorld, moment: str, made_anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upsert, "BATCHES_AT_ONCE", 0)  # else it is not known what the batch before is at
    apply(world, BASE)
    somebody = make_anew if made_anew else lambda world: drop_collection(world.weaviate, COLLECTION)
    settled = at_passing(world, moment, lambda: somebody(world))
    with pytest.raises(CollectionMismatch, match=COLLECTION) as error:
        apply(world, NEWER, batch_size=BATCH_SIZE)
    assert error.value.exit_code == 2
    assert "elysiactl index forget" in error.value.next_step
    assert_nothing_more(world, settled)
    assert_refused(world, NEWER)


@pytest.mark.parametrize("moment", ["intended:2", "inserted:2", "verified:2", "removed:2"])
def test_deleted_while_two_batches_are_on_their_way(world: WeaviateWorld, moment: str) -> None:
    """The batch that had passed its last look at the collection may be settled; it was in the one that is gone."""
    apply(world, BASE)
    settled = at_passing(world, moment, lambda: drop_collection(world.weaviate, COLLECTION))
    with pytest.raises(CollectionMismatch, match=COLLECTION):
        apply(world, NEWER, batch_size=BATCH_SIZE)
    stopped_at = settled_lines(world)
    assert set(settled) <= set(stopped_at)
    assert len(stopped_at) - len(settled) <= BATCH_SIZE, "what came after it was settled too"
    assert_nothing_more(world, stopped_at)
    assert_refused(world, NEWER)


@pytest.mark.parametrize("made_anew", [True, False], ids=["made anew", "gone"])
def test_deleted_after_the_last_batch(world: WeaviateWorld, made_anew: bool) -> None:
    """All is settled, and was there; the run does not end as completed all the same."""
    apply(world, BASE)
    somebody = make_anew if made_anew else lambda world: drop_collection(world.weaviate, COLLECTION)
    settled = at_passing(world, "before-finalize:1", lambda: somebody(world))
    with pytest.raises(CollectionMismatch):
        apply(world, NEWER, batch_size=BATCH_SIZE)
    assert_nothing_more(world, settled)
    assert_refused(world, NEWER)


def test_deleted_between_the_look_at_it_and_the_insert(world: WeaviateWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto-schema makes it anew without a word, and takes every object: settled they are not."""
    apply(world, BASE)
    insert = WeaviateWriter.insert
    settled = at_passing(world, "intended:1", lambda: None)

    def late(writer: WeaviateWriter, objects: Any) -> Any:
        drop_collection(world.weaviate, COLLECTION)
        return insert(writer, objects)

    monkeypatch.setattr(WeaviateWriter, "insert", late)
    with pytest.raises(CollectionMismatch, match=COLLECTION) as error:
        apply(world, NEWER, batch_size=BATCH_SIZE)
    assert error.value.exit_code == 2
    assert "elysiactl index forget" in error.value.next_step
    assert asking(world.weaviate, lambda client: client.collections.exists(COLLECTION)), "auto-schema is on"
    assert_nothing_more(world, settled)
    monkeypatch.undo()
    assert_refused(world, NEWER)


@pytest.mark.parametrize("moment", ["embedded:1", "intended:2", "inserted:2", "verified:2"])
def test_made_read_only_in_the_middle_of_a_run(world: WeaviateWorld, moment: str) -> None:
    """Which collection is said; nothing is charged; writable again, the same command completes the same run."""
    apply(world, BASE)
    lines = (
        *NEWER,
        inline(("alpha", "one_more.py"), text_of("one_more"), "add"),
        delete(("gamma", "tail.py")),
        inline(("beta", "stay.py"), text_of("stay", 3)),
    )
    settled = at_passing(world, moment, lambda: set_shards(world, "READONLY"))
    assert_waits_for_the_shard(world, lines)
    stopped_at = settled_lines(world)
    assert set(settled) <= set(stopped_at)
    world.engine.faults = lambda _point: None
    assert_waits_for_the_shard(world, lines)
    assert_nothing_more(world, stopped_at)
    set_shards(world, "READY")
    run = apply(world, lines, batch_size=BATCH_SIZE)
    assert (run.run_id, run.status) == (run_ids(world)[1], RunStatus.COMPLETED), "the same run goes on"
    assert_truth(world, BASE, lines)


def test_read_only_while_removals_alone_are_left(world: WeaviateWorld) -> None:
    """A removal that the server does not do is no removal."""
    apply(world, BASE)
    lines = (delete(("alpha", "big.py")), delete(("beta", "same.py")))
    settled = at_passing(world, "intended:1", lambda: set_shards(world, "READONLY"))
    assert_waits_for_the_shard(world, lines)
    assert_nothing_more(world, settled)
    world.engine.faults = lambda _point: None
    set_shards(world, "READY")
    assert apply(world, lines, batch_size=BATCH_SIZE).status is RunStatus.COMPLETED
    assert_truth(world, BASE, lines)


def assert_waits_for_the_shard(world: WeaviateWorld, lines: Sequence[Line]) -> None:
    """The run stops as for an outage, and names collection and reason."""
    with pytest.raises(ElysiaError) as error:
        apply(world, lines, batch_size=BATCH_SIZE)
    assert isinstance(error.value, StoreUnavailable), error.value
    assert error.value.exit_code == 3
    assert COLLECTION in str(error.value)
    assert "read-only" in str(error.value)
    assert world.query("SELECT * FROM failed_lines") == [], "a read-only shard was charged to a line"


def set_shards(world: WeaviateWorld, status: str) -> None:
    """As an operator does it."""
    asking(world.weaviate, lambda client: client.collections.use(COLLECTION).config.update_shards(status))
