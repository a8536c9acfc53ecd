"""Three nodes that keep every object: what each of them holds, read for itself, and which of them leads."""

import contextlib
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from crash.held import WEAVIATE_TOLERANCE, Held, asking, held
from crash.oracle import COLLECTION, Line, Oracle, assert_collection
from weaviate.classes.config import ConsistencyLevel
from weaviate_server import WeaviateCluster, WeaviateServer

PROMPT = {
    "ASYNC_REPLICATION_FREQUENCY": "5s",
    "ASYNC_REPLICATION_FREQUENCY_WHILE_PROPAGATING": "1s",
    "ASYNC_REPLICATION_PROPAGATION_DELAY": "1ms",
    "ASYNC_REPLICATION_SCHEDULER_WORKERS": "4",
}
"""Nodes compare what they hold as often as the server lets them (by default every 30 s, what is older than 30 s)."""

PATIENT = {
    "weaviate_replication": 3,
    "store_retry_s": 40.0,
    "store_query_timeout_s": 5.0,
    "store_insert_timeout_s": 5.0,
}
"""Three replicas; waits until the nodes that are left have chosen a leader, which takes them up to 20 seconds."""

ALIKE_WITHIN_S = 60.0
"""Seconds after which nodes are taken for never becoming alike; measured: 3 to 10."""


def bring_back(cluster: WeaviateCluster) -> None:
    """Starts the nodes that are dead, and waits until all know of all."""
    for node in cluster.nodes:
        if not node.is_alive:
            node.start(wait=False)
    cluster.wait_healthy()


def held_by(node: WeaviateServer, collection: str = COLLECTION) -> list[Held]:
    """Every object that one node has on its own disk: at consistency ONE a node that has a shard asks no other."""

    def read(client: Any) -> list[Held]:
        handle = client.collections.use(collection).with_consistency_level(ConsistencyLevel.ONE)
        return [held(each) for each in handle.iterator(include_vector=True, cache_size=1000)]

    return asking(node.url, read)


def has(node: WeaviateServer, hashes: Mapping[str, str]) -> bool:
    """Whether one node has every one of these objects, by their write hashes: what a quorum has may reach it later."""
    return hashes.items() <= {each.id: each.properties["write_hash"] for each in held_by(node)}.items()


def is_on(node: WeaviateServer, id_: str, *, asked: WeaviateServer, collection: str = COLLECTION) -> bool:
    """Whether ``node`` has an object, as the node that is ``asked`` hears it from that one alone."""
    status, _ = _get(asked, f"/v1/objects/{collection}/{id_}?node_name={node.name}")
    assert status in (200, 404), status
    return status == 200


def assert_alike(cluster: WeaviateCluster, *changesets: Sequence[Line]) -> float:
    """Within a bounded time every node holds what these changesets make, object by object; how long that took."""
    oracle = Oracle()
    for lines in changesets:
        oracle.apply(lines)
    began = time.monotonic()
    for node in cluster.nodes:
        while True:
            try:
                assert_collection(held_by(node), oracle, tolerance=WEAVIATE_TOLERANCE)
                break
            except AssertionError as error:
                if time.monotonic() - began > ALIKE_WITHIN_S:
                    raise AssertionError(f"on {node.name}: {error}") from error
                time.sleep(0.2)
    return time.monotonic() - began


def leader(cluster: WeaviateCluster) -> WeaviateServer:
    """The node that leads the others in what concerns the schema."""
    _, answer = _get(cluster.nodes[0], "/v1/cluster/statistics")
    (name,) = {each["leaderId"] for each in answer["statistics"]}
    return next(node for node in cluster.nodes if node.name == name)


def _get(node: WeaviateServer, path: str) -> tuple[int, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=90)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body else None
