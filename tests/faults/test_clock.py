"""The clock of a process jumps by an hour while it works: nothing is settled falsely, and never do two own a run.

The server's own clock is not set: its binary is linked statically and asks the kernel for the time, so that libfaketime
does not reach it (tried: an object written under FAKETIME=+1h has the true time).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from crash.scenario import BASE, BATCH_SIZE, NEWER, inline, on_disk, text_of
from crash.within import apply, resume, run_ids
from faults.mortal import MortalServer
from faults.weaviate_world import WeaviateWorld, assert_truth

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.errors import LeaseLost, RepositoriesHeld
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import upsert

pytestmark = pytest.mark.weaviate

HOUR = timedelta(hours=1)
NO_TIME = timedelta()


class Clock:
    """The wall clock as ``checkpoint.clock`` reads it, which can be set; what is monotonic goes on as it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = NO_TIME
        real = clock.now
        monkeypatch.setattr(clock, "now", lambda: real() + self.off)

    @staticmethod
    def true_now() -> datetime:
        """What a right clock says."""
        return datetime.now().astimezone()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that can be set, all threads' at once: while it is wrong no other batch may be at work."""
    monkeypatch.setattr(upsert, "BATCHES_AT_ONCE", 0)
    return Clock(monkeypatch)


@pytest.fixture
def world(server: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world on a real server."""
    with WeaviateWorld(tmp_path, server.url, store_retry_s=2.0) as opened:
        yield opened


@pytest.mark.parametrize("first", [HOUR, -HOUR], ids=["forward first", "back first"])
def test_jumps_between_any_two_points(world: WeaviateWorld, wall: Clock, first: timedelta) -> None:
    """There and back again at every point that is passed: the run completes as on any other day."""
    apply(world, BASE)
    passed: list[str] = []

    def at(point: str) -> None:
        passed.append(point)
        wall.off = (first, NO_TIME, -first)[len(passed) % 3]

    world.engine.faults = at
    run = apply(world, NEWER, batch_size=BATCH_SIZE)
    assert run.status is RunStatus.COMPLETED
    assert {"intended", "inserted", "settled", "commits-marked"} <= set(passed)
    wall.off = NO_TIME
    assert_truth(world, BASE, NEWER)


@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_another_process_of_the_host_has_another_hour(world: WeaviateWorld, wall: Clock, off: timedelta) -> None:
    """A living process of the same host is never overtaken, whatever its lease says."""
    apply(world, BASE)
    other = world.open_engine()
    refused = []

    def at(point: str) -> None:
        if point not in ("intended", "inserted", "verified", "removed"):
            return
        wall.off = off
        for lines in (NEWER, (inline(("alpha", "mine.py"), text_of("mine")),)):
            with pytest.raises(RepositoriesHeld):
                apply(world, lines, other)
        refused.append(point)
        wall.off = NO_TIME

    world.engine.faults = at
    assert apply(world, NEWER, batch_size=6).status is RunStatus.COMPLETED
    assert len(refused) > 4
    waiting = [run_id for run_id in run_ids(world) if world.query(RUNNING, run_id) == [(1,)]]
    world.engine.faults = lambda _point: None
    for run_id in waiting:
        resume(world, run_id)
    assert_truth(world, BASE, NEWER, *([(inline(("alpha", "mine.py"), text_of("mine")),)] * len(waiting)))


RUNNING = "SELECT COUNT(*) FROM sync_runs WHERE run_id = ? AND status = 'running'"


@pytest.mark.parametrize(
    ("moment", "whose"),
    [
        ("intended", "the other's is ahead"),
        ("inserted", "the other's is ahead"),
        ("inserted", "the owner's is behind"),
        ("removed", "the owner's is behind"),
    ],
)
def test_a_host_with_another_hour_overtakes(world: WeaviateWorld, wall: Clock, moment: str, whose: str) -> None:
    """By its clock the lease has ended. From then on there is one owner: the first settles nothing more."""
    apply(world, BASE)
    first = world.open_engine(parts={"host": host("first")})
    second = world.open_engine(parts={"host": host("second")})
    settled_before = []
    wall.off = -HOUR if whose == "the owner's is behind" else NO_TIME

    def at(point: str) -> None:
        if point == moment and not settled_before:
            settled_before.append(lines_settled(world))
            wall.off += HOUR
            assert resume(world, run_ids(world)[-1], second).status is RunStatus.COMPLETED
            settled_before.append(lines_settled(world))
            wall.off -= HOUR

    first.faults = at
    manifest = world.begin(*(line.raw for line in NEWER), engine=first, batch_size=BATCH_SIZE)
    with pytest.raises(LeaseLost) as error:
        world.finish(manifest, first)
    assert error.value.exit_code == 4
    assert settled_before[1] == len(NEWER), "the second has settled every line"
    assert lines_settled(world) == len(NEWER), "the first has settled none after it"
    wall.off = NO_TIME
    third = tuple(inline((name, "third.py"), text_of("third"), "add") for name in ("alpha", "beta", "gamma"))
    apply(world, third)  # of each repository: what the first had in writing there is looked at
    assert_truth(world, BASE, NEWER, third)


def host(name: str) -> Host:
    """Another machine that shares the checkpoint."""
    return Host(name=name, boot_id=f"boot of {name}", pid_namespace="pid:[1]")


def lines_settled(world: WeaviateWorld) -> int:
    """Lines of the latest run that are completed, as rows and as its counter."""
    ((rows,),) = world.query("SELECT COUNT(*) FROM completed_lines WHERE run_id = ?", run_ids(world)[-1])
    assert world.query("SELECT success_count FROM sync_runs ORDER BY sequence DESC LIMIT 1") == [(rows,)]
    return int(rows)


def test_a_line_that_failed_an_hour_ahead_is_tried_when_asked(world: WeaviateWorld, wall: Clock) -> None:
    """Its next try by itself is then an hour late, and no more than that; asked for, it is tried at once."""
    (world.root / "repo").mkdir()
    late = ("repo", "late.py")
    wall.off = HOUR
    run = apply(world, [*BASE, on_disk(late, None)])
    assert run.status is RunStatus.FAILED
    wall.off = NO_TIME
    ((due,),) = world.query("SELECT next_retry_at FROM failed_lines")
    assert HOUR < clock.parse(due) - Clock.true_now() < 2 * HOUR
    world.write("repo/late.py", text_of("late"))
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert_truth(world, [*BASE, on_disk(late, text_of("late"))])
