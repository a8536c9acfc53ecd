"""Which bytes of a server's side of a connection answer a request: for HTTP/2, and so gRPC, not all of them."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 begins a connection with (RFC 9113, 3.4)."""

_FRAME_HEADER = 9
"""Bytes: three of length, one of type, five more (RFC 9113, 4.1)."""

_DATA, _HEADERS, _CONTINUATION = 0, 1, 9


class AnswerBytes:
    """Counts the answer's bytes in what a server sends, in order, and says where a number of them is reached.

    Everything is an answer, but on HTTP/2 only what carries headers and data: the settings, window updates and pings
    that a server sends while it still reads the request say nothing of what it has done.
    """

    def __init__(self, *, http2: bool) -> None:
        self._http2 = http2
        self._header = b""
        self._body_left = 0
        self._answers = False

    def split(self, data: bytes, count: int) -> tuple[int, int]:
        """Reads ``data`` until an answer's byte comes that is more than ``count``.

        Gives how many of its bytes come before that one, and how many of those were an answer's.
        """
        if not self._http2:
            passed = min(count, len(data))
            return passed, passed
        position = answered = 0
        while position < len(data):
            if self._body_left:
                piece = min(self._body_left, len(data) - position)
                if self._answers:
                    piece = min(piece, count - answered)
                    answered += piece
                    if not piece:
                        break
                position += piece
                self._body_left -= piece
                continue
            more = data[position : position + _FRAME_HEADER - len(self._header)]
            self._header += more
            position += len(more)
            if len(self._header) == _FRAME_HEADER:
                self._body_left = int.from_bytes(self._header[:3], "big")
                self._answers = self._header[3] in (_DATA, _HEADERS, _CONTINUATION)
                self._header = b""
        return position, answered
