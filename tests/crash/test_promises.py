"""One test for each promise of the system, by its number: 1 to 6. The other files here prove them in depth."""

import json
import sqlite3
from contextlib import closing

import pytest
from crash.interposed import interpose
from crash.oracle import COLLECTION, expected_objects
from crash.scenario import BASE, BATCH_SIZE, delete, inline, on_disk, text_of, unreadable
from crash.within import Stopped, apply, assert_applied, go_on, resume, run_ids, stop_at
from sync_world import World

from elysia_dagster.errors import CheckpointError
from elysia_dagster.settings import DATABASE_NAME

BIG = ("alpha", "big.py")


def test_promise_01_nothing_is_lost(world: World) -> None:
    (world.root / "repo").mkdir()
    bad = b'{"repo": "repo", "path": "a\\u0000b", "op": "modify"}'
    lines = (inline(BIG, text_of("big")), unreadable(bad, "repo"), unreadable(b'{"path": "\xff"'), delete(BIG))
    run = apply(world, lines)
    assert_applied(world, lines)
    reasons = world.query("SELECT line_number, error_message, payload FROM failed_lines ORDER BY line_number")
    assert [(line, bool(reason)) for line, reason, _ in reasons] == [(2, True), (3, True)]
    assert reasons[0][2] == bad.decode()
    assert "sha256" in json.loads(reasons[1][2]), "bytes that are no text are kept as base64"
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection, connection:  # one line unsettled again
        connection.execute("DELETE FROM completed_lines WHERE line_number = 1")
        connection.execute(
            "UPDATE sync_runs SET status = 'running', success_count = success_count - 1, "
            "processed_lines = processed_lines - 1"
        )
    with pytest.raises(CheckpointError, match="1 unsettled lines and cannot end"):
        resume(world, run.run_id)


def test_promise_02_nothing_is_twice(world: World) -> None:
    """A replay overwrites itself, and names that read alike together are documents of their own."""
    alike = (inline(("a", "b/c.py"), text_of("one")), inline(("a/b", "c.py"), text_of("two")))
    lines = (
        inline(("a", "b/c.py"), text_of("one")),
        inline(("a_b", "c.py"), text_of("two")),
        inline(BIG, text_of("x", 3)),
    )
    ids = [set(expected_objects(line.effects[0].key, text_of("same"))) for line in alike]
    assert not ids[0] & ids[1]
    stop_at(world, "inserted")
    with pytest.raises(Stopped):
        apply(world, lines)
    go_on(world)
    resume(world, run_ids(world)[0])
    assert_applied(world, lines)


def test_promise_03_nothing_is_stale(world: World) -> None:
    """An older run that comes late writes nothing, for a document written, removed, or only found unchanged since."""
    removed, same = ("alpha", "removed.py"), ("alpha", "same.py")
    base = (inline(BIG, text_of("base")), inline(removed, text_of("removed")), inline(same, text_of("same")))
    older = tuple(inline(key, text_of("older", 4)) for key in (BIG, removed, same))
    newer = (inline(BIG, text_of("newer", 2)), delete(removed), inline(same, text_of("same")))
    apply(world, base)
    stop_at(world, "embedded")
    with pytest.raises(Stopped):
        apply(world, older)
    go_on(world)
    apply(world, newer)
    late = resume(world, run_ids(world)[1])
    assert set(world.outcomes(late).values()) == {"superseded"}
    assert_applied(world, base, older, newer)


def test_promise_04_intended_before_sent_settled_after_acknowledged(world: World) -> None:
    store, _ = interpose(world.engine)
    seen = []

    def before(name: str) -> None:
        if name == "upsert":
            states = world.query("SELECT state, max_chunks FROM documents")
            seen.append((states, world.query("SELECT COUNT(*) FROM completed_lines")[0][0]))

    def at(point: str) -> None:
        if point in ("verified", "removed"):
            seen.append((point, world.query("SELECT COUNT(*) FROM completed_lines")[0][0]))

    store.before = before
    world.engine.faults = at
    apply(world, [inline(BIG, text_of("big", 3))])
    assert seen == [([("writing", 3)], 0), ("verified", 0), ("removed", 0)]
    assert world.query("SELECT state FROM documents") == [("present",)]


def test_promise_05_never_a_hole(world: World) -> None:
    """Whatever the store is asked for, a document that is there before and after is there in between."""
    apply(world, [inline(BIG, text_of("old", 10))])
    store, _ = interpose(world.engine)
    found: list[set[int]] = []

    def after(name: str) -> None:
        if name in ("upsert", "delete_objects"):
            found.append({each.chunk_index for each in store.store.scan(COLLECTION)})

    store.after = after
    apply(world, [inline(BIG, text_of("new", 2))])
    assert found == [set(range(10)), {0, 1}]


def test_promise_06_the_counters_are_true(world: World) -> None:
    """At every point that a process may die at; and what is not true is never called completed."""
    (world.root / "repo").mkdir()
    points = []

    def at(point: str) -> None:
        runs = world.query("SELECT run_id, processed_lines, success_count, error_count FROM sync_runs")
        for run_id, *counters in runs:
            completed, failed = (
                world.query(f"SELECT COUNT(*) FROM {table} WHERE run_id = ?", run_id)[0][0]
                for table in ("completed_lines", "failed_lines")
            )
            assert counters == [completed + failed, completed, failed], point
        points.append(point)

    world.engine.faults = at
    run = apply(world, [*BASE, on_disk(("repo", "late.py"), None), unreadable(b"{")], batch_size=BATCH_SIZE)
    world.write("repo/late.py", text_of("late"))
    world.retry(run.run_id, permanent=True)
    assert points.count("settled") == 5
    stop_at(world, "before-finalize")
    with pytest.raises(Stopped):
        apply(world, [inline(BIG, text_of("more"))])
    go_on(world)
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE sync_runs SET success_count = 7, processed_lines = 7 WHERE status = 'running'")
    with pytest.raises(CheckpointError, match="counts 7 completed and 0 failed lines, its tables hold 1 and 0"):
        resume(world, run_ids(world)[1])
