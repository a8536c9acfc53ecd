"""Short ways of the tests that need no process to be killed: they play in a ``World``, within this one."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from crash.oracle import Line, Oracle, assert_everything
from sync_world import World

from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.settings import DATABASE_NAME
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.resume import resume_run


def run_ids(world: World) -> list[str]:
    """All runs, oldest first."""
    return [row[0] for row in world.query("SELECT run_id FROM sync_runs ORDER BY sequence")]


def apply(world: World, lines: Sequence[Line], engine: Engine | None = None, **options: object) -> RunRecord:
    """Syncs a changeset of the model's lines."""
    return world.finish(world.begin(*(line.raw for line in lines), engine=engine, **options), engine)


def resume(world: World, run_id: str, engine: Engine | None = None) -> RunRecord:
    """Goes on with a run by any engine."""
    return world.finish(resume_run(engine or world.engine, run_id), engine)


def expire_leases(world: World) -> None:
    """As if the owners had been silent for long."""
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection, connection:
        connection.execute(
            "UPDATE sync_runs SET lease_expires_at = '2000-01-01T00:00:00.000000+00:00' WHERE lease_owner NOTNULL"
        )


def assert_applied(world: World, *changesets: Sequence[Line]) -> None:
    """The whole state is what these changesets make of it."""
    oracle = Oracle()
    for lines in changesets:
        oracle.apply(lines)
    assert_everything(world.state, oracle, weaviate=world.weaviate)


class Stopped(BaseException):
    """Ends a run at a fault point, within this process."""


def stop_at(world: World, point: str, passing: int = 1) -> None:
    """The engine ends at a point, until ``go_on``."""
    passed = []

    def at(name: str) -> None:
        passed.append(name)
        if name == point and passed.count(point) == passing:
            raise Stopped

    world.engine.faults = at


def go_on(world: World) -> None:
    """The engine passes every point."""
    world.engine.faults = lambda _point: None


def contents(place: Path) -> dict[str, bytes]:
    """Every file below a folder, byte for byte."""
    return {str(each.relative_to(place)): each.read_bytes() for each in place.rglob("*") if each.is_file()}
