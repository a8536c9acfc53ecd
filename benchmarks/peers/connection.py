"""weaviate-client's connections to the server of a work order.

Its initial checks are left out: one of them asks a package registry for the newest version, and nothing here may
contact anything but the loopback interface.
"""

import weaviate
from weaviate.config import AdditionalConfig, Timeout

from benchmarks.peers.orders import Server


def connect(server: Server) -> weaviate.WeaviateClient:
    """A connected client."""
    return weaviate.connect_to_local(
        host=server.host,
        port=server.http_port,
        grpc_port=server.grpc_port,
        skip_init_checks=True,
        additional_config=AdditionalConfig(timeout=Timeout(init=30, query=120, insert=300)),
    )


def async_client(server: Server) -> weaviate.WeaviateAsyncClient:
    """A client to be entered with ``async with``."""
    return weaviate.use_async_with_local(
        host=server.host,
        port=server.http_port,
        grpc_port=server.grpc_port,
        skip_init_checks=True,
        additional_config=AdditionalConfig(timeout=Timeout(init=30, query=120, insert=300)),
    )
