"""What the errors of Weaviate's client mean: by type, by status code, and where the server sends none, by its words.

The client (4.23) turns a gRPC error into one of its own and keeps the text alone; the status code is read from the
error that it was made of.
"""

import email.utils
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from weaviate import exceptions as client

from elysia_dagster.errors import CollectionMismatch, ElysiaError, ResourceExhausted, StoreUnavailable
from elysia_dagster.stores.weaviate_messages import Verdict, classify_object_message

MOST_RETRY_AFTER_S = 60.0
"""Seconds that a server may ask to wait, at most."""

_AGAIN = "Run the same command again when it does: nothing was charged to a line."


class ObjectsNotTaken(Exception):
    """What the adapter raises where a batch answer holds a text that is no rejection: it is then tried again or told.

    ``message`` is the text of one object.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.verdict = classify_object_message(message)


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What an error tells: a gRPC code, an HTTP status, and words."""

    code: grpc.StatusCode | None = None
    status: int | None = None
    text: str = ""
    retry_after: str = ""


_UNREACHABLE = (
    client.WeaviateConnectionError,
    client.WeaviateGRPCUnavailableError,
    client.WeaviateRetryError,
    client.WeaviateStartUpError,
    client.WeaviateTimeoutError,
    httpx.TransportError,
    ConnectionError,
    TimeoutError,
)
_KEY = (client.AuthenticationFailedError, client.InsufficientPermissionsError, client.MissingScopeError)
_PROXIED = re.compile(r"Received http2 header with status: (\d{3})")
_TOO_LARGE = re.compile(
    r"received message larger than max|sent message larger than max|trying to send message larger"
    r"|message (size )?exceeds|request entity too large",
    re.IGNORECASE,
)
_UNREADABLE = re.compile(r"unmarshal|decod|invalid UTF-8|deserializ|serializ|http2 header with status: 400", re.I)
_TRANSIENT_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def translated(error: BaseException, *, url: str, collection: str = "") -> ElysiaError | None:
    """The project's error for one of the client's, or None where its meaning is not known."""
    if isinstance(error, ElysiaError):
        return error
    told = _told(error)
    if told is None:
        return None
    ids: dict[str, Any] = {"store": url, **({"collection": collection} if collection else {})}
    of = f" of collection {collection!r}" if collection else ""
    reason = _short(told.text)
    verdict = _verdict(error, told)
    if verdict is Verdict.FORBIDDEN:
        return StoreUnavailable(
            f"The server {url} refuses the key, or wants one: {reason}.",
            next_step="Set ELYSIACTL_WEAVIATE_API_KEY or WCD_API_KEY to a key that may write there.",
            **ids,
        )
    if verdict is Verdict.MISSING:
        return missing_collection(collection, url)
    if _is_own_resource(error):
        return ResourceExhausted(
            f"This machine ran out of disk, memory or file handles on the way to {url}: {reason}.",
            next_step="Free some, then run the same command again.",
            **ids,
        )
    if verdict is Verdict.OUTAGE:
        return StoreUnavailable(f"The server {url} does not do its work{of}: {reason}.", next_step=_AGAIN, **ids)
    return None


def missing_collection(collection: str, url: str) -> CollectionMismatch:
    """The error for a collection (or its tenant) that is not there."""
    return CollectionMismatch(
        f"Collection {collection!r}, or the tenant set for it, does not exist in {url}.",
        next_step="Check the names of store, collection and tenant; a sync creates a collection that was never there.",
        collection=collection,
        store=url,
    )


@contextmanager
def translating(*, url: str, collection: str = "") -> Iterator[None]:
    """Turns the client's errors of the body into the project's; an unknown one goes through."""
    try:
        yield
    except ElysiaError:
        raise
    except Exception as error:
        known = translated(error, url=url, collection=collection)
        if known is None:
            raise
        raise known from error


def is_transient(error: BaseException) -> bool:
    """Whether trying the same again may help."""
    if is_too_large(error):
        return False
    told = _told(error)
    return told is not None and _verdict(error, told) is Verdict.OUTAGE


def is_unknown_state(error: BaseException) -> bool:
    """Whether the request may have been applied: the caller reads back before it sends again."""
    return is_transient(error)


def is_too_large(error: BaseException) -> bool:
    """Whether the request had too many bytes for the server, a proxy or this client."""
    told = _told(error)
    return told is not None and (told.status == 413 or bool(_TOO_LARGE.search(told.text)))


def is_refused_content(error: BaseException) -> bool:
    """Whether a whole request was refused for what is in it: one of its objects, the caller finds it by halving."""
    told = _told(error)
    if told is None or is_too_large(error):
        return False
    if _verdict(error, told) in (Verdict.OUTAGE, Verdict.FORBIDDEN, Verdict.MISSING):
        return False
    if told.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE) or told.status in (400, 422):
        return True
    return told.code is grpc.StatusCode.INTERNAL and bool(_UNREADABLE.search(told.text))


def retry_after_s(error: BaseException) -> float | None:
    """Seconds that the server asks to wait, ``MOST_RETRY_AFTER_S`` at most, or None where it asks for nothing."""
    told = _told(error)
    if told is None or not told.retry_after:
        return None
    text = told.retry_after.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_S)


def one_line(error: BaseException) -> str:
    """What an error says, on one line of 300 characters at most."""
    told = _told(error)
    return _short(told.text if told is not None else str(error))


def all_failed(error: BaseException) -> bool:
    """Whether an insert took no object at all, each for its own reason: ``messages_of`` has them."""
    return isinstance(error, client.WeaviateInsertManyAllFailedError)


def messages_of(error: BaseException) -> list[str]:
    """The different per-object texts of an insert that took no object at all (which object had which, is lost)."""
    if not all_failed(error):
        return []
    return str(error).partition("Here is the set of all errors: ")[2].splitlines()


def _told(error: BaseException) -> _Told | None:
    if isinstance(error, ObjectsNotTaken):
        return _Told(text=error.message)
    call = _call_of(error)
    if call is not None:
        text = call.details() or ""
        proxied = _PROXIED.search(text)
        metadata = {key: value for key, value in (call.trailing_metadata() or ()) if key == "retry-after"}
        return _Told(
            code=call.code(),
            status=int(proxied[1]) if proxied else None,
            text=text or call.code().name,
            retry_after=str(metadata.get("retry-after", "")),
        )
    if isinstance(error, client.UnexpectedStatusCodeError | client.ResponseCannotBeDecodedError):
        return _Told(status=error.status_code, text=str(error))
    if isinstance(error, httpx.HTTPStatusError):
        response = error.response
        return _Told(status=response.status_code, text=str(error), retry_after=response.headers.get("retry-after", ""))
    if isinstance(error, client.WeaviateBaseError | httpx.HTTPError | OSError | grpc.RpcError):
        return _Told(text=str(error))
    return None


def _call_of(error: BaseException | None) -> Any:
    """The gRPC call that an error of the client was made of, if any."""
    while error is not None:
        if isinstance(error, grpc.RpcError):
            return error if isinstance(error, grpc.Call) else None
        if not isinstance(error, client.WeaviateBaseError):
            return None
        error = error.__cause__ or error.__context__
    return None


def _verdict(error: BaseException, told: _Told) -> Verdict | None:
    """Whose fault it is, or None where the error is of another kind."""
    if isinstance(error, ObjectsNotTaken):
        return error.verdict
    codes = grpc.StatusCode
    if (
        isinstance(error, _KEY)
        or told.status in (401, 403)
        or told.code in (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED)
    ):
        return Verdict.FORBIDDEN
    if told.status == 413 or _TOO_LARGE.search(told.text):
        return None
    if told.code in _TRANSIENT_CODES or told.status in _TRANSIENT_STATUS:
        return Verdict.OUTAGE
    if told.code is codes.NOT_FOUND or (told.status == 404 and told.code is None):
        return Verdict.MISSING
    worded = classify_object_message(told.text)
    if worded is not Verdict.REJECTED:
        return worded
    if told.code is None and isinstance(error, _UNREACHABLE):
        return Verdict.OUTAGE
    return None


def _is_own_resource(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (12, 23, 24, 28, 122)


def _short(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(". ") or "no reason given"
