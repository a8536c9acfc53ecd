"""What the errors of Weaviate's client mean to us, and what may be done after one.

An error whose meaning is not known (``weaviate_kinds``) is a bug and propagates.
"""

import email.utils
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
from weaviate import exceptions as client

from elysia_dagster.errors import CollectionMismatch, ElysiaError, ResourceExhausted, StoreUnavailable
from elysia_dagster.stores.weaviate_kinds import (
    Kind,
    ObjectsNotTaken,
    Told,
    chain_of,
    is_closed_channel,
    kind_of,
    messages_of,
    told_by,
)

__all__ = [
    "ObjectsNotTaken",
    "is_refused_content",
    "is_too_large",
    "is_transient",
    "is_unknown_state",
    "messages_of",
    "missing_collection",
    "retry_after_s",
    "translated",
    "translating",
]

MOST_RETRY_AFTER_S = 60.0
"""Seconds that a server's wish to be left alone is followed, at most."""

MOST_CHARACTERS = 300
"""Of the server's own words in one of our messages."""


_NEVER_SENT = re.compile(r"failed to connect to (all addresses|remote host)|DNS resolution failed", re.IGNORECASE)
_NEVER_SENT_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    client.WeaviateStartUpError,
    client.WeaviateClosedClientError,
)
_TENANT = re.compile(r"tenant not found|multi-tenancy")
_NEXT = {
    Kind.OUTAGE: "Run the same command again when it does: nothing was charged to a line.",
    Kind.KEY: "Set ELYSIACTL_WEAVIATE_API_KEY or WCD_API_KEY to a key that may, then run the same command again.",
    Kind.ANOTHER: "Check the address and the gRPC port in the store's URL, and the server's version.",
    Kind.INSECURE: "Check http or https in the store's URL, and the server's certificate.",
    Kind.OURS: "Free some (or raise the limit that it names), then run the same command again.",
}


_NO_KEYS = "no authentication scheme is configured"
"""Of a server with anonymous access alone, to whoever brings a key (seen, 1.38.11)."""


def translated(error: BaseException, *, url: str, collection: str = "") -> ElysiaError | None:
    """The project's error for one of the client's, or None where its meaning is not known."""
    if isinstance(error, ElysiaError):
        return error
    kind, told = kind_of(error, collection), told_by(error)
    if kind is Kind.MISSING:
        return missing_collection(collection, url, _short(told.text))
    if kind not in _NEXT:
        return None
    there = f"The server {url}"
    if kind is Kind.KEY:
        if _NO_KEYS in told.text:
            return StoreUnavailable(
                f"{there} takes no key, and one is set.",
                next_step="Unset ELYSIACTL_WEAVIATE_API_KEY and WCD_API_KEY for it.",
                store=url,
            )
        verb = "wants a key" if _wants_a_key(told) else "refuses the key"
        message = f"{there} {verb}: {_short(told.text)}."
    elif kind is Kind.INSECURE:
        message = f"No secure connection to {url}: {_short(told.text)}."
    elif kind is Kind.ANOTHER:
        message = f"What answers at {url} is no Weaviate server for this client: {_short(told.text)}."
    elif kind is Kind.OURS:
        message = f"This machine ran out of disk, memory or file handles, talking to {url}: {_short(told.text)}."
    else:
        about = f", asked for collection {collection!r}" if collection else ""
        message = f"{there} does not do its work now{about}: {_short(told.text)}."
    ids: dict[str, Any] = {"store": url, **({"collection": collection} if collection else {})}
    type_of = ResourceExhausted if kind is Kind.OURS else StoreUnavailable
    return type_of(message, next_step=_NEXT[kind], **ids)


def missing_collection(collection: str, url: str, reason: str = "") -> CollectionMismatch:
    """The error for a collection that is not there, or for its tenant."""
    if _TENANT.search(reason):
        message = f"Collection {collection!r} of {url} is not to be had with this tenant: {reason}."
        next_step = "Check ELYSIACTL_WEAVIATE_TENANT and the tenant in the store's URL."
    else:
        message = f"Collection {collection!r} does not exist in {url}."
        next_step = "Check the names of store and collection; a sync creates a collection that was never there."
    return CollectionMismatch(message, next_step=next_step, collection=collection, store=url)


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
    return kind_of(error) is Kind.OUTAGE


def is_unknown_state(error: BaseException) -> bool:
    """Whether the request may have been applied although it failed: the caller reads back before it sends again.

    Where an error was made of several calls, all of them count: that nothing listens may hide an earlier one (the
    connection broke in the middle).
    """
    if not is_transient(error) or is_closed_channel(error):
        return False
    if isinstance(error, ObjectsNotTaken):
        return error.half_written
    calls = [each for each in chain_of(error) if isinstance(each, grpc.Call)]
    if calls:
        return not all(_NEVER_SENT.search(each.details() or "") for each in calls)
    return not any(isinstance(each, _NEVER_SENT_ERRORS) for each in chain_of(error))


def is_too_large(error: BaseException) -> bool:
    """Whether a request or its answer has too many bytes for the server, a proxy or this client."""
    return kind_of(error) is Kind.TOO_LARGE


def is_refused_content(error: BaseException) -> bool:
    """Whether a whole request was refused for what is in it: the caller finds the object by halving."""
    return kind_of(error) is Kind.CONTENT


def retry_after_s(error: BaseException) -> float | None:
    """Seconds that the server asks to be left alone, ``MOST_RETRY_AFTER_S`` at most; None where it does not.

    The client drops the headers of its REST answers; those of gRPC, where a proxy gave some, are kept.
    """
    text = told_by(error).retry_after.strip()
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_S)


def _wants_a_key(told: Told) -> bool:
    return "anonymous access" in told.text or "credentials" in told.text


def _short(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARACTERS].rstrip(". ") or "no reason given"
