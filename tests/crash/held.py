"""What a collection really holds, read past the adapter: with the store's own client, object by object."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import lancedb
import numpy as np

Answer = TypeVar("Answer")

LARGEST_ANSWER_BYTES = 100_000_000
OBJECT_BYTES = 15_000
"""What an object of a test takes in an answer, at the very most."""

LANCEDB_TOLERANCE = 0.0
"""LanceDB keeps vectors bit for bit."""

WEAVIATE_TOLERANCE = 1e-6
"""Weaviate normalises what it is given, in float32: the last bits of a number may be others."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """One object: its id, all its properties by name, and its vector of shape ``(dimensions,)``."""

    id: str
    properties: Mapping[str, Any]
    vector: np.ndarray | None


def lancedb_holds(state: Path, collection: str) -> list[Held]:
    """Every row of a table below the state folder."""
    rows = lancedb.connect(state / "vectors").open_table(collection).to_arrow().to_pylist()
    return [_held(row.pop("id"), row.pop("vector"), row) for row in rows]


def weaviate_holds(url: str, collection: str, *, vector: str = "", tenant: str = "") -> list[Held]:
    """Every object of a collection on the server of that store URL; ``vector`` names one of several vectors."""

    def read(client: Any) -> list[Held]:
        handle = client.collections.use(collection)
        if tenant:
            handle = handle.with_tenant(tenant)
        largest = int(client.get_meta().get("grpcMaxMessageSize", LARGEST_ANSWER_BYTES))
        page = max(1, min(1000, largest // OBJECT_BYTES))
        objects = list(handle.iterator(include_vector=True, cache_size=page))
        counted = handle.aggregate.over_all(total_count=True).total_count
        assert counted == len(objects), f"the server counts {counted} objects and lists {len(objects)}"
        return [held(each, vector) for each in objects]

    return asking(url, read)


def asking(url: str, question: Callable[[Any], Answer]) -> Answer:
    """What the server of a store URL answers to a question, by a client that is opened for it and closed."""
    with warnings.catch_warnings():  # of a library of the client's, for its programmers
        warnings.simplefilter("ignore")
        import weaviate

    address = urlsplit(url.removeprefix("weaviate:"))
    assert address.hostname is not None
    assert address.port is not None
    grpc_port = int(parse_qs(address.query).get("grpc_port", ["50051"])[0])
    client = weaviate.connect_to_custom(
        http_host=address.hostname,
        http_port=address.port,
        http_secure=False,
        grpc_host=address.hostname,
        grpc_port=grpc_port,
        grpc_secure=False,
    )
    try:
        return question(client)
    finally:
        client.close()


def drop_collection(url: str, collection: str) -> None:
    """Removes a collection; one that is not there is no error."""
    asking(url, lambda client: client.collections.delete(collection))


def held(found: Any, vector: str = "") -> Held:
    """An object that the client gave, with that vector of it, or the only one; None where it has none."""
    return _held(str(found.uuid), _the_vector(found.vector, vector), found.properties)


def _the_vector(vectors: Mapping[str, Any], name: str) -> Sequence[float] | None:
    """The vector of that name, or the only one."""
    if name:
        return vectors.get(name)
    assert len(vectors) <= 1, f"which of these vectors: {sorted(vectors)}"
    return next(iter(vectors.values()), None)


def _held(id_: str, vector: Sequence[float] | None, properties: Mapping[str, Any]) -> Held:
    return Held(id=id_, properties=properties, vector=None if vector is None else np.asarray(vector, dtype=np.float32))
