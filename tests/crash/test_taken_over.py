"""Paused past the lease, overtaken by another host, awake again: refused, suspected, and true after the next run."""

import sqlite3
from contextlib import closing

import lancedb
import pytest
from crash.interposed import interpose
from crash.oracle import COLLECTION, Line
from crash.scenario import delete, inline, text_of
from crash.within import apply, assert_applied, expire_leases, resume, run_ids
from sync_world import World

from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.errors import LeaseLost, RepositoriesHeld, StoreUnavailable
from elysia_dagster.settings import DATABASE_NAME
from elysia_dagster.sync.engine import Engine

DOCUMENT, OTHER, ELSEWHERE = ("repo", "doc.py"), ("repo", "other.py"), ("elsewhere", "doc.py")
THIRD = ("repo", "third.py")
OLD, NEW = text_of("old", 5), text_of("new", 2)


def host(name: str) -> Host:
    """Another machine that shares the checkpoint."""
    return Host(name=name, boot_id=f"boot of {name}", pid_namespace="pid:[1]")


def states(world: World) -> dict[str, str]:
    """State by path of the documents in ``repo``."""
    return dict(world.query("SELECT path, state FROM documents WHERE repository = 'repo'"))


@pytest.fixture
def paused(world: World) -> Engine:
    """The engine of a process on another host."""
    return world.open_engine(parts={"host": host("first")})


@pytest.fixture
def overtaking(world: World) -> Engine:
    """The engine of the process that takes over."""
    return world.open_engine(parts={"host": host("second")})


BASE = (inline(DOCUMENT, text_of("base", 3)), inline(OTHER, text_of("other")), inline(ELSEWHERE, text_of("elsewhere")))
OLDER = (inline(DOCUMENT, OLD), delete(OTHER))


def wake_after(world: World, paused: Engine, meanwhile: "object") -> None:
    """Applies ``OLDER``; right before its objects are sent the process is paused, its lease ends, and ``meanwhile``
    happens."""
    store, _ = interpose(paused)

    def pause(name: str) -> None:
        if name == "upsert":
            store.before = lambda _name: None
            expire_leases(world)
            meanwhile()  # type: ignore[operator]

    store.before = pause
    manifest = world.begin(*(line.raw for line in OLDER), engine=paused)
    with pytest.raises(LeaseLost, match="taken over by another process"):
        world.finish(manifest, paused)


def test_the_run_itself_is_taken_over(world: World, paused: Engine, overtaking: Engine) -> None:
    """The same objects are written twice; the next run of the repository sees that all is well."""
    apply(world, BASE)
    wake_after(world, paused, lambda: resume(world, run_ids(world)[-1], overtaking))
    assert set(states(world).values()) == {"suspect"}
    third = (inline(THIRD, text_of("third")),)
    apply(world, third)
    assert_applied(world, BASE, OLDER, third)


@pytest.mark.parametrize(
    "newer",
    [
        pytest.param((inline(DOCUMENT, NEW), inline(OTHER, text_of("other"))), id="written"),
        pytest.param((delete(DOCUMENT), inline(OTHER, text_of("other"))), id="removed"),
    ],
)
def test_a_newer_run_overtakes(world: World, paused: Engine, overtaking: Engine, newer: tuple[Line, ...]) -> None:
    """The late objects stand over newer ones. Nobody calls that settled, and the next run of the repository mends it,
    from what the newer run had read."""
    overtaken_by(world, paused, overtaking, newer)
    apply(world, [OLDER[1]])
    assert all(check.passed for check in world.report.checks)
    world.resume(run_ids(world)[1])
    assert_applied(world, BASE, OLDER, newer, [inline(ELSEWHERE, text_of("third"))], [OLDER[1]])


def test_what_cannot_be_mended_waits_for_its_next_change(world: World, paused: Engine, overtaking: Engine) -> None:
    """Where the newer run's input is gone, the report says what is in doubt, and what names the document next mends
    it, even where it brings the very bytes that the ledger knew."""
    newer = (inline(DOCUMENT, NEW), inline(OTHER, text_of("other")))
    overtaken_by(world, paused, overtaking, newer)
    (world.state / "work" / run_ids(world)[2] / "changeset.jsonl").unlink()
    apply(world, [OLDER[1]])
    assert states(world)["doc.py"] == "suspect", "what is wrong was taken for right"
    assert not all(check.passed for check in world.report.checks), "the report says nothing of it"
    world.resume(run_ids(world)[1])
    apply(world, newer)
    assert_applied(world, BASE, OLDER, newer, [inline(ELSEWHERE, text_of("third"))], [OLDER[1]], newer)


def overtaken_by(world: World, paused: Engine, overtaking: Engine, newer: tuple[Line, ...]) -> None:
    """``OLDER`` is paused and overtaken by a newer run; its document is in doubt, also after a run of another
    repository."""
    apply(world, BASE)

    def overtake() -> None:
        apply(world, newer, overtaking)

    wake_after(world, paused, overtake)
    assert states(world)["doc.py"] == "suspect"
    world.sync(inline(ELSEWHERE, text_of("third")).raw)
    assert states(world)["doc.py"] == "suspect", "what is wrong was taken for right"


def test_an_outage_is_met_by_one_that_was_overtaken(world: World, paused: Engine, overtaking: Engine) -> None:
    """Its connection is closed when it wakes: whether its request got through nobody knows."""
    apply(world, BASE)
    run_id = world.begin(*(line.raw for line in OLDER), engine=paused).run_id
    store, _ = interpose(paused)

    def overtake(name: str) -> None:
        if name == "upsert":
            store.after = lambda _name: None
            expire_leases(world)
            resume(world, run_id, overtaking)
            raise StoreUnavailable("The connection is closed.")

    store.after = overtake
    with pytest.raises(StoreUnavailable):
        resume(world, run_id, paused)
    assert set(states(world).values()) == {"suspect"}
    third = (inline(THIRD, text_of("third")),)
    apply(world, third)
    assert_applied(world, BASE, OLDER, third)


def test_an_outage_is_met_by_a_repair_that_was_overtaken(world: World, paused: Engine, overtaking: Engine) -> None:
    """What it sent may stand over what the process wrote that took over."""
    apply(world, BASE)
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE documents SET state = 'suspect' WHERE repository = 'repo' AND path = 'doc.py'")
    table = lancedb.connect(world.state / "vectors").open_table(COLLECTION)
    table.delete("relative_path = 'doc.py' AND repository = 'repo'")
    third = (inline(THIRD, text_of("third")),)
    run_id = world.begin(*(line.raw for line in third), engine=paused).run_id
    store, _ = interpose(paused)
    sent = []

    def overtake(name: str) -> None:
        if name == "upsert":
            sent.append(name)
            if len(sent) == 2:  # the first is of the run's own batch
                expire_leases(world)
                resume(world, run_id, overtaking)
                assert states(world)["doc.py"] == "present"
                raise StoreUnavailable("The connection is closed.")

    store.after = overtake
    with pytest.raises(StoreUnavailable):
        resume(world, run_id, paused)
    assert states(world)["doc.py"] == "suspect"
    fourth = (delete(THIRD),)
    apply(world, fourth)
    assert_applied(world, BASE, third, fourth)


def test_what_nothing_came_of_is_cleared(world: World, paused: Engine, overtaking: Engine) -> None:
    """Overtaken by a run that removes the document, and dead before its objects were sent: the next run sees that the
    store holds nothing of it."""
    apply(world, BASE)
    wake_after(
        world,
        paused,
        lambda: apply(world, [delete(DOCUMENT)], overtaking),
    )
    table = lancedb.connect(world.state / "vectors").open_table(COLLECTION)
    table.delete("relative_path = 'doc.py' AND repository = 'repo'")
    world.resume(run_ids(world)[1])
    third = (inline(THIRD, text_of("third")),)
    apply(world, third)
    assert_applied(world, BASE, OLDER, (delete(DOCUMENT),), third)


def test_a_run_asks_of_its_own_doubts_and_of_all_at_once(world: World) -> None:
    """There may be many, of repositories that others are at work on."""
    apply(world, BASE)
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE documents SET state = 'suspect'")
    engine = world.open_engine()
    store, _ = interpose(engine)
    asked: list[str] = []
    store.before = asked.append
    third = (inline(THIRD, text_of("third")),)
    apply(world, third, engine)
    assert asked[asked.index("upsert") :].count("fetch_hashes") == 2, "one reads back, one asks for two documents"
    assert set(states(world).values()) == {"present"}
    assert world.query("SELECT state FROM documents WHERE repository = 'elsewhere'") == [("suspect",)]
    fourth = (delete(ELSEWHERE),)
    apply(world, fourth)
    assert_applied(world, BASE, third, fourth)


def test_a_living_lease_of_another_host_is_waited_for(world: World, paused: Engine, overtaking: Engine) -> None:
    store, _ = interpose(paused)
    refused = []

    def try_to_take(name: str) -> None:
        if name == "upsert":
            store.before = lambda _name: None
            with pytest.raises(RepositoriesHeld, match=r"held by .*on first") as error:
                apply(world, [inline(DOCUMENT, NEW)], overtaking)
            refused.append(error.value.exit_code)

    store.before = try_to_take
    apply(world, BASE, paused)
    assert refused == [4]
    world.resume(run_ids(world)[1])
    assert_applied(world, BASE, (inline(DOCUMENT, NEW),))
