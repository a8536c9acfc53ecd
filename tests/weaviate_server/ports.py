"""Ports that are free, and stay free from other test processes."""

import fcntl
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_BLOCK = 10
_FIRST, _LAST = 18_000, 32_000
"""Below what the kernel gives to outgoing connections (32768 and up)."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of one server. The server takes it for granted that ``data`` is ``gossip`` plus one, and so ``rpc``."""

    http: int
    grpc: int
    gossip: int
    raft: int
    metrics: int
    """Listens only with PROMETHEUS_MONITORING_ENABLED."""
    profiling: int
    """Listens only without GO_PROFILING_DISABLE."""

    @property
    def data(self) -> int:
        """What nodes ask each other for."""
        return self.gossip + 1

    @property
    def rpc(self) -> int:
        """What the nodes' raft asks each other for."""
        return self.raft + 1

    def taken(self) -> list[int]:
        """Those that a server always listens on, and somebody else does."""
        always = (self.http, self.grpc, self.gossip, self.data, self.raft, self.rpc)
        return [port for port in always if not is_free(port)]


class PortBlock:
    """Ten neighbouring free ports, kept from other test processes by a lock on a file while this one lives."""

    def __init__(self) -> None:
        folder = Path("/tmp") / f"weaviate-ports-{os.getuid()}"  # one for all, wherever a session's TMPDIR is
        folder.mkdir(exist_ok=True)
        firsts = list(range(_FIRST, _LAST, _BLOCK))
        random.SystemRandom().shuffle(firsts)  # not by a seed that a test has set: two workers would agree
        for first in firsts:
            self._file: IO[str] | None = (folder / str(first)).open("w")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.close()
                continue
            self.first = first
            self.ports = Ports(
                http=first, grpc=first + 1, gossip=first + 2, raft=first + 4, metrics=first + 6, profiling=first + 7
            )
            if all(is_free(port) for port in range(first, first + _BLOCK)):
                return
            self.close()
        raise RuntimeError("no block of free ports")

    def close(self) -> None:
        """Lets others have the ports."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_free(port: int) -> bool:
    """Whether nobody has it on loopback; gossip also wants it for datagrams."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as probe:
            if kind is socket.SOCK_STREAM:  # what a closed connection left behind does not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
