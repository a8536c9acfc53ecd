"""A server that tests kill, while they wait for something else."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from weaviate_server import WeaviateServer


class MortalServer:
    """A ``WeaviateServer`` that is killed and started by a thread of its own; a context manager.

    A server dies with the thread that started it, and a test must be able to start one while it waits for a run.
    """

    def __init__(self, folder: Path, *, environment: dict[str, str] | None = None) -> None:
        self.server = WeaviateServer(folder, environment=environment)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: list[Future[None]] = []
        self.url = self.server.url
        self.address = f"http://127.0.0.1:{self.server.http_port}"
        """As messages name it."""
        self.http_port = self.server.http_port
        self.grpc_port = self.server.grpc_port

    def __enter__(self) -> "MortalServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()
        self._thread.submit(self.server.__exit__).result()
        self._thread.shutdown()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self.server.pid

    def start(self) -> None:
        """Starts it, unless it runs, and waits until it is ready."""
        self._thread.submit(self._start).result()

    def kill(self) -> None:
        """SIGKILL, now."""
        self.server.kill()

    def kill_and_start(self, *, after_s: float = 0.0) -> None:
        """Kills it after so many seconds, and starts it at once; does not wait for either."""
        self._pending.append(self._thread.submit(self._kill_and_start, after_s))

    def join(self) -> None:
        """Waits until all that was asked for has been done, and the server is ready."""
        for each in self._pending:
            each.result()
        self._pending.clear()

    def _start(self) -> None:
        if not self.server.is_alive:
            self.server.start()

    def _kill_and_start(self, after_s: float) -> None:
        time.sleep(after_s)
        self.server.kill()
        self.server.start()
