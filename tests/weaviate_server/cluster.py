"""Three servers that are one store."""

import contextlib
import http.client
import json
import shutil
import time
from pathlib import Path

from .ports import PortBlock
from .server import _TRIES, READY_WITHIN_S, PortTaken, WeaviateServer

NODES = 3

_PATIENT = {"RAFT_TIMEOUTS_MULTIPLIER": "2"}
"""A leader that a busy machine keeps from its followers for half a second is still the leader: for a second."""


class WeaviateCluster:
    """Three nodes, in folders of their own; each of ``nodes`` can be killed, and started again with ``start``.

    ``environment`` adds to the settings of all. They are made, on ports that are free, when the cluster is entered or
    ``start``ed first: where a port is taken meanwhile, all three are made anew on others.
    """

    def __init__(self, folder: Path, *, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = dict(environment or {})
        self._blocks: list[PortBlock] = []
        self.nodes: list[WeaviateServer] = []
        self._make()
        self._may_move = True

    def __enter__(self) -> "WeaviateCluster":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for block in self._blocks:
            block.close()

    @property
    def url(self) -> str:
        """The store's URL, by its first node."""
        return self.nodes[0].url

    def start(self) -> None:
        """Starts the nodes that do not run, and waits until all know of all. Raises what ``wait_healthy`` raises."""
        for further_tries in reversed(range(_TRIES)):
            for node in self.nodes:
                if not node.is_alive:
                    node.start(wait=False)
            try:
                self.wait_healthy()
                self._may_move = False
                self._let_each_find_the_others()
                return
            except PortTaken:
                if not self._may_move or not further_tries:
                    raise
                self._move()

    def stop(self) -> None:
        """Stops all, one after another."""
        for node in self.nodes:
            node.stop()

    def wait_healthy(self, timeout_s: float = READY_WITHIN_S) -> None:
        """Waits until every node is ready and knows three healthy ones. One that is dead must be ``start``ed before.

        Raises ``RuntimeError`` with what a node knows, or with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            node.wait_ready(max(deadline - time.monotonic(), 0))
            while (healthy := healthy_nodes(node)) != NODES:
                if not node.is_alive or time.monotonic() > deadline:
                    raise RuntimeError(f"{node.name} knows of {healthy} healthy nodes; see {node.log}")
                time.sleep(0.05)

    def _make(self) -> None:
        self._blocks = [PortBlock() for _ in range(NODES)]
        ports = [block.ports for block in self._blocks]
        join = ",".join(f"node{number}:{each.raft}" for number, each in enumerate(ports, 1))
        settings = {"RAFT_BOOTSTRAP_EXPECT": str(NODES), "RAFT_JOIN": join, **_PATIENT, **self.environment}
        self.nodes = [
            WeaviateServer(self.folder / f"node{number}", name=f"node{number}", environment=settings, ports=each)
            for number, each in enumerate(ports, 1)
        ]
        for node in self.nodes[1:]:
            node.environment["CLUSTER_JOIN"] = _gossip(self.nodes[:1])

    def _let_each_find_the_others(self) -> None:
        """At first two nodes look for the first, which is there. Later any may be dead: the first would be found by
        nobody for 10 to 20 seconds, and the others by nobody without it."""
        for node in self.nodes:
            node.environment["CLUSTER_JOIN"] = _gossip([other for other in self.nodes if other is not node])

    def _move(self) -> None:
        """All nodes anew, on other ports: each has written down those of the others."""
        for node in self.nodes:
            node.kill()
            shutil.rmtree(node.data, ignore_errors=True)
        taken = self._blocks
        self._make()
        for block in taken:
            block.close()


def _gossip(nodes: list[WeaviateServer]) -> str:
    return ",".join(f"127.0.0.1:{node.ports.gossip}" for node in nodes)


def healthy_nodes(server: WeaviateServer) -> int:
    """How many healthy nodes a server knows; 0 where it does not answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)) as connection:
        try:
            connection.request("GET", "/v1/nodes")
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0
    return sum(node.get("status") == "HEALTHY" for node in answer.get("nodes") or ())
