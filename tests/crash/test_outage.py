"""The store or the embedder is down, refuses one object, or is not what it was: who is charged, and what remains."""

import lancedb
import pyarrow as pa
import pytest
from crash.interposed import InterposedStore, interpose
from crash.oracle import COLLECTION
from crash.scenario import BASE, BATCH_SIZE, delete, inline, text_of
from crash.within import apply, assert_applied, run_ids
from sync_world import World

from elysia_dagster.errors import CollectionMismatch, EmbedderUnavailable, StoreUnavailable
from elysia_dagster.models import RunStatus

RAW = [line.raw for line in BASE]


def down_at(store: InterposedStore, method: str, call: int) -> None:
    """The store answers no more from the ``call``-th call of a method on."""
    calls = []

    def before(name: str) -> None:
        calls.append(name)
        if calls.count(method) >= call:
            raise StoreUnavailable("The store does not answer.", next_step="Start it.")

    store.before = before


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(
    "method", ["describe", "ensure_collection", "upsert", "fetch_hashes", "delete_objects", "count"]
)
def test_the_store_is_down_for_a_while(world: World, method: str, call: int) -> None:
    if method == "ensure_collection" and call == 2:
        call = 1
    store, _ = interpose(world.engine)
    lines = BASE
    if method == "delete_objects":
        world.sync(*RAW)
        lines = (*(delete(line.effects[0].key) for line in BASE[:6]), inline(("gamma", "new.py"), text_of("new")))
    down_at(store, method, call)
    raw = [line.raw for line in lines]
    with pytest.raises(StoreUnavailable) as error:
        world.sync(*raw, batch_size=BATCH_SIZE)
    assert error.value.exit_code == 3
    assert world.query("SELECT COUNT(*) FROM failed_lines") == [(0,)], "an outage was charged to a line"
    assert world.query("SELECT status FROM sync_runs ORDER BY sequence DESC LIMIT 1") == [("running",)]
    store.before = lambda _name: None
    world.resume(run_ids(world)[-1])
    assert_applied(world, *([lines] if lines is BASE else [BASE, lines]))


def test_the_embedder_is_down_for_a_while(world: World) -> None:
    store, embedder = interpose(world.engine)

    def before(name: str) -> None:
        embedder.is_out = embedder.is_out or name == "upsert"

    store.before = before
    with pytest.raises(EmbedderUnavailable) as error:
        world.sync(*RAW, batch_size=BATCH_SIZE)
    assert error.value.exit_code == 3
    assert world.query("SELECT COUNT(*) FROM failed_lines") == [(0,)]
    with pytest.raises(EmbedderUnavailable):
        world.resume(run_ids(world)[-1])
    store.before = lambda _name: None
    embedder.is_out = False
    world.resume(run_ids(world)[-1])
    assert_applied(world, BASE)


def test_an_outage_moves_no_retry_count(world: World) -> None:
    (world.root / "repo").mkdir()
    store, _ = interpose(world.engine)
    run = world.sync(b'{"repo": "repo", "path": "late.py"}', *RAW)
    world.write("repo/late.py", text_of("late"))
    down_at(store, "upsert", 1)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            world.retry(run.run_id)
        assert world.query("SELECT line_number, retry_count FROM failed_lines") == [(1, 0)]
    store.before = lambda _name: None
    assert world.retry(run.run_id).status is RunStatus.COMPLETED


def test_one_object_is_rejected(world: World) -> None:
    """Its line alone is charged, its document is suspect, the rest of the batch goes on; a retry completes it."""
    world.sync(*RAW)
    store, _ = interpose(world.engine)
    store.reject = lambda each: "poison" if each.relative_path == "big.py" and each.chunk_index == 3 else None
    lines = (
        inline(("alpha", "big.py"), text_of("changed", 5)),
        inline(("alpha", "grow.py"), text_of("grown", 4)),
        inline(("alpha", "dup.py"), text_of("dup")),
    )
    run = apply(world, lines, batch_size=BATCH_SIZE)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.FAILED, 2, 1)
    assert world.query("SELECT line_number, retry_count, error_kind, error_message FROM failed_lines") == [
        (1, 0, "retryable", "The store rejected 1 of 5 objects: poison")
    ]
    assert world.query("SELECT path FROM documents WHERE state = 'suspect'") == [("big.py",)]
    assert world.retry(run.run_id).error_count == 1
    assert world.query("SELECT retry_count FROM failed_lines") == [(1,)]
    store.reject = lambda _object: None
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert_applied(world, BASE, lines)


def drop(world: World, *, made_anew: bool) -> None:
    """Somebody drops the collection, and may make another of the same name and columns."""
    connection = lancedb.connect(world.state / "vectors")
    schema = connection.open_table(COLLECTION).schema
    connection.drop_table(COLLECTION)
    if made_anew:
        metadata = {key: b"another" if b"incarnation" in key else value for key, value in schema.metadata.items()}
        connection.create_table(COLLECTION, schema=pa.schema(list(schema), metadata=metadata))


@pytest.mark.parametrize("made_anew", [True, False], ids=["made anew", "gone"])
def test_the_collection_is_dropped_before_a_run(world: World, made_anew: bool) -> None:
    world.sync(*RAW)
    drop(world, made_anew=made_anew)
    with pytest.raises(CollectionMismatch, match=r"dropped or made anew.*elysiactl index forget") as error:
        world.sync(inline(("alpha", "new.py"), text_of("new")).raw)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("made_anew", [True, False], ids=["made anew", "gone"])
def test_the_collection_is_dropped_in_the_middle_of_a_run(world: World, made_anew: bool) -> None:
    """Nothing is settled that was written into another collection, or into none."""
    store, _ = interpose(world.engine)
    calls = []

    def before(name: str) -> None:
        calls.append(name)
        if name == "upsert" and calls.count("upsert") == 2:
            drop(world, made_anew=made_anew)

    store.before = before
    with pytest.raises(CollectionMismatch):
        world.sync(*RAW, batch_size=BATCH_SIZE)
    settled = world.query("SELECT line_number FROM completed_lines WHERE outcome = 'indexed' ORDER BY line_number")
    assert settled == [(number,) for number in range(1, BATCH_SIZE + 1)], "only the batch before"


def test_unchanged_documents_of_a_collection_that_is_gone(world: World) -> None:
    """Their batches ask the store nothing; the run does not end as completed all the same."""
    world.sync(*RAW)

    def at(point: str) -> None:
        if point == "planned":
            drop(world, made_anew=True)

    world.engine.faults = at
    with pytest.raises(CollectionMismatch):
        world.sync(*RAW[:6])
    assert world.query("SELECT status FROM sync_runs ORDER BY sequence") == [("completed",), ("running",)]


def test_two_processes_that_make_the_collection_at_once(world: World) -> None:
    """Another one registers, creates and fills it between this one's two looks."""
    store, _ = interpose(world.engine)
    other = (inline(("delta", "other.py"), text_of("other")),)
    second = world.open_engine()

    def before(name: str) -> None:
        store.before = lambda _name: None
        apply(world, other, second)

    store.before = before
    run = world.sync(*RAW)
    assert run.status is RunStatus.COMPLETED
    assert world.query("SELECT COUNT(*) FROM collections") == [(1,)]


def test_many_chunks_are_written_a_request_at_a_time(world: World) -> None:
    """The store's patience, and the lease that covers it, are for one request, whatever a batch holds."""
    engine = world.open_engine(request_objects=3)
    store, _ = interpose(engine)
    calls: list[str] = []
    store.before = calls.append
    lines = (inline(("alpha", "big.py"), text_of("big", 10)), inline(("alpha", "small.py"), text_of("small")))
    apply(world, lines, engine)
    assert calls.count("upsert") == 4
    assert_applied(world, lines)
