"""Real Weaviate servers on loopback, for tests, benchmarks and ``make weaviate``.

As a script: ``get`` builds the server once (``go install``, some minutes) and keeps it outside the tree; ``run FOLDER``
starts one on the ports that clients expect; ``keep`` is what the shared server of a test session runs under.
"""

import contextlib
import fcntl
import http.client
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

VERSION = "1.38.11"
MODULE = "github.com/weaviate/weaviate/cmd/weaviate-server"

READY_WITHIN_S = 90.0
"""Seconds after which a server is taken for hanging; it is ready after about 6."""

_BLOCK = 10
_FIRST_PORT, _LAST_PORT = 18_000, 32_000
"""Below what the kernel gives to outgoing connections (32768 and up)."""


def binary() -> Path:
    """Where the server lies, or would lie."""
    cache = os.environ.get("ELYSIA_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "elysia_dagster" / f"weaviate-server-{VERSION}" / "weaviate-server"


def why_missing() -> str:
    """Why no server can be started, and what to type; '' where one can."""
    return "" if binary().exists() else "no Weaviate server is installed: type `make weaviate-server` (it needs Go)"


def get() -> None:
    """Builds the server, unless it is there. An interrupted build leaves nothing under the name."""
    if binary().exists():
        return
    if shutil.which("go") is None:
        raise SystemExit("The Weaviate server is built with Go: install it, then try again.")
    folder = binary().parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary().exists():
            return
        print(f"Building the Weaviate server {VERSION}: this takes some minutes, once.", flush=True)
        aside = folder / f"build-{os.getpid()}"
        subprocess.run(
            ["go", "install", f"{MODULE}@v{VERSION}"],
            env={**os.environ, "CGO_ENABLED": "0", "GOBIN": str(aside)},
            check=True,
        )
        (aside / "weaviate-server").rename(binary())
        aside.rmdir()


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of one server; the two that hold pairs must be followed by a free one."""

    http: int
    grpc: int
    gossip: int
    raft: int


class PortBlock:
    """Ten neighbouring ports that are free, kept from other test processes by a lock on a file while this one lives."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        folder = Path("/tmp") / f"weaviate-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        firsts = list(range(_FIRST_PORT, _LAST_PORT, _BLOCK))
        random.shuffle(firsts)
        for first in firsts:
            file = (folder / str(first)).open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            if all(_is_free(port) for port in range(first, first + _BLOCK)):
                self._file = file
                self.ports = Ports(http=first, grpc=first + 1, gossip=first + 2, raft=first + 4)
                return
            file.close()
        raise RuntimeError("no block of free ports")

    def close(self) -> None:
        """Lets others have the ports."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def environment_of(
    data: Path, ports: Ports, *, name: str = "node1", extra: dict[str, str] | None = None
) -> dict[str, str]:
    """The settings of a server that is alone, listens on loopback only, and asks nobody outside."""
    return {
        **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR", "LANG")},
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
        "PERSISTENCE_DATA_PATH": str(data),
        "DEFAULT_VECTORIZER_MODULE": "none",
        "CLUSTER_HOSTNAME": name,
        "CLUSTER_IN_LOCALHOST": "true",
        "CLUSTER_BIND_ADDR": "127.0.0.1",
        "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
        "CLUSTER_GOSSIP_BIND_PORT": str(ports.gossip),
        "CLUSTER_DATA_BIND_PORT": str(ports.gossip + 1),
        "RAFT_PORT": str(ports.raft),
        "RAFT_INTERNAL_RPC_PORT": str(ports.raft + 1),
        "RAFT_JOIN": f"{name}:{ports.raft}",
        "RAFT_BOOTSTRAP_EXPECT": "1",
        "GRPC_PORT": str(ports.grpc),
        "DISABLE_TELEMETRY": "true",
        "GO_PROFILING_DISABLE": "true",
        "DISK_USE_READONLY_PERCENTAGE": "99",
        **(extra or {}),
    }


class WeaviateServer:
    """One server on ports and in a folder of its own; it can be killed and started again on both.

    It dies with the thread that started it. ``environment`` adds to its settings, or replaces them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "node1",
        environment: dict[str, str] | None = None,
        block: PortBlock | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.environment = dict(environment or {})
        self._block = block or PortBlock()
        self.ports = self._block.ports
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WeaviateServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._block.close()

    @property
    def http_port(self) -> int:
        """The port of its REST interface."""
        return self.ports.http

    @property
    def grpc_port(self) -> int:
        """The port of its gRPC interface."""
        return self.ports.grpc

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"weaviate:http://127.0.0.1:{self.ports.http}?grpc_port={self.ports.grpc}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Starts it, and waits until it is ready."""
        assert not self.is_alive
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    str(binary()),
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.ports.http),
                    "--scheme",
                    "http",
                ],
                env=environment_of(self.data, self.ports, name=self.name, extra=self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s: float = READY_WITHIN_S) -> None:
        """Waits until it answers that it is ready. Raises ``RuntimeError`` with the end of its log."""
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if not self.is_alive or time.monotonic() > deadline:
                end = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} is not ready ({self._process and self._process.poll()}): {end}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether it says so."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.ports.http, timeout=2)) as connection:
            try:
                connection.request("GET", "/v1/.well-known/ready")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class WeaviateCluster:
    """Three servers that are one store."""

    def __init__(self, folder: Path, *, environment: dict[str, str] | None = None) -> None:
        blocks = [PortBlock() for _ in range(3)]
        join = ",".join(f"node{number}:{block.ports.raft}" for number, block in enumerate(blocks, 1))
        self.nodes = []
        for number, block in enumerate(blocks, 1):
            settings = {"RAFT_BOOTSTRAP_EXPECT": "3", "RAFT_JOIN": join}
            if number > 1:
                settings["CLUSTER_JOIN"] = f"127.0.0.1:{blocks[0].ports.gossip}"
            name = f"node{number}"
            self.nodes.append(
                WeaviateServer(folder / name, name=name, environment=settings | (environment or {}), block=block)
            )

    def __enter__(self) -> "WeaviateCluster":
        for node in self.nodes:
            node.start(wait=False)
        self.wait_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.__exit__()

    @property
    def url(self) -> str:
        """The store's URL, by its first node."""
        return self.nodes[0].url

    def wait_healthy(self, timeout_s: float = READY_WITHIN_S) -> None:
        """Waits until every node sees three healthy ones. A node that joins later has to be ``start``ed before."""
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            node.wait_ready(timeout_s)
            while healthy_nodes(node) != len(self.nodes):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{node.name} sees {healthy_nodes(node)} healthy nodes")
                time.sleep(0.1)


def healthy_nodes(server: WeaviateServer) -> int:
    """How many healthy nodes a server knows."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)) as connection:
        try:
            connection.request("GET", "/v1/nodes")
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0
    return sum(node.get("status") == "HEALTHY" for node in answer.get("nodes") or ())


def shared_server(folder: Path, owner: int) -> str:
    """The URL of the one server that the processes of a test session share; the first that asks starts it.

    It runs under a keeper that stops it when ``owner``, the session's own process, has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "url"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            keeper = subprocess.Popen(
                [sys.executable, __file__, "keep", str(folder), str(owner)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            deadline = time.monotonic() + READY_WITHIN_S
            while not told.exists():
                if keeper.poll() is not None or time.monotonic() > deadline:
                    log = folder / "server.log"
                    raise RuntimeError(f"no server: {log.read_text()[-2000:] if log.exists() else keeper.poll()}")
                time.sleep(0.05)
            keeper.returncode = 0  # it outlives this process, and is nobody's child to wait for
    return told.read_text()


def _keep(folder: Path, owner: int) -> None:
    """Runs the shared server until the session's process has ended."""
    gone = os.pidfd_open(owner)
    with WeaviateServer(folder) as server:
        aside = folder / "url.part"
        aside.write_text(server.url)
        aside.rename(folder / "url")
        select.select([gone], [], [])
    shutil.rmtree(server.data, ignore_errors=True)


def _run(folder: Path) -> None:
    """A server in the foreground, on the ports that clients expect."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    ports = Ports(http=8080, grpc=50051, gossip=7946, raft=8300)
    for port in (ports.http, ports.grpc):
        if not _is_free(port):
            raise SystemExit(f"Port {port} is taken: another server may run already.")
    print(f"Weaviate {VERSION}, data in {data}. Ctrl-C ends it. Use it with:", flush=True)
    print("  --store weaviate:http://127.0.0.1:8080", flush=True)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [str(binary()), "--host", "127.0.0.1", "--port", str(ports.http), "--scheme", "http"],
            env=environment_of(data, ports),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        raise SystemExit(_wait(process))


def _wait(process: "subprocess.Popen[bytes]") -> int:
    def end(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(KeyboardInterrupt):
        return process.wait()
    process.terminate()
    return process.wait()


@contextlib.contextmanager
def running_server(folder: Path, **environment: str) -> Iterator[WeaviateServer]:
    """A server of one's own for the block."""
    with WeaviateServer(folder, environment=environment) as server:
        yield server


def main(arguments: Sequence[str]) -> None:
    """``get``, ``run FOLDER`` or ``keep FOLDER OWNER``."""
    match arguments:
        case ["get"]:
            get()
        case ["run", folder]:
            get()
            _run(Path(folder))
        case ["keep", folder, owner]:
            _keep(Path(folder), int(owner))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
