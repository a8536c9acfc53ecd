"""One server: its settings, its start and its end."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .binary import binary
from .ports import PortBlock, Ports
from .sockets import sockets_of

READY_WITHIN_S = 90.0
"""Seconds after which a server is taken for hanging; it is ready after about 3."""

_TRIES = 3
"""Ports that are free when they are looked at may be taken when the server wants them; so often others are tried."""

_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weaviate-starter")
"""A server dies with the thread that started it: this one lives as long as the process."""


class PortTaken(RuntimeError):
    """Somebody else has one of the server's ports."""


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
        "CLUSTER_DATA_BIND_PORT": str(ports.data),
        "RAFT_PORT": str(ports.raft),
        "RAFT_INTERNAL_RPC_PORT": str(ports.rpc),
        "RAFT_JOIN": f"{name}:{ports.raft}",
        "RAFT_BOOTSTRAP_EXPECT": "1",
        # a start waits for raft's first election, which waits for this times one to two seconds; 5 by default, for
        # networks that delay (measured: ready after 3 s instead of 6 to 10)
        "RAFT_TIMEOUTS_MULTIPLIER": "1",
        "GRPC_PORT": str(ports.grpc),
        "PROMETHEUS_MONITORING_PORT": str(ports.metrics),
        "GO_PROFILING_PORT": str(ports.profiling),
        "DISABLE_TELEMETRY": "true",
        "GO_PROFILING_DISABLE": "true",
        "DISK_USE_READONLY_PERCENTAGE": "99",
        **(extra or {}),
    }


class WeaviateServer:
    """One server in a folder of its own; it can be killed and started again on the same ports and data.

    It dies with this process, however that ends. ``environment`` adds to its settings, or replaces them. Ports are
    settled when it is ready for the first time: until then ``url`` may change, since others are tried where one is
    taken. Given ``ports`` stay what they are.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "node1",
        environment: dict[str, str] | None = None,
        ports: Ports | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.environment = dict(environment or {})
        self._block = PortBlock() if ports is None else None
        self.ports = ports or self._own_ports()
        self._may_move = ports is None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    def __enter__(self) -> "WeaviateServer":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._block is not None:
            self._block.close()

    def _own_ports(self) -> Ports:
        assert self._block is not None
        return self._block.ports

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
        """Starts it, and waits until it is ready. Raises what ``wait_ready`` raises."""
        for further_tries in reversed(range(_TRIES)):
            self._launch()
            if not wait:
                return
            try:
                self.wait_ready()
                return
            except PortTaken:
                self.kill()
                if not self._may_move or not further_tries:
                    raise
                self._move()

    def _move(self) -> None:
        """Goes to other ports, and forgets what was begun on these."""
        assert self._block is not None
        taken, self._block = self._block, PortBlock()
        taken.close()
        self.ports = self._own_ports()
        shutil.rmtree(self.data)

    def _launch(self) -> None:
        assert not self.is_alive
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._process = _STARTER.submit(
                subprocess.Popen,
                [*_dying_with_us(), str(binary()), "--host=127.0.0.1", f"--port={self.ports.http}", "--scheme=http"],
                env=environment_of(self.data, self.ports, name=self.name, extra=self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who then stop it
            ).result()

    def wait_ready(self, timeout_s: float = READY_WITHIN_S) -> None:
        """Waits until it answers that it is ready.

        Raises ``RuntimeError`` with the end of its log, ``PortTaken`` where another process has one of its ports.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if not self.is_alive or time.monotonic() > deadline:
                self._raise_if_port_taken()
                status = self._process and self._process.poll()
                raise RuntimeError(f"{self.name} is not ready (exit status {status}): {self._told()[-2000:]}")
            time.sleep(0.02)
        # without the port for other nodes it says that it is ready all the same, and logs nothing
        if sys.platform == "linux" and self.ports.data not in {each.local_port for each in sockets_of(self.pid)}:
            raise PortTaken(f"{self.name} finds its port {self.ports.data} taken")
        self._may_move = False

    def is_ready(self) -> bool:
        """Whether it says so."""
        if not self.is_alive:  # who answers on its port then is another
            return False
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.ports.http, timeout=2)) as connection:
            try:
                connection.request("GET", "/v1/.well-known/ready")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def _told(self) -> str:
        """What it has logged since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def _raise_if_port_taken(self) -> None:
        if "address already in use" in self._told():
            raise PortTaken(f"{self.name} finds one of its ports taken; see {self.log}")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough within 20 seconds."""
        self._end(signal.SIGTERM)

    def wait(self) -> int:
        """Waits until it ends by itself; its exit status."""
        assert self._process is not None
        return self._process.wait()

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


def _dying_with_us() -> list[str]:
    """A command line before the server's own: the kernel kills it when the thread that started it ends.

    The shell looks whether that happened already, before the kernel was told. Only Linux has this.
    """
    if shutil.which("setpriv") is None:
        return []
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"', str(os.getpid())]


@contextlib.contextmanager
def running_server(folder: Path, **environment: str) -> Iterator[WeaviateServer]:
    """A server of one's own for the block."""
    with WeaviateServer(folder, environment=environment) as server:
        yield server
