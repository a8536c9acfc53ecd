"""What looks at the inbox dies between any two side effects of a tick: everything settles, nothing twice."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.points import INBOX
from dagster import DagsterInstance
from inbox_world import InboxWorld

from elysia_dagster.defs.inbox_sensor import inbox_sensor


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InboxWorld]:
    """A world on a Dagster instance of files, which another process can open."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        yield InboxWorld(tmp_path, monkeypatch, instance)


def tick_killed_at(world: InboxWorld, point: str, number: int) -> bool:
    """A tick in a process of its own; whether it was killed there. What it asks for is heard by nobody."""
    child = os.fork()
    if not child:
        passed: Counter[str] = Counter()

        def faults(name: str) -> None:
            passed[name] += 1
            if (name, passed[name]) == (point, number):
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            world.look(inbox_sensor(faults))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def fill(world: InboxWorld) -> None:
    """Two files of one repository, one of another, a broken one, and one that is empty."""
    world.write("1-web.jsonl", "web", "old")
    world.write("2-web.jsonl", "web", "new")
    world.write("3-shop.jsonl", "shop", "goods")
    (world.inbox / "4.jsonl.gz").write_bytes(b"\x1f\x8bbroken")
    (world.inbox / "5.jsonl").touch()


def assert_all_is_well(world: InboxWorld) -> None:
    """Each file was applied once, in order, and none is lost."""
    assert world.texts() == {"web/a.py": "new", "shop/a.py": "goods"}
    assert sorted(world.started) == ["1-web.jsonl", "2-web.jsonl", "3-shop.jsonl"]
    assert world.started.index("1-web.jsonl") < world.started.index("2-web.jsonl")
    assert world.states() == {
        "1-web.jsonl": "applied",
        "2-web.jsonl": "applied",
        "3-shop.jsonl": "applied",
        "4.jsonl.gz": "refused",
        "5.jsonl": "applied",
    }
    done = sorted(each.name for each in (world.inbox / "done").iterdir())
    assert done == ["1-web.jsonl", "2-web.jsonl", "3-shop.jsonl", "5.jsonl"]
    assert sorted(each.name for each in (world.inbox / "failed").iterdir()) == ["4.jsonl.gz", "4.jsonl.gz.reason.txt"]


@pytest.mark.parametrize("point", INBOX)
def test_killed_at_every_point_of_every_tick(world: InboxWorld, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elysia_dagster.defs.inbox_sensor.asked_runs", world.played)
    fill(world)
    killed = 0
    for number in (1, 2, 1, 1):  # the first tick reads, later ones settle and move: the point comes again in each
        killed += tick_killed_at(world, point, number)
        for request in world.look()[0]:
            if request.run_key not in world.played_keys:
                world.play(request)
    assert killed, "the point was never passed"
    world.settle(how=lambda request: request.run_key in world.played_keys or world.play(request))
    assert_all_is_well(world)
