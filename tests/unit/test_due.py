"""Which failed lines are due: by time, tries and kind; which runs are left out, and what is said where none is due."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sync_world import World

from elysia_dagster.checkpoint import claims, clock, lookup
from elysia_dagster.checkpoint.owner import Owner, this_host
from elysia_dagster.checkpoint.tally import tally_failures
from elysia_dagster.sync.due import DueRuns, find_due
from elysia_dagster.sync.retry import retry_run


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose repository is empty."""
    with World(tmp_path) as made:
        (made.root / "repo").mkdir()
        yield made


def lost(name: str) -> bytes:
    """A line that asks for a file that is not there."""
    return b'{"path": "%s", "op": "add", "repo": "repo"}' % name.encode()


def due(world: World, **which: bool) -> DueRuns:
    """What is due in a world."""
    return find_due(world.engine.database, this_host(), world.engine.run_folder("x").parent, **which)


def change(world: World, statement: str, *arguments: object) -> None:
    """Changes failed lines behind everybody's back."""
    with world.engine.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE failed_lines SET {statement}", arguments)


def test_nothing_failed(world: World) -> None:
    assert due(world).why_none() == "There is no failed line."
    world.sync(b'{"path": "a.py", "op": "add", "repo": "repo", "content": "x = 1"}')
    assert due(world) == DueRuns(runs=())


def test_every_line_is_counted_once(world: World) -> None:
    run = world.sync(*(lost(f"{n}.py") for n in range(6)), b'{"path": 7}', max_retries=2)
    soon, late = clock.stamp_after(500), clock.stamp_after(900)
    change(world, "next_retry_at = ? WHERE line_number = 1", clock.stamp())
    change(world, "next_retry_at = ? WHERE line_number = 2", soon)
    change(world, "next_retry_at = ? WHERE line_number = 3", late)
    change(world, "retry_count = 2 WHERE line_number = 4")
    change(world, "pending = 1 WHERE line_number = 5")
    change(world, "error_kind = NULL, next_retry_at = NULL WHERE line_number = 6")
    (tally,) = tally_failures(world.engine.database)
    counts = (tally.due, tally.pending, tally.waiting, tally.used_up, tally.permanent)
    assert (tally.run.run_id, *counts) == (run.run_id, 2, 1, 2, 1, 1)
    assert tally.next_due == soon
    assert [each.run.run_id for each in due(world).runs] == [run.run_id]


def test_what_waits_is_said_with_its_time(world: World) -> None:
    first = clock.stamp_after(500)
    world.sync(lost("a.py"), lost("b.py"), b'{"path": 7}')
    world.sync(lost("c.py"), max_retries=0)
    change(world, "next_retry_at = ? WHERE file_path = 'a.py'", first)
    change(world, "next_retry_at = ? WHERE file_path = 'b.py'", clock.stamp_after(900))
    found = due(world)
    assert found.runs == ()
    assert found.why_none().splitlines() == [
        f"2 failed lines wait for the next try, the first until {first[:19].replace('T', ' ')} UTC.",
        "1 failed line has no try left: elysiactl index retry --all",
        "1 failed line cannot mend by another try: elysiactl index retry --permanent",
    ]
    assert len(due(world, every=True).runs) == 2
    assert len(due(world, permanent=True).runs) == 1


def test_a_run_that_is_held_is_left_out_with_who_holds_it(world: World) -> None:
    run = world.sync(lost("a.py"))
    change(world, "next_retry_at = ?", clock.stamp())
    owner = Owner.this_process(this_host())
    lease = claims.take_lease(
        world.engine.database,
        lookup.load_run(world.engine.database, run.run_id),
        collection_id=1,
        owner=owner,
        label="",
        seconds=600,
    )
    found = due(world)
    assert found.runs == ()
    assert found.why_none().startswith(f"Left out: run {run.run_id} is held by {owner} since 20")
    claims.release_lease(world.engine.database, lease)
    assert len(due(world).runs) == 1


def test_a_retry_that_was_asked_for_and_not_made(world: World) -> None:
    run = world.sync(lost("a.py"))
    assert due(world).runs == ()
    assert retry_run(world.engine, run.run_id) is not None
    (tally,) = due(world).runs
    assert (tally.pending, tally.run.is_half_retried) == (1, True)


def test_neither_what_was_given_up_nor_what_is_not_here(world: World) -> None:
    run = world.sync(lost("a.py"))
    change(world, "next_retry_at = ?", clock.stamp())
    spool = world.engine.run_folder(run.run_id) / "changeset.jsonl"
    spool.rename(spool.with_name("away"))
    assert "elysiactl index failed --run-id" in due(world).why_none()
    spool.with_name("away").rename(spool)
    assert len(due(world).runs) == 1
    with world.engine.database.write() as connection:
        connection.exec_driver_sql("UPDATE sync_runs SET identity = NULL")  # its collection was forgotten
    assert due(world) == DueRuns(runs=())


def test_many_reasons_are_cut_short() -> None:
    reasons = {f"run-{n}": f"Left out: run-{n}." for n in range(7)}
    assert DueRuns(runs=(), left_out=reasons).why_none().splitlines()[-1] == "And 2 more runs are left out."
