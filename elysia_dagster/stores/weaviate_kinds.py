"""Of what kind an error of Weaviate's client is: by type, by status code, and where there is none, by its words.

The client (4.23) makes an error of its own of each gRPC error and keeps the text alone, so the status code is read from
the error that it was made of. Most of what the server (1.38) itself objects to has the code UNKNOWN: there its words
decide (``weaviate_messages``).
"""

import errno
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpcore
import httpx
from weaviate import exceptions as client

from elysia_dagster.stores.weaviate_messages import Verdict, classify_object_message, may_be_half_written


class ObjectsNotTaken(Exception):
    """Raised by the adapter where a batch answer holds a text that is no rejection: tried again, or told.

    ``message`` is the text of one object, ``verdict`` what it means. ``half_written``: by this text or one of
    ``others`` an object may be stored and lack in an index, so that it must be deleted before it is sent again.
    """

    def __init__(self, message: str, *, others: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.verdict = classify_object_message(message)
        self.half_written = any(map(may_be_half_written, (message, *others)))


class Kind(Enum):
    """What an error is about."""

    OUTAGE = "outage"  # trying again may help
    KEY = "key"  # the key is refused, or one is wanted
    MISSING = "missing"  # collection or tenant
    ANOTHER = "another"  # what answers there is no Weaviate server that we can use
    INSECURE = "insecure"  # no secure connection: the certificate, or http for https
    OURS = "ours"  # this machine's disk, memory or file handles
    TOO_LARGE = "too large"  # too many bytes in a request or its answer
    CONTENT = "content"  # the request's own content
    UNKNOWN = "unknown"  # a bug, or nothing of the client's


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an error tells: gRPC code, HTTP status (a proxy's too), words, and a wish to be left alone for a time."""

    code: grpc.StatusCode | None = None
    status: int | None = None
    text: str = ""
    retry_after: str = ""


_CODE = grpc.StatusCode
_OUTAGE_CODES = (
    _CODE.UNAVAILABLE,
    _CODE.DEADLINE_EXCEEDED,
    _CODE.ABORTED,
    _CODE.CANCELLED,
    _CODE.RESOURCE_EXHAUSTED,
    _CODE.DATA_LOSS,
)
_OUTAGE_STATUS = (408, 421, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_ANOTHER_STATUS = (301, 302, 303, 307, 308, 405, 406)
_TRANSPORT = httpcore.NetworkError | httpcore.TimeoutException | httpcore.ProtocolError  # beneath httpx
_UNREACHABLE = (
    client.WeaviateClosedClientError,  # by another thread, whose request failed
    client.WeaviateConnectionError,
    client.WeaviateGRPCUnavailableError,
    client.WeaviateRetryError,
    client.WeaviateStartUpError,
    client.WeaviateTimeoutError,
    httpx.TransportError,
    ConnectionError,
    TimeoutError,
)
_KEY_ERRORS = (client.AuthenticationFailedError, client.InsufficientPermissionsError, client.MissingScopeError)
_ANOTHER_ERRORS = (client.ResponseCannotBeDecodedError, client.EmptyResponseError, httpx.UnsupportedProtocol)
_OWN_ERRNO = (errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.ENOSPC, errno.EDQUOT)
# grpc core, http_client_filter: an answer of a proxy that is not gRPC
_PROXIED = re.compile(r"Received http2 header with status: (\d{3})")
_TOO_LARGE = re.compile(
    # grpc-go, rpc_util.go, and grpc core, message_size_filter: "Sent message larger than max (3033600 vs. 2000000)"
    r"(received|sent) message larger than max|trying to send message larger than max|request entity too large",
    re.IGNORECASE,
)
_UNREADABLE = re.compile(r"unmarshal|decod|invalid UTF-?8|serializ", re.IGNORECASE)
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|certificate|ssl handshake", re.IGNORECASE)


def is_closed_channel(error: BaseException) -> bool:
    """Whether gRPC was asked on a channel that another thread, whose request failed, has closed: an untyped error."""
    return type(error) is ValueError and "closed channel" in str(error)


def messages_of(error: BaseException) -> list[str]:
    """The different per-object texts of an insert that took no object at all; which object had which, is lost."""
    if not isinstance(error, client.WeaviateInsertManyAllFailedError):
        return []
    return str(error).partition("Here is the set of all errors: ")[2].splitlines()


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error of a library and those that it was made of; one of ours ends it, and what was there before."""
    seen: set[int] = set()
    while isinstance(error, client.WeaviateBaseError | httpx.HTTPError | _TRANSPORT | grpc.RpcError | OSError):
        if id(error) in seen:
            return
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def told_by(error: BaseException) -> Told:
    if isinstance(error, ObjectsNotTaken):
        return Told(text=error.message)
    if is_closed_channel(error):
        return Told(text=str(error))
    if isinstance(error, UnicodeEncodeError):
        return Told(text=f"{error.reason} at character {error.start}")
    chain = list(chain_of(error))
    for each in chain:
        if isinstance(each, grpc.Call):
            return _told_by_call(each)
        if isinstance(each, client.UnexpectedStatusCodeError):
            return Told(status=each.status_code, text=_body_text(each.error) or str(each))
        if isinstance(each, client.ResponseCannotBeDecodedError):
            return Told(status=each.status_code, text=f"HTTP status {each.status_code}, and no JSON")
        if isinstance(each, httpx.HTTPStatusError):
            answer = each.response
            after = str(answer.headers.get("retry-after", ""))
            return Told(status=answer.status_code, text=f"HTTP status {answer.status_code}", retry_after=after)
        if isinstance(each, httpx.HTTPError):  # the client's sentence does not say why
            return Told(text=str(each) or type(each).__name__)
    messages = messages_of(error)
    return Told(text=messages[0] if messages else str(error) if chain else "")


def _told_by_call(call: Any) -> Told:
    text = call.details() or ""
    proxied = _PROXIED.search(text)
    metadata = {key: value for key, value in (call.trailing_metadata() or ()) if key == "retry-after"}
    return Told(
        code=call.code(),
        status=int(proxied[1]) if proxied else None,
        text=text or call.code().name,
        retry_after=str(metadata.get("retry-after", "")),
    )


def _body_text(body: Any) -> str:
    """The words of a REST answer: ``{"error": [{"message": …}]}``, or ``{"code": …, "message": …}``."""
    if not isinstance(body, dict):
        return str(body or "")
    some = body.get("error")
    words = [str(each.get("message", "")) for each in some or () if isinstance(each, dict)]
    return "; ".join(filter(None, words)) or str(body.get("message") or "") or json.dumps(body, default=str)


def kind_of(error: BaseException, collection: str = "?") -> Kind:
    """What an error is. ``collection`` '' says that it was no question about one."""
    if isinstance(error, ObjectsNotTaken):
        return _BY_VERDICT.get(error.verdict, Kind.UNKNOWN)
    if is_closed_channel(error):
        return Kind.OUTAGE
    if isinstance(error, UnicodeEncodeError):  # a lone surrogate: protobuf takes none
        return Kind.CONTENT
    chain = list(chain_of(error))
    if not chain:
        return Kind.UNKNOWN
    if any(isinstance(each, OSError) and each.errno in _OWN_ERRNO for each in chain):
        return Kind.OURS
    told = told_by(error)
    if isinstance(error, _KEY_ERRORS) or told.status in (401, 403) or told.code is _CODE.UNAUTHENTICATED:
        return Kind.KEY
    if told.code is _CODE.PERMISSION_DENIED:
        return Kind.KEY
    if told.status == 413 or _TOO_LARGE.search(told.text):
        return Kind.TOO_LARGE
    worded = classify_object_message(told.text)
    if isinstance(error, client.WeaviateInsertManyAllFailedError):
        return _worst(messages_of(error))
    if worded is Verdict.MISSING or worded is Verdict.FORBIDDEN:
        return _BY_VERDICT[worded]
    if _is_connection(error, told) and _CERTIFICATE.search(told.text):
        return Kind.INSECURE
    if told.code in _OUTAGE_CODES or told.status in _OUTAGE_STATUS:
        return Kind.OUTAGE
    if (
        told.code is _CODE.INTERNAL and told.status is None and not _UNREADABLE.search(told.text)
    ):  # a stream that broke: RST_STREAM
        return Kind.OUTAGE
    if told.code is _CODE.UNIMPLEMENTED or told.status in _ANOTHER_STATUS or isinstance(error, _ANOTHER_ERRORS):
        return Kind.ANOTHER
    if told.code is _CODE.NOT_FOUND or told.status == 404:
        return Kind.MISSING if collection else Kind.ANOTHER
    if worded is Verdict.OUTAGE:
        return Kind.OUTAGE
    if told.code in (_CODE.INVALID_ARGUMENT, _CODE.OUT_OF_RANGE, _CODE.INTERNAL) or told.status in (400, 422):
        return Kind.CONTENT
    if "is not supported" in told.text and isinstance(error, client.WeaviateStartUpError):
        return Kind.ANOTHER
    return Kind.OUTAGE if told.code is None and isinstance(error, _UNREACHABLE) else Kind.UNKNOWN


_BY_VERDICT = {Verdict.OUTAGE: Kind.OUTAGE, Verdict.MISSING: Kind.MISSING, Verdict.FORBIDDEN: Kind.KEY}


def _worst(messages: list[str]) -> Kind:
    """What an insert means that took no object: an outage of some is one of all; rejections alone are the caller's."""
    verdicts = {classify_object_message(each) for each in messages}
    order = (Verdict.FORBIDDEN, Verdict.MISSING, Verdict.OUTAGE)
    return next((_BY_VERDICT[each] for each in order if each in verdicts), Kind.UNKNOWN)


def _is_connection(error: BaseException, told: Told) -> bool:
    return told.code is _CODE.UNAVAILABLE or isinstance(error, _UNREACHABLE)
