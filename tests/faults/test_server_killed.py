"""The server dies by SIGKILL in the middle of a run and is started again in time: the run goes on by itself.

Whatever the moment, nobody is charged, and the collection is the truth.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.interposed import interpose
from crash.scenario import BASE, BATCH_SIZE, NEWER, delete, inline
from crash.within import apply, resume, run_ids
from faults.mortal import MortalServer
from faults.weaviate_world import LARGE, WeaviateWorld, assert_searchable, assert_truth, prose

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import RunStatus, StoreObject

pytestmark = pytest.mark.weaviate

BUDGET_S = 120.0
"""Seconds that a store which does not answer is tried again: many times what a start takes."""


@pytest.fixture
def world(server: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world whose store is waited for."""
    with WeaviateWorld(tmp_path, server.url, store_retry_s=BUDGET_S) as opened:
        yield opened


@pytest.mark.parametrize("moment", ["run-opened:1", "intended:2", "inserted:1", "verified:2", "before-finalize:1"])
def test_killed_between_two_side_effects(world: WeaviateWorld, server: MortalServer, moment: str) -> None:
    apply(world, BASE)
    passed: list[str] = []

    def at(point: str) -> None:
        passed.append(point)
        if moment == f"{point}:{passed.count(point)}":
            server.kill()
            server.kill_and_start()

    world.engine.faults = at
    run = apply(world, NEWER, batch_size=BATCH_SIZE)
    point, _, times = moment.partition(":")
    assert passed.count(point) >= int(times), f"{moment} was not reached: {passed}"
    server.join()
    assert_nobody_charged(world)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.COMPLETED, len(NEWER), 0)
    assert_truth(world, BASE, NEWER)


def test_killed_in_the_middle_of_inserts(world: WeaviateWorld, server: MortalServer) -> None:
    kill_in_the_middle_of_inserts(world, server)


def test_killed_in_the_middle_of_inserts_where_vectors_are_indexed_apart(tmp_path: Path) -> None:
    """The server writes its vector index in its own time, and loses the newest of it (1.38.11: up to 130 of 200 objects
    that it had acknowledged, whole but for that). With ``ASYNC_INDEXING`` it completes the index after its start."""
    environment = {"ASYNC_INDEXING": "true"}
    with (
        MortalServer(tmp_path / "server", environment=environment) as server,
        WeaviateWorld(tmp_path, server.url, store_retry_s=BUDGET_S) as world,
    ):
        kill_in_the_middle_of_inserts(world, server)
        assert_searchable(server.url)


def kill_in_the_middle_of_inserts(world: WeaviateWorld, server: MortalServer) -> None:
    """Kills it some milliseconds into a request of 200 objects, at a different place each time."""
    store, _ = interpose(world.engine)
    delays_s = iter((0.02, 0.08))

    def before(name: str) -> None:
        delay_s = next(delays_s, None) if name == "upsert" else None
        if delay_s is not None:
            server.kill_and_start(after_s=delay_s)

    store.before = before
    run = apply(world, LARGE, batch_size=40)
    assert next(delays_s, None) is None
    server.join()
    assert_nobody_charged(world)
    assert run.status is RunStatus.COMPLETED
    assert_truth(world, LARGE)


def test_a_newer_version_of_what_was_interrupted_is_found(server: MortalServer, tmp_path: Path) -> None:
    """The server dies in an insert, and the run with it; a newer changeset comes first, whose documents begin with the
    same chunks. Written over, those with the same vector would keep the place in the vector index that they lack
    (1.38.11: 44 to 115 of 240 objects)."""
    older = tuple(inline(("repo", f"d{n}.txt"), prose(n)) for n in range(40))
    newer = tuple(inline(("repo", f"d{n}.txt"), prose(n) + "one more line\n") for n in range(40))
    with WeaviateWorld(tmp_path, server.url, store_retry_s=0.5) as world:
        store, _ = interpose(world.engine)
        once = iter((True,))

        def before(name: str) -> None:
            if name == "upsert" and next(once, False):
                server.kill_and_start(after_s=0.08)

        store.before = before
        with pytest.raises(StoreUnavailable):
            apply(world, older, batch_size=len(older))
        server.join()
        run = apply(world, newer, batch_size=len(newer))
        assert run.status is RunStatus.COMPLETED
        assert_searchable(server.url)


def test_killed_while_it_takes_what_is_mended(server: MortalServer, tmp_path: Path) -> None:
    """What an overtaken process sent late is mended at the end of the next run, and the server dies in that: objects
    with the right hash that the vector index lacks (1.38.11: 82 to 167 of 201) are no proof.
    Nothing else is inserted: a server may lose the places of what it has just acknowledged, whatever is done."""
    first, second = (
        tuple(inline(("repo", f"d{n}.txt"), " ".join(prose(seed + n).split()[:60])) for n in range(200))
        for seed in (1_000, 0)
    )
    with WeaviateWorld(tmp_path, server.url, store_retry_s=0.5) as world:
        store, _ = interpose(world.engine)
        late: list[StoreObject] = []
        store.reject = late.append  # which rejects none
        apply(world, first)
        store.reject = lambda _object: None
        apply(world, second)
        for start in range(0, len(late), 100):
            store.store.upsert(world.collection, late[start : start + 100])
        world.query("UPDATE documents SET state = 'suspect'")
        once = iter((True,))

        def before(name: str) -> None:
            if name == "upsert" and next(once, False):
                server.kill_and_start(after_s=0.09)

        store.before = before
        with pytest.raises(StoreUnavailable):
            apply(world, (delete(("repo", "never.txt")),))
        server.join()
        assert resume(world, run_ids(world)[-1]).status is RunStatus.COMPLETED
        assert world.query("SELECT path FROM documents WHERE state NOT IN ('present', 'absent')") == []
        assert_searchable(server.url)


def assert_nobody_charged(world: WeaviateWorld) -> None:
    assert world.query("SELECT * FROM failed_lines") == [], "an outage was charged to a line"
