"""A comparison, and a repair, beside syncs and other repairs of the same collection."""

import threading
from typing import Any

import pytest
from compared_world import BIG, LINES, OTHER, SMALL, TRUTH, assert_true, found, mended
from crash.oracle import Oracle
from crash.scenario import inline, text_of
from damage import Damage
from sync_world import COLLECTION, World

from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.errors import RepositoriesHeld
from elysia_dagster.sync import reconcile
from elysia_dagster.sync.difference import Difference
from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import repair


def test_a_sync_that_runs_meanwhile_is_no_damage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents grow, shrink, come and go while the collection is compared again and again."""
    monkeypatch.setattr(reconcile, "LOOKED_AT_ONCE", 3)
    keys = [("repo", f"{number}.py") for number in range(8)]
    world.sync(*(inline(key, text_of("a", 2)).raw for key in keys))
    writer = world.open_engine()
    over = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for turn in range(12):
                lines: list[Any] = [
                    inline(key, text_of(f"t{turn}", 1 + (turn + at) % 4)).raw for at, key in enumerate(keys[1:])
                ]
                lines.append(
                    {"repo": "repo", "path": "0.py", "op": "delete"}
                    if turn % 2
                    else inline(keys[0], text_of("b", 3)).raw
                )
                world.finish(world.begin(*lines, engine=writer, batch_size=2), writer)
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=write)
    thread.start()
    compared_so_often = 0
    while not over.is_set():
        assert found(world)[0] == {}
        compared_so_often += 1
    thread.join()
    assert not errors
    assert compared_so_often > 3
    differing, comparison = found(world)
    assert (differing, comparison.being_written) == ({}, 0)


def test_what_moves_between_the_scan_and_the_comparison(damaged: tuple[World, Damage]) -> None:
    """The scan saw damage that a sync has mended since, and whole documents that it has changed."""
    world, damage = damaged
    damage.double(BIG)
    damage.take_vector(SMALL)
    writer = world.open_engine()

    def sync_then(point: str) -> None:
        if point == "reconcile-scanned":
            damage.remove(BIG)
            lines = [
                inline(BIG, text_of("big", 3)),
                inline(SMALL, text_of("smaller", 2)),
                inline(OTHER, text_of("o", 1)),
            ]
            world.finish(world.begin(*(each.raw for each in lines), engine=writer), writer)

    world.engine.faults = sync_then
    differing, comparison = found(world)
    assert differing == {}
    assert comparison.being_written == 3


def test_a_document_that_is_being_written_is_no_damage_until_its_writer_dies(world: World) -> None:
    manifest = world.begin(*(each.raw for each in LINES))
    seen: list[dict[str, dict[str, int]]] = []
    other = world.open_engine()

    def look(point: str) -> None:
        if point in ("intended", "inserted"):
            with compared(other, COLLECTION) as comparison:
                assert comparison.being_written == 3
                seen.append({each.held.path: {} for each in comparison.first_findings()})
        if point == "inserted":
            raise KeyboardInterrupt

    world.engine.faults = look
    with pytest.raises(KeyboardInterrupt):
        world.finish(manifest)
    world.engine.faults = lambda _point: None
    assert seen == [{}, {}]
    assert {kind for each in found(world)[0].values() for kind in each} == {Difference.WRITING.value}
    assert mended(world).rewritten == 3
    world.resume(manifest.run_id)
    assert_true(world, TRUTH)
    assert set(world.outcomes(world.report.run).values()) == {"indexed"}  # type: ignore[union-attr]


def test_a_repository_that_a_sync_holds_is_left(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    damage.remove(SMALL)
    damage.remove(OTHER)
    other = world.open_engine()
    manifest = world.begin(inline(BIG, text_of("newer")).raw)

    def repair_meanwhile(point: str) -> None:
        if point == "before-finalize":
            with compared(other, COLLECTION) as comparison:
                report = repair(comparison)
            assert set(report.held) == {"repo"}
            assert f"held by run {manifest.run_id}" in report.held["repo"]
            assert (report.rewritten, report.remaining) == (1, 1)

    world.engine.faults = repair_meanwhile
    world.finish(manifest)
    world.engine.faults = lambda _point: None
    assert mended(world).remaining == 0
    assert_true(world, Oracle().apply(LINES).apply([inline(BIG, text_of("newer"))]))


def test_an_older_change_is_not_overtaken_by_a_repair(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    older = world.begin(inline(SMALL, text_of("newer")).raw)
    damage.remove(SMALL)
    assert mended(world).rewritten == 1
    world.resume(older.run_id)
    assert_true(world, Oracle().apply(LINES).apply([inline(SMALL, text_of("newer"))]))


def test_two_repairs_at_once(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    damage.remove(SMALL)
    far = Host(name="elsewhere", boot_id="another", pid_namespace="pid:[1]")
    other = world.open_engine(parts={"host": far})

    def second(point: str) -> None:
        if point in ("reconcile-intended", "reconcile-deleted", "reconcile-inserted"):
            with compared(other, COLLECTION) as comparison:
                assert (comparison.first_findings(), comparison.being_written) == ([], 1)
            with pytest.raises(RepositoriesHeld, match="index reconcile"):
                repair(comparison_before)

    with compared(other, COLLECTION) as comparison_before:
        world.engine.faults = second
        assert mended(world).remaining == 0
        world.engine.faults = lambda _point: None
    assert_true(world, TRUTH)
