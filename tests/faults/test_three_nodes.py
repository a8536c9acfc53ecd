"""Three nodes that each hold everything: one dies, then two; in the end every node holds the truth and nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.held import asking
from crash.oracle import COLLECTION, expected_objects
from crash.scenario import BASE, BATCH_SIZE, GONE, NEWER, READD, delete, inline, text_of
from crash.within import apply, run_ids
from faults.nodes import PATIENT, PROMPT, assert_alike, bring_back, is_on, leader
from faults.weaviate_world import WeaviateWorld, assert_truth
from weaviate.classes.config import ConsistencyLevel
from weaviate_server import WeaviateCluster, WeaviateServer

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import upsert
from elysia_dagster.sync.engine import Engine

pytestmark = pytest.mark.weaviate

UNPINNED = "Unpinned"
"""A collection whose replicas settle no conflict: what would become of removals without the strategy that is pinned."""


@pytest.fixture(scope="module")
def kept_cluster(tmp_path_factory: pytest.TempPathFactory, weaviate_binary: None) -> Iterator[WeaviateCluster]:
    """Started once; a node that a test kills is started by the next that asks for the cluster."""
    with WeaviateCluster(tmp_path_factory.mktemp("cluster"), environment=PROMPT) as cluster:
        yield cluster


@pytest.fixture
def cluster(kept_cluster: WeaviateCluster) -> WeaviateCluster:
    """Three nodes, all there."""
    bring_back(kept_cluster)
    return kept_cluster


@pytest.fixture
def world(cluster: WeaviateCluster, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world whose collection has three replicas; it asks the first node."""
    with WeaviateWorld(tmp_path, cluster.url, **PATIENT) as opened:
        yield opened


def at_passing(engine: Engine, **acts: Callable[[], None]) -> list[str]:
    """Acts once at each of some moments (``<point>_<n>``); gives the points that are passed."""
    passed: list[str] = []

    def at(point: str) -> None:
        passed.append(point)
        acts.get(f"{point}_{passed.count(point)}", lambda: None)()

    engine.faults = at
    return passed


def test_one_node_dies_in_the_middle_of_a_run(world: WeaviateWorld, cluster: WeaviateCluster) -> None:
    """The run goes on. What was removed meanwhile does not come back with the node, what came back does not go."""
    first, _, third = cluster.nodes
    apply(world, BASE)
    assert replication(world) == (3, True, "TimeBasedResolution")
    assert_alike(cluster, BASE)
    leave_unpinned(first)
    at_passing(world.engine, inserted_1=third.kill)
    lines = (*NEWER, delete(GONE))
    run = apply(world, lines, batch_size=BATCH_SIZE)
    assert run.status is RunStatus.COMPLETED
    assert not third.is_alive
    assert_truth(world, BASE, lines)

    # removed and added again while the node is away: the same ids, newer than their removal
    removed = (delete(READD), delete(("beta", "same.py")))
    added = (inline(READD, text_of("readd", 3), "add"),)
    assert apply(world, removed).status is RunStatus.COMPLETED
    assert apply(world, added).status is RunStatus.COMPLETED
    remove_from_unpinned(first)
    bring_back(cluster)
    assert_alike(cluster, BASE, lines, removed, added)
    gone = [*expected_objects(GONE, text_of("gone", 2)), *expected_objects(("beta", "same.py"), text_of("same"))]
    for node in cluster.nodes:
        assert not [id_ for id_ in gone if is_on(node, id_, asked=first)], f"came back on {node.name}"
    assert is_on(third, UNPINNED_ID, asked=first, collection=UNPINNED), "else this test would prove nothing"
    assert_truth(world, BASE, lines, removed, added)


def test_two_nodes_die_in_the_middle_of_a_run(
    world: WeaviateWorld, cluster: WeaviateCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage, for as long as they are away; nothing is charged; then the same command completes the same run."""
    monkeypatch.setattr(upsert, "BATCHES_AT_ONCE", 0)  # between two batches is a moment then
    apply(world, BASE)
    leading = leader(cluster)
    first_victim, second_victim = sorted(cluster.nodes[1:], key=lambda node: node is leading)
    impatient = world.open_engine(store_retry_s=1.0)
    passed = at_passing(impatient, inserted_1=first_victim.kill, embedded_2=second_victim.kill)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as error:
            apply(world, NEWER, impatient, batch_size=BATCH_SIZE)
        assert error.value.exit_code == 3
        assert world.query("SELECT * FROM failed_lines") == [], "an outage was charged to a line"
        latest = world.query("SELECT status, lease_owner FROM sync_runs ORDER BY sequence DESC LIMIT 1")
        assert latest == [("running", None)]
    assert passed.count("settled") == 1, "what two of three nodes hold is settled, no more"
    bring_back(cluster)
    run = apply(world, NEWER, batch_size=BATCH_SIZE)
    assert (run.run_id, run.status) == (run_ids(world)[1], RunStatus.COMPLETED), "the same run goes on"
    assert_alike(cluster, BASE, NEWER)
    assert_truth(world, BASE, NEWER)


def test_the_leader_dies_in_the_middle_of_a_run(cluster: WeaviateCluster, tmp_path: Path) -> None:
    """The schema has no leader until the others have chosen one: the run waits for that, and goes on."""
    leading = leader(cluster)
    asked = next(node for node in cluster.nodes if node is not leading)
    with WeaviateWorld(tmp_path, asked.url, **PATIENT) as world:
        apply(world, BASE)
        at_passing(world.engine, intended_2=leading.kill)
        run = apply(world, NEWER, batch_size=BATCH_SIZE)
        assert run.status is RunStatus.COMPLETED, world.failures(run)
        bring_back(cluster)
        assert_alike(cluster, BASE, NEWER)
        assert_truth(world, BASE, NEWER)


UNPINNED_ID = "00000000-0000-0000-0000-000000000001"


def leave_unpinned(node: WeaviateServer) -> None:
    """Another collection with one object, on every node."""

    def make(client: Any) -> None:
        client.collections.delete(UNPINNED)
        client.collections.create_from_dict(
            {
                "class": UNPINNED,
                "replicationConfig": {
                    "factor": 3,
                    "asyncEnabled": True,
                    "deletionStrategy": "NoAutomatedResolution",
                },
            }
        )
        made = client.collections.use(UNPINNED).with_consistency_level(ConsistencyLevel.ALL)
        made.data.insert({"name": "removed while a node is away"}, uuid=UNPINNED_ID)

    asking(node.url, make)


def remove_from_unpinned(node: WeaviateServer) -> None:
    """Removes that object, where there are nodes."""
    asking(node.url, lambda client: client.collections.use(UNPINNED).data.delete_by_id(UNPINNED_ID))


def replication(world: WeaviateWorld) -> tuple[int, bool, str]:
    """Factor, async replication and deletion strategy, as the server has them."""

    def read(client: Any) -> tuple[int, bool, str]:
        config = client.collections.use(COLLECTION).config.get().replication_config
        return config.factor, config.async_enabled, config.deletion_strategy.value

    return asking(world.weaviate, read)
