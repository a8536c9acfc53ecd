"""An OpenAI-compatible endpoint on 127.0.0.1 that answers as a test says."""

import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


def vector_of(text: str, dimensions: int) -> list[float]:
    """The vector that a right answer gives a text, not normalised."""
    digest = hashlib.sha256(text.encode()).digest()
    return [float(digest[place % 32]) - 127.5 for place in range(dimensions)]


def error_reply(status: int, message: str = "no", code: str = "", **headers: str) -> Reply:
    """What an endpoint says when it refuses."""
    return status, headers, json.dumps({"error": {"message": message, "code": code}}).encode()


class Endpoint:
    """A server on 127.0.0.1. ``script`` holds what the next requests get; after it every request is answered right.

    An entry is a reply, or a function of the request's body that gives one (None: answer right; ``BROKEN``: hang up).
    """

    BROKEN: Reply = (0, {}, b"")

    def __init__(self) -> None:
        self.script: list[Reply | Callable[[dict[str, Any]], Reply | None]] = []
        self.always: Callable[[dict[str, Any]], Reply | None] = lambda _: None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet: two would wait for each other

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append(body)
                endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
                endpoint.paths.append(self.path)
                status, headers, content = endpoint.reply(body)
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """The client hung up: what the timeout test does."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def reply(self, body: dict[str, Any]) -> Reply:
        scripted = self.script.pop(0) if self.script else self.always
        reply = scripted(body) if callable(scripted) else scripted
        return reply or self.right(body)

    def right(self, body: dict[str, Any]) -> Reply:
        """A right answer, last text first: the order of an answer is not promised, its indices are."""
        data = [
            {"object": "embedding", "index": index, "embedding": vector_of(text, body.get("dimensions", 8))}
            for index, text in enumerate(body["input"])
        ]
        return 200, {"Content-Type": "application/json"}, json.dumps({"data": data[::-1]}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
