"""A TCP proxy on loopback that does, when it is told, what networks do to a connection."""

import asyncio
import math
import socket
import struct
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from http2_answers import PREFACE, AnswerBytes
from weaviate_server import PortBlock

_READ = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""Linger for no time: closing sends RST, and drops what was not sent."""

_APART_S = 0.05
"""Seconds between the last byte of an answer that is cut and the RST. Where the two come at once grpcio (1.78.2) often
reads the one and never sees the other: then it waits for the call's deadline. A ``reset`` may still show that."""

_TICK_S = 0.05
"""Seconds that a slow proxy waits between two pieces."""


@dataclass(eq=False)
class _Connection:
    client: socket.socket
    server: socket.socket
    task: "asyncio.Task[None] | None" = None
    answer: AnswerBytes = field(default_factory=lambda: AnswerBytes(http2=False))
    spoken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client's first bytes have said which protocol this is, and so what an answer is."""
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where it is to be reset."""


class TcpProxy:
    """Forwards connections to ``target_port`` of 127.0.0.1; a context manager with a thread of its own.

    Its methods can be called from any thread, also from an action of ``on_request_bytes``; when one returns it is in
    force. They last until ``release``; what they do to a connection they do to those that come later too.

    A connection is accepted before the target is asked: where the target is dead, the client's is reset. The client
    must be the first to speak, as it is in HTTP. ``connections`` accepted, ``request_bytes`` and ``answer_bytes``
    forwarded, and answers ``cut`` are counted from the beginning.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._block = PortBlock()
        self.port = self._block.first
        self.connections = self.request_bytes = self.answer_bytes = self.cut = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"tcp-proxy-{self.port}", daemon=True)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._open: set[_Connection] = set()
        self._requests_pass = asyncio.Event()
        self._answers_pass = asyncio.Event()
        self._rate = math.inf
        self._cut_after = 0
        self._cuts_left = 0
        self._answer_left = 0
        self._armed: tuple[int, Callable[[], object]] | None = None
        self._armed_one = asyncio.Lock()
        self._action_failed: BaseException | None = None

    def __enter__(self) -> "TcpProxy":
        self._thread.start()
        self._run(self._listen)
        self.release()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._block.close()
        if self._action_failed is not None:
            raise self._action_failed

    @property
    def open_connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    def release(self) -> None:
        """Ends ``reset(refuse=True)``, ``stall``, ``hold_answers``, ``slow``, ``cut_answer`` and what is armed."""
        self._run(self._release)

    def reset(self, *, refuse: bool = False) -> None:
        """Sends RST to both ends of every connection; with ``refuse`` later ones are refused until ``release``."""
        self._run(lambda: self._reset(refuse=refuse))

    def stall(self) -> None:
        """Accepts connections and forwards nothing, in no direction."""

        def stall() -> None:
            self._requests_pass.clear()
            self._answers_pass.clear()

        self._run(stall)

    def hold_answers(self) -> None:
        """Forwards requests, and keeps the answers until ``release`` (or loses them, in a ``reset``)."""
        self._run(self._answers_pass.clear)

    def slow(self, bytes_per_second: float) -> None:
        """Forwards so many bytes a second in each direction of a connection."""
        self._run(lambda: self._slow(bytes_per_second))

    def cut_answer(self, after_bytes: int = 0, *, times: int = 1) -> None:
        """Lets requests through, forwards so many bytes of what is answered from now on, then resets that connection.

        The target has answered by then: what was asked is done, and the client does not know. On HTTP/2, and so gRPC,
        only headers and data are counted, since the other frames answer nothing. Done ``times`` times.
        """
        self._run(lambda: self._cut(after_bytes, times))

    def on_request_bytes(self, count: int, action: Callable[[], object]) -> None:
        """Does something once, when exactly so many bytes of requests have been forwarded from now on.

        Nothing else is forwarded while it is done, in the proxy's thread. It may be one of these methods, or any
        function that does not wait for a request through this proxy. What it raises is raised when the proxy is closed.
        """

        def arm() -> None:
            self._armed = (count, action)

        self._run(arm)

    # what follows is done in the thread of the loop alone

    def _run(self, command: Callable[[], object]) -> None:
        if threading.current_thread() is self._thread:
            command()
            return

        async def run() -> None:
            command()

        self._wait(run())

    def _wait(self, command: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(command, self._loop)
        future.result(30)

    def _listen(self) -> None:
        if self._listener is not None:
            return
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._accepting = self._loop.create_task(self._accept(self._listener))

    def _release(self) -> None:
        self._requests_pass.set()
        self._answers_pass.set()
        self._rate = math.inf
        self._cuts_left = 0
        self._armed = None
        self._listen()

    def _reset(self, *, refuse: bool) -> None:
        for connection in self._open:
            connection.broken.set()
        if refuse and self._listener is not None and self._accepting is not None:
            self._loop.remove_reader(self._listener)  # before the number of its descriptor is another's
            self._accepting.cancel()
            self._listener.close()
            self._listener = None

    def _slow(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second

    def _cut(self, after_bytes: int, times: int) -> None:
        self._answer_left = self._cut_after = after_bytes
        self._cuts_left = times

    async def _close(self) -> None:
        self._reset(refuse=True)
        tasks = [connection.task for connection in self._open if connection.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.connections += 1
            connection = _Connection(client=client, server=socket.socket())
            for each in (connection.client, connection.server):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            connection.task = self._loop.create_task(self._serve(connection))

    async def _serve(self, connection: _Connection) -> None:
        """Forwards both ways until both have ended, or one is broken; what breaks one end is done to the other."""
        broken = self._loop.create_task(connection.broken.wait())
        ways: set[asyncio.Task[Any]] = set()
        try:
            await self._loop.sock_connect(connection.server, ("127.0.0.1", self.target_port))
            ways = {
                self._loop.create_task(self._requests(connection)),
                self._loop.create_task(self._answers(connection)),
            }
            waiting = set(ways)
            while waiting and not connection.broken.is_set():
                done, _ = await asyncio.wait({*waiting, broken}, return_when=asyncio.FIRST_COMPLETED)
                waiting -= done
                for each in done - {broken}:
                    each.result()
        except OSError:
            connection.broken.set()
        finally:
            for task in (*ways, broken):
                task.cancel()
            await asyncio.gather(*ways, broken, return_exceptions=True)
            await asyncio.sleep(0)  # the loop lets go of the sockets
            for end in (connection.client, connection.server):
                if connection.broken.is_set():
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.close()
            self._open.discard(connection)

    async def _requests(self, connection: _Connection) -> None:
        while data := await self._loop.sock_recv(connection.client, _READ):
            if not connection.spoken.is_set():
                connection.answer = AnswerBytes(http2=data.startswith(PREFACE[: len(data)]))
                connection.spoken.set()
            while data:
                await self._requests_pass.wait()
                if self._armed is None:
                    piece, data = data, b""
                    await self._send(connection, connection.server, piece)
                else:
                    data = await self._send_until_armed(connection, data)
        await self._requests_pass.wait()
        connection.server.shutdown(socket.SHUT_WR)

    async def _send_until_armed(self, connection: _Connection, data: bytes) -> bytes:
        """Sends up to the armed byte, and acts there; gives what is left."""
        async with self._armed_one:
            if self._armed is None:  # another connection was first
                return data
            count, action = self._armed
            piece, rest = data[:count], data[count:]
            await self._send(connection, connection.server, piece)
            self._armed = (count - len(piece), action)
            if len(piece) == count:
                self._armed = None
                try:
                    action()
                except BaseException as error:
                    self._action_failed = error
            return rest

    async def _answers(self, connection: _Connection) -> None:
        while data := await self._loop.sock_recv(connection.server, _READ):
            await connection.spoken.wait()
            await self._answers_pass.wait()
            limit = self._answer_left if self._cuts_left else sys.maxsize
            passed, answered = connection.answer.split(data, limit)
            self._answer_left -= answered
            is_cut = passed < len(data)
            if is_cut:
                self._cuts_left -= 1
                self._answer_left = self._cut_after
            await self._send(connection, connection.client, data[:passed])
            if is_cut:
                await asyncio.sleep(_APART_S)
                self.cut += 1
                connection.broken.set()
                return
        await self._answers_pass.wait()
        connection.client.shutdown(socket.SHUT_WR)

    async def _send(self, connection: _Connection, to: socket.socket, data: bytes) -> None:
        """Sends at the rate that is in force, while nothing is held; counts before the receiver can know."""
        is_answer = to is connection.client
        while data:
            await (self._answers_pass if is_answer else self._requests_pass).wait()
            if connection.broken.is_set():
                raise ConnectionResetError
            limit = len(data) if self._rate == math.inf else max(1, int(self._rate * _TICK_S))
            piece, data = data[:limit], data[limit:]
            if is_answer:
                self.answer_bytes += len(piece)
            else:
                self.request_bytes += len(piece)
            await self._loop.sock_sendall(to, piece)
            if self._rate != math.inf:
                await asyncio.sleep(len(piece) / self._rate)
