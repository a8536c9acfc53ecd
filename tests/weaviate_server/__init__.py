"""Real Weaviate servers on loopback, for tests, benchmarks and ``make weaviate``; ``python -m`` lists what it does."""

from .binary import VERSION, binary, get, why_missing
from .cluster import WeaviateCluster, healthy_nodes
from .ports import PortBlock, Ports
from .server import PortTaken, WeaviateServer, environment_of, running_server
from .shared import end_shared_server, shared_server
from .sockets import is_loopback, sockets_of

__all__ = [
    "VERSION",
    "PortBlock",
    "PortTaken",
    "Ports",
    "WeaviateCluster",
    "WeaviateServer",
    "binary",
    "end_shared_server",
    "environment_of",
    "get",
    "healthy_nodes",
    "is_loopback",
    "running_server",
    "shared_server",
    "sockets_of",
    "why_missing",
]
