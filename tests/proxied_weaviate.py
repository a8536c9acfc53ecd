"""A Weaviate server behind proxies that can do to its connections what networks do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tcp_proxy import TcpProxy
from weaviate_server import WeaviateServer


@dataclass(frozen=True, kw_only=True)
class ProxiedServer:
    """A server as it is reached through two proxies; ``url`` is the store's."""

    http: TcpProxy
    grpc: TcpProxy
    url: str


@contextmanager
def proxied(server: WeaviateServer) -> Iterator[ProxiedServer]:
    """Two proxies before a server that has been started."""
    with TcpProxy(server.http_port) as http, TcpProxy(server.grpc_port) as grpc:
        url = f"weaviate:http://127.0.0.1:{http.port}?grpc_port={grpc.port}"
        yield ProxiedServer(http=http, grpc=grpc, url=url)
