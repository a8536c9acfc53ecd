"""Three nodes of which one lags behind and nobody brings it up to date: what it holds is no proof of anything."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from crash.oracle import COLLECTION, Put, expected_objects
from crash.scenario import BASE, inline, text_of
from crash.within import apply
from faults.nodes import PATIENT, bring_back, has, held_by
from faults.weaviate_world import WeaviateWorld
from waiting import wait_until
from weaviate_server import WeaviateCluster

from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store

pytestmark = pytest.mark.weaviate

STILL = {"ASYNC_REPLICATION_DISABLED": "true"}
"""Nodes do not compare what they hold. A collection cannot be told so: of more than one replica it always has it on
(1.38.11, an update that switches it off changes nothing)."""

NOBODYS = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def kept_cluster(tmp_path_factory: pytest.TempPathFactory, weaviate_binary: None) -> Iterator[WeaviateCluster]:
    """Started once."""
    with WeaviateCluster(tmp_path_factory.mktemp("still"), environment=STILL) as cluster:
        yield cluster


@pytest.fixture
def cluster(kept_cluster: WeaviateCluster) -> WeaviateCluster:
    """Three nodes, all there."""
    bring_back(kept_cluster)
    return kept_cluster


def test_a_node_that_was_away_is_asked_what_the_others_hold(cluster: WeaviateCluster, tmp_path: Path) -> None:
    """Nothing has been copied to it yet: what a quorum holds is read back by it, and removed by it, all the same."""
    first, second, third = cluster.nodes
    before = (inline(("alpha", "before.py"), text_of("before"), "add"),)
    with WeaviateWorld(tmp_path, second.url, **PATIENT) as world:
        apply(world, before)
        first.kill()
        apply(world, BASE)
    written = {
        id_: held.properties["write_hash"]
        for line in BASE
        for effect in line.effects
        if isinstance(effect, Put) and effect.text
        for id_, held in expected_objects(effect.key, effect.text).items()
    }
    bring_back(cluster)
    assert not set(written) & {each.id for each in held_by(first)}, "else this test would prove nothing"
    with closing(open_store(first.url, Settings(**PATIENT))) as store:
        assert store.fetch_hashes(COLLECTION, [*written, NOBODYS]) == written
        gone = list(written)[::2]
        store.delete_objects(COLLECTION, gone)
        assert set(store.fetch_hashes(COLLECTION, list(written))) == set(written) - set(gone)
    for node in (second, third):  # a quorum has removed them; one of these two may not yet
        wait_until(f"Removal from {node.name}", lambda node=node: not set(gone) & {each.id for each in held_by(node)})


@pytest.mark.parametrize("level", ["QUORUM", "ONE"])
def test_a_node_that_holds_what_was_before_is_no_proof(cluster: WeaviateCluster, tmp_path: Path, level: str) -> None:
    """Its old hash is what a filter gives; what is expected and not found there is asked of a quorum, by id."""
    first, second, _ = cluster.nodes
    keys = [("alpha", f"old{number}.py") for number in range(3)]
    before, after = (
        {id_: held.properties["write_hash"] for key in keys for id_, held in expected_objects(key, text).items()}
        for text in (text_of("before"), text_of("after"))
    )
    assert before.keys() == after.keys()
    with WeaviateWorld(tmp_path, second.url, **PATIENT) as world:
        apply(world, tuple(inline(key, text_of("before"), "add") for key in keys))
        wait_until("The old version on the node that will lag", lambda: has(first, before))
        first.kill()
        apply(world, tuple(inline(key, text_of("after"), "modify") for key in keys))
    bring_back(cluster)
    assert has(first, before), "else this test would prove nothing"
    with closing(open_store(first.url, Settings(**PATIENT, weaviate_consistency=level))) as store:
        assert store.fetch_hashes(COLLECTION, list(after)) == before, "else this test would prove nothing"
        assert store.fetch_hashes(COLLECTION, list(after), after) == after
        wrong = dict.fromkeys(after, "never written")
        assert store.fetch_hashes(COLLECTION, list(after), wrong) == after, "what is there, not what is expected"
