"""The stores that the contract suite runs against: add one to ``STORES`` and every test holds for it."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from crash.held import drop_collection

from elysia_dagster.models import StoreObject, document_id, object_id
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

DIMENSIONS = 8
COLLECTION = "Contract"

STORES = ["lancedb", pytest.param("weaviate", marks=pytest.mark.weaviate)]


class MakeObject(Protocol):
    """Makes an object with sensible properties; any property can be given by name."""

    def __call__(self, path: str = ..., *, chunk: int = ..., **changes: Any) -> StoreObject: ...


@pytest.fixture(params=STORES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the store: a folder of the test's own, or the server that all tests share."""
    if request.param == "weaviate":
        return str(request.getfixturevalue("weaviate_url"))
    return f"lancedb:{tmp_path / 'vectors'}"


@pytest.fixture
def collection(address: str) -> Iterator[str]:
    """The name of the collection that ``store`` has; no other test has it."""
    name = f"{COLLECTION}_{uuid.uuid4().hex[:12]}"
    yield name
    if address.startswith("weaviate:"):
        drop_collection(address, name)


@pytest.fixture
def open_again(address: str, collection: str) -> Iterator[Callable[[], VectorStore]]:
    """Opens the one store of this test; each call is another client of it."""
    opened: list[VectorStore] = []

    def open_client() -> VectorStore:
        opened.append(open_store(address))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def empty_store(open_again: Callable[[], VectorStore]) -> VectorStore:
    """A store with no collection."""
    return open_again()


@pytest.fixture
def store(empty_store: VectorStore, collection: str) -> VectorStore:
    """A store with the empty collection of vectors of shape ``(DIMENSIONS,)``."""
    empty_store.ensure_collection(collection, incarnation="one", model_id="hash-1", dimensions=DIMENSIONS)
    return empty_store


@pytest.fixture
def make() -> MakeObject:
    """See ``MakeObject``."""
    return make_object


def make_object(path: str = "src/a.py", *, chunk: int = 0, **changes: Any) -> StoreObject:
    """An object of repository ``repo`` (or ``changes['repository']``) whose vector follows from its text."""
    repository = changes.get("repository", "repo")
    content = changes.get("content", f"def f(): return {path!r}, {chunk}")
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    values: dict[str, Any] = {
        "id": object_id(COLLECTION, repository, path, chunk) if _is_text(repository + path) else str(uuid.uuid4()),
        "vector": unit_vector(int(digest[:8], 16)),
        "file_path": f"{repository}/{path}",
        "relative_path": path,
        "file_name": path.rpartition("/")[2],
        "repository": repository,
        "language": "python",
        "extension": ".py",
        "content_hash": digest,
        "write_hash": f"w{digest[1:]}",
        "content": content,
        "size_bytes": len(content),
        "line_count": 1,
        "last_modified": "2025-03-01T12:30:00Z",
        "document_id": document_id(COLLECTION, repository, path) if _is_text(repository + path) else str(uuid.uuid4()),
        "chunk_index": chunk,
        "start_line": 1,
        "end_line": 1,
        "commit": None,
    }
    return StoreObject(**(values | changes))


def unit_vector(seed: int) -> np.ndarray:
    """A float32 vector of shape ``(DIMENSIONS,)`` and length 1."""
    vector = np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.fixture
def drop(address: str) -> Callable[[str], None]:
    """Drops a collection as somebody else would: by the store's own client."""

    def drop_table(name: str) -> None:
        import lancedb

        lancedb.connect(address.removeprefix("lancedb:")).drop_table(name)

    return drop_table if address.startswith("lancedb:") else lambda name: drop_collection(address, name)
