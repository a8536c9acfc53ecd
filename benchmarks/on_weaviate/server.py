"""A Weaviate server of a benchmark's own, that tells how many requests it has answered."""

import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.peers.orders import Server
from tests import weaviate_server
from tests.weaviate_server import WeaviateServer

_ANSWERED = re.compile(
    r"^weaviate_(?:grpc_server|http)_request_duration_seconds_count\{(.*)\} (\S+)$",
    re.MULTILINE,
)
_METHOD = re.compile(r'(?:method|route)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class MeasuredServer:
    """A server that counts (``PROMETHEUS_MONITORING_ENABLED``), on loopback."""

    running: WeaviateServer

    @property
    def address(self) -> Server:
        """As the contenders take it."""
        return Server(host="127.0.0.1", http_port=self.running.http_port, grpc_port=self.running.grpc_port)

    def answered(self) -> Counter[str]:
        """Requests of clients answered so far, by gRPC method, or HTTP method and route: its own count.

        Left out is what nodes ask each other and who asks whether it is ready.
        """
        url = f"http://127.0.0.1:{self.running.ports.metrics}/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=30) as answer:
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for labels, count in _ANSWERED.findall(text):
            name = " ".join(_METHOD.findall(labels))
            if ".cluster." not in labels and "/.well-known/" not in name and "/replicas/" not in name:
                found[name] += round(float(count))
        return found


@contextmanager
def measured_server(folder: Path) -> Iterator[MeasuredServer]:
    """A new server for the block. Raises ``FileNotFoundError`` where it is not built."""
    if missing := weaviate_server.why_missing():
        raise FileNotFoundError(missing)
    with WeaviateServer(folder / "server", environment={"PROMETHEUS_MONITORING_ENABLED": "true"}) as running:
        yield MeasuredServer(running=running)


def not_measured(row: str, why: object) -> Figure:
    """What is said where there is no server."""
    return Figure(row=row, what="not measured", measured=str(why), must_reach="a Weaviate server", reached=None)
