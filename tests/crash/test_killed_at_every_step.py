"""Killed by SIGKILL between any two side effects, then gone on with in every way the shell has: the truth each time."""

import sqlite3
from pathlib import Path

import pytest
from crash import points
from crash.oracle import COLLECTION
from crash.scenario import BASE, KILLED, NEWER
from crash.stage import Stage

ALL_PLACES = [pytest.param(point, passing, id=f"{point}-{passing}") for point, passing in points.PLACES]


def test_every_fault_point_is_killed_at() -> None:
    named = {name for group in vars(points).values() if isinstance(group, tuple) for name in group}
    assert points.points_in_sources() == {name for name in named if isinstance(name, str)}


@pytest.mark.parametrize(("point", "passing"), ALL_PLACES)
def test_killed_and_gone_on_with(after_base: Stage, point: str, passing: int) -> None:
    """Killed once; then, from that very state, the same command again; resumed without the input; and a newer changeset
    first, that undoes much of the older, then the older."""
    stage = after_base
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    stage.kill(stage.start_sync(killed, fault=f"kill:{point}:{passing}"), point)
    restore = stage.snapshot()
    runs = stage.run_ids()
    is_opened = len(runs) == 2
    is_closed = point in points.RUN_CLOSED
    assert is_opened == (point not in points.NO_RUN_YET)

    stage.sync(killed)
    if is_closed:  # a new run of the same bytes, since files on disk may have changed since
        stage.assert_everything(BASE, KILLED, KILLED)
    else:
        stage.assert_everything(BASE, KILLED)

    restore()
    if is_opened and not is_closed:
        killed.unlink()
        stage.do("resume", run_id=runs[1])
        stage.assert_everything(BASE, KILLED)
        killed = stage.changeset("killed", KILLED)
    else:
        resumed = stage.start("resume", run_id=runs[-1])
        assert resumed.wait() == 2, "a finished run was resumed"
        assert "there is nothing to resume" in resumed.error()

    restore()
    stage.sync(newer)
    if not is_opened:
        stage.sync(killed)
        stage.assert_everything(BASE, NEWER, KILLED)
        return
    if not is_closed:
        stage.do("resume", run_id=runs[1])
    stage.assert_everything(BASE, KILLED, NEWER)


@pytest.mark.parametrize("point", points.NEW_COLLECTION)
def test_killed_while_the_collection_is_made(stage: Stage, point: str) -> None:
    base, newer = stage.changeset("base", BASE), stage.changeset("newer", NEWER)
    stage.kill(stage.start_sync(base, fault=f"kill:{point}:1"), point)
    restore = stage.snapshot()
    (run_id,) = stage.run_ids()

    stage.sync(base)
    stage.assert_everything(BASE)

    restore()
    stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE)

    restore()
    stage.sync(newer)
    stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE, NEWER)


@pytest.mark.parametrize("point", points.REPAIR)
def test_killed_while_what_the_store_lost_is_sent_again(after_base: Stage, point: str) -> None:
    """The store acknowledges an object that it does not hold; it is sent again, and the process dies over that."""
    stage = after_base
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    stage.kill(stage.start_sync(killed, fault=f"kill:{point}:1", forgetful=True), point)
    restore = stage.snapshot()
    run_id = stage.run_ids()[1]

    stage.sync(killed)
    stage.assert_everything(BASE, KILLED)

    restore()
    stage.sync(newer)
    stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE, KILLED, NEWER)


def leftovers(state: Path) -> set[str]:
    """Folders below ``work`` that belong to no run of the checkpoint."""
    connection = sqlite3.connect(state / "sync_checkpoints.db")
    try:
        known = {row[0] for row in connection.execute("SELECT run_id FROM sync_runs")}
    finally:
        connection.close()
    return {each.name for each in (state / "work").iterdir()} - known


@pytest.mark.parametrize("point", points.NO_RUN_YET)
def test_what_was_left_before_a_run_was_opened_goes_in_time(stage: Stage, point: str) -> None:
    base = stage.changeset("base", BASE)
    stage.kill(stage.start_sync(base, fault=f"kill:{point}:1"), point)
    assert leftovers(stage.state)
    stage.sync(base)
    stage.do("cleanup", keep_days=7)
    assert leftovers(stage.state), "it may be a living process's"
    stage.age(days=2)
    stage.do("cleanup", keep_days=7)
    assert not leftovers(stage.state)
    stage.assert_everything(BASE)


@pytest.mark.parametrize("point", points.CLEANUP)
def test_killed_while_old_runs_are_dropped(after_base: Stage, point: str) -> None:
    """The run that has ended goes with its files, the unfinished one and what fences it stay."""
    stage = after_base
    killed = stage.changeset("killed", KILLED)
    stage.kill(stage.start_sync(killed, fault="kill:inserted:2"), "inserted")
    stage.sync(stage.changeset("newer", NEWER))
    base_run, killed_run, newer_run = stage.run_ids()
    stage.age(days=2)
    stage.kill(stage.start("cleanup", keep_days=0.0, fault=f"kill:{point}:1"), point)
    stage.age(days=2)
    stage.do("cleanup", keep_days=0.0)
    assert stage.run_ids() == [killed_run]
    assert {each.name for each in (stage.state / "work").iterdir()} == {killed_run}, (base_run, newer_run)
    stage.do("resume", run_id=killed_run)
    stage.assert_documents(BASE, KILLED, NEWER)
    assert stage.rows("SELECT store IS NOT NULL FROM collections WHERE name = ?", COLLECTION) == [(1,)]
