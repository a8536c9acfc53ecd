"""weaviate-client's connections to the server of a work order, and the collection with the indexes that are asked.

Its initial checks are left out: one of them asks a package registry for the newest version, and nothing here may
contact anything but the loopback interface.
"""

import weaviate
from weaviate.classes.config import DataType, Property, Tokenization
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


def ensure_collection(
    client: weaviate.WeaviateClient, name: str, *, text: str, keys: list[str], unasked: list[str]
) -> None:
    """A collection whose properties are indexed for what is asked of them, where the libraries' own schemas (and
    Weaviate's, for properties that none of them declares) index all of them for everything.

    ``text`` is for search by words, ``keys`` are filtered by as a whole, ``unasked`` are only read.
    """
    if client.collections.exists(name):
        return
    client.collections.create(
        name,
        properties=[
            Property(name=text, data_type=DataType.TEXT, index_filterable=False),
            *(
                Property(name=key, data_type=DataType.TEXT, tokenization=Tokenization.FIELD, index_searchable=False)
                for key in keys
            ),
            *(
                Property(name=each, data_type=DataType.TEXT, index_filterable=False, index_searchable=False)
                for each in unasked
            ),
        ],
    )
