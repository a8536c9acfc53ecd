"""The proxy by which tests break connections: each thing it does, seen by plain HTTP requests, and then by gRPC."""

import http.client
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import weaviate
from http2_answers import AnswerBytes
from proxied_weaviate import proxied
from tcp_proxy import TcpProxy
from waiting import wait_until
from weaviate_server import WeaviateServer

BODY = b"x" * 100_000
"""What is sent; the same comes back."""

GONE = (ConnectionError, http.client.HTTPException)


class Echo(ThreadingHTTPServer):
    """Answers with what it was sent, and keeps count of the requests that it has read in full."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.done = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that is broken is what these tests are about."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) == int(self.headers["Content-Length"]):
            self.server.done += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TcpProxy]:
    with TcpProxy(echo.server_address[1]) as opened:
        yield opened


def post(proxy: TcpProxy, body: bytes = BODY) -> bytes:
    """The answer to one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    try:
        connection.request("POST", "/", body)
        return connection.getresponse().read()
    finally:
        connection.close()


Begin = Callable[[], Future[bytes]]


@pytest.fixture
def begin(proxy: TcpProxy) -> Iterator[Begin]:
    """Posts in another thread."""
    with ThreadPoolExecutor() as pool:
        yield lambda: pool.submit(post, proxy)
        proxy.reset()  # whoever still waits


def test_it_forwards_and_counts(proxy: TcpProxy, echo: Echo) -> None:
    assert [post(proxy) for _ in range(3)] == [BODY] * 3
    assert (proxy.connections, echo.done) == (3, 3)
    assert proxy.request_bytes > 3 * len(BODY)
    assert proxy.answer_bytes > 3 * len(BODY)
    wait_until("The end of the connections", lambda: proxy.open_connections == 0, every_s=0.005)


def test_reset_breaks_what_is_open_and_no_more(proxy: TcpProxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("POST", "/", BODY)
    assert connection.getresponse().read() == BODY
    proxy.reset()
    assert connection.sock is not None
    with pytest.raises(ConnectionResetError):
        connection.sock.recv(1)
    connection.close()
    assert post(proxy) == BODY


def test_refused_until_released(proxy: TcpProxy) -> None:
    proxy.reset(refuse=True)
    with pytest.raises(ConnectionRefusedError):
        post(proxy)
    proxy.release()
    assert post(proxy) == BODY


def test_a_dead_target_resets(proxy: TcpProxy) -> None:
    proxy.target_port = proxy.port + 1  # of the proxy's own block: nobody listens there
    with pytest.raises(GONE):
        post(proxy)


def test_stalled_until_released(proxy: TcpProxy, echo: Echo, begin: Begin) -> None:
    proxy.stall()
    answer = begin()
    wait_until("A connection", lambda: proxy.connections == 1, every_s=0.005)
    time.sleep(0.1)
    assert (echo.done, proxy.request_bytes, answer.done()) == (0, 0, False)
    proxy.release()
    assert answer.result(30) == BODY


def test_answers_are_held_until_released(proxy: TcpProxy, echo: Echo, begin: Begin) -> None:
    proxy.hold_answers()
    answer = begin()
    wait_until("A request", lambda: echo.done == 1, every_s=0.005)
    time.sleep(0.1)
    assert (proxy.answer_bytes, answer.done()) == (0, False)
    proxy.release()
    assert answer.result(30) == BODY


def test_held_answers_are_lost_by_a_reset(proxy: TcpProxy, echo: Echo, begin: Begin) -> None:
    proxy.hold_answers()
    answer = begin()
    wait_until("A request", lambda: echo.done == 1, every_s=0.005)
    proxy.reset()
    with pytest.raises(GONE):
        answer.result(30)


@pytest.mark.parametrize("after_bytes", [0, 10, 50_000])
def test_an_answer_is_cut_after_the_request_was_done(proxy: TcpProxy, echo: Echo, after_bytes: int) -> None:
    proxy.cut_answer(after_bytes)
    with pytest.raises(GONE):
        post(proxy)
    assert (echo.done, proxy.cut, proxy.answer_bytes) == (1, 1, after_bytes)
    assert post(proxy) == BODY, "once"


def test_answers_are_cut_as_often_as_was_said(proxy: TcpProxy, echo: Echo) -> None:
    proxy.cut_answer(times=2)
    for _ in range(2):
        with pytest.raises(GONE):
            post(proxy)
    assert post(proxy) == BODY
    assert (echo.done, proxy.cut) == (3, 2)


def test_slow_takes_its_time(proxy: TcpProxy) -> None:
    """10 kB there and 10 kB back at 50 kB/s: at least 0.4 s."""
    proxy.slow(50_000)
    began = time.monotonic()
    post(proxy, BODY[:10_000])
    assert time.monotonic() - began > 0.3


def test_it_acts_when_so_many_bytes_of_requests_have_passed(proxy: TcpProxy, echo: Echo) -> None:
    post(proxy)
    before = proxy.request_bytes
    proxy.on_request_bytes(1000, proxy.reset)
    with pytest.raises(GONE):
        post(proxy)
    assert proxy.request_bytes == before + 1000
    assert echo.done == 1
    assert post(proxy) == BODY, "once"


def test_in_the_middle_of_a_request_its_answer_is_doomed(proxy: TcpProxy, echo: Echo) -> None:
    proxy.on_request_bytes(5000, proxy.cut_answer)
    with pytest.raises(GONE):
        post(proxy)
    assert echo.done == 1


def test_what_an_action_raises_is_told_at_the_end(echo: Echo) -> None:
    def fail() -> None:
        raise ValueError("the test's own")

    def use() -> None:
        with TcpProxy(echo.server_address[1]) as proxy:
            proxy.on_request_bytes(10, fail)
            assert post(proxy) == BODY

    with pytest.raises(ValueError, match="the test's own"):
        use()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_of_http2_only_headers_and_data_are_an_answer(size: int) -> None:
    """However the stream comes in pieces."""
    settings, update, headers, data = 4, 8, 1, 0
    frames = [(settings, 12), (settings, 0), (update, 4), (headers, 20), (data, 30), (update, 4), (data, 5)]
    stream = b"".join(length.to_bytes(3, "big") + bytes([kind]) + bytes(5 + length) for kind, length in frames)
    meter, position, left = AnswerBytes(http2=True), 0, 45
    for at in range(0, len(stream), size):
        piece = stream[at : at + size]
        passed, answered = meter.split(piece, left)
        position, left = position + passed, left - answered
        if passed < len(piece):
            break
    before = sum(9 + length for _, length in frames[:4])
    assert (position, left) == (before + 9 + 25, 0)


def test_a_batch_over_grpc_is_stored_and_its_answer_lost(weaviate_server: WeaviateServer) -> None:
    """Window updates, which come while the server still reads the batch, are no answer. The client tries again."""
    name = f"Lost{uuid.uuid4().hex[:8]}"
    texts = [{"text": f"{number} " * 2000} for number in range(200)]

    def stored(client: weaviate.WeaviateClient) -> int | None:
        return client.collections.use(name).aggregate.over_all().total_count

    with (
        proxied(weaviate_server) as behind,
        connect(behind.http.port, behind.grpc.port) as client,
        connect(weaviate_server.http_port, weaviate_server.grpc_port) as past_the_proxy,
        ThreadPoolExecutor() as pool,
    ):
        collection = client.collections.create(name)
        behind.grpc.cut_answer()
        result = pool.submit(collection.data.insert_many, texts)
        wait_until("A cut connection", lambda: behind.grpc.cut == 1, every_s=0.005)
        assert stored(past_the_proxy) == len(texts)
        assert not result.result(60).has_errors
        assert behind.grpc.request_bytes > 2 * sum(len(each["text"]) for each in texts)
        assert stored(past_the_proxy) == len(texts), "of the same ids"


def connect(http_port: int, grpc_port: int) -> weaviate.WeaviateClient:
    """The client as it comes."""
    return weaviate.connect_to_local(host="127.0.0.1", port=http_port, grpc_port=grpc_port)
