"""Collections that somebody else has made, of every shape: refused, taken over when asked for, then kept true."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from crash.held import WEAVIATE_TOLERANCE, Held, asking, drop_collection, weaviate_holds
from crash.oracle import COLLECTION, PROPERTIES, Line, Oracle, assert_collection
from crash.scenario import BASE, BIG, GONE, NEWER, inline, text_of
from crash.within import apply
from faults.mortal import MortalServer
from faults.weaviate_world import WeaviateWorld
from sync_world import World
from weaviate.classes import config
from weaviate.classes.data import DataObject
from weaviate.classes.tenants import Tenant

from elysia_dagster.embedders import open_embedder
from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import RunStatus, SearchMode, SearchQuery
from elysia_dagster.stores import open_store

pytestmark = pytest.mark.weaviate

NOBODYS = {str(UUID(int=1)), str(UUID(int=2))}
"""Objects that somebody has put there: they have a title, and vectors of their own."""

VECTOR = np.arange(1024, dtype=np.float32) / 1024


@pytest.fixture
def world(server: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world on a real server; what it says is kept."""
    with WeaviateWorld(tmp_path, server.url, store_retry_s=2.0) as opened:
        opened.said = []  # type: ignore[attr-defined]
        opened.engine.say = opened.said.append  # type: ignore[attr-defined]
        yield opened


def legacy(client: Any) -> None:
    """One vector that has no name, as collections were made for years."""
    schema = {
        "class": COLLECTION,
        "description": "Titles of a shelf.",
        "vectorizer": "none",
        "vectorIndexConfig": {"distance": "cosine"},
        "properties": [{"name": "title", "dataType": ["text"]}],
    }
    client.collections.create_from_dict(schema)
    fill(client.collections.use(COLLECTION), VECTOR.tolist())


def one_named(client: Any) -> None:
    """One named vector."""
    made = client.collections.create(
        COLLECTION, vector_config=config.Configure.Vectors.self_provided(name="text"), properties=[TITLE]
    )
    fill(made, {"text": VECTOR.tolist()})


def two_named(client: Any) -> None:
    """Two named vectors, of different lengths."""
    names = [config.Configure.Vectors.self_provided(name=name) for name in ("code", "picture")]
    made = client.collections.create(COLLECTION, vector_config=names, properties=[TITLE])
    fill(made, {"code": VECTOR.tolist(), "picture": [1.0, 2.0, 3.0]})


def with_tenants(client: Any) -> None:
    """A tenant of somebody's."""
    made = client.collections.create(
        COLLECTION,
        vector_config=config.Configure.Vectors.self_provided(),
        properties=[TITLE],
        multi_tenancy_config=config.Configure.multi_tenancy(enabled=True),
    )
    made.tenants.create([Tenant(name="theirs")])
    fill(made.with_tenant("theirs"), VECTOR.tolist())


TITLE = config.Property(name="title", data_type=config.DataType.TEXT)


def fill(collection: Any, vector: Any) -> None:
    """Puts the objects there that are nobody's."""
    answer = collection.data.insert_many(
        [DataObject(uuid=id_, properties={"title": f"title {id_}"}, vector=vector) for id_ in sorted(NOBODYS)]
    )
    assert not answer.has_errors


@pytest.mark.parametrize(
    ("make", "which", "vector", "tenant"),
    [
        pytest.param(legacy, "", "", "", id="vector without a name"),
        pytest.param(one_named, "", "text", "", id="one named vector"),
        pytest.param(two_named, "&vector=code", "code", "", id="two named vectors"),
        pytest.param(with_tenants, "&tenant=theirs", "", "theirs", id="tenants"),
    ],
)
def test_taken_over(world: WeaviateWorld, make: Callable[[Any], None], which: str, vector: str, tenant: str) -> None:
    asking(world.weaviate, make)
    before = nobodys(world.weaviate, vector, tenant)
    store = {"store": f"{world.weaviate}{which}"}
    with pytest.raises(CollectionMismatch, match=rf"Collection {COLLECTION} .*not made by this.*--adopt") as error:
        apply(world, BASE, **store)
    assert error.value.exit_code == 2
    assert nobodys(world.weaviate, vector, tenant) == before
    assert ours(world.weaviate, vector, tenant) == []

    assert apply(world, BASE, adopt=True, **store).status is RunStatus.COMPLETED
    taken = [said for said in world.said if "is taken over" in said]  # type: ignore[attr-defined]
    assert len(taken) == 1
    assert "documents that are ours: 0; objects that are not, and stay: 2." in taken[0]
    assert_ours(world.weaviate, vector, tenant, BASE)
    assert apply(world, NEWER, **store).status is RunStatus.COMPLETED
    assert_ours(world.weaviate, vector, tenant, BASE, NEWER)
    assert nobodys(world.weaviate, vector, tenant) == before, "what is nobody's stays as it was"
    assert states(world) == {"present", "absent"}
    assert found_first(store["store"], text_of("gone", 1)) == GONE


def test_two_tenants_are_two_contents(world: WeaviateWorld) -> None:
    """The same documents in both: neither sees what is done to the other, nor do their ledgers."""
    asking(world.weaviate, with_tenants)
    theirs, new = ({"store": f"{world.weaviate}&tenant={name}"} for name in ("theirs", "new"))
    apply(world, BASE, adopt=True, **theirs)
    apply(world, BASE, **new)
    apply(world, NEWER, **new)
    only = (inline(BIG, text_of("only", 3)),)
    apply(world, only, **theirs)
    assert_ours(world.weaviate, "", "theirs", BASE, only)
    assert_ours(world.weaviate, "", "new", BASE, NEWER)
    assert len(world.query("SELECT * FROM collections")) == 2
    with pytest.raises(CollectionMismatch, match="has tenants, and none is named"):
        apply(world, BASE)


def test_objects_of_ours_become_suspect_and_are_written_anew(world: WeaviateWorld, tmp_path: Path) -> None:
    """The state was lost, the collection was not: nothing of it is believed, nothing of it is left over."""
    apply(world, BASE)
    chunks = dict(world.query("SELECT path, chunks FROM documents WHERE state = 'present'"))
    asking(world.weaviate, lambda client: client.collections.use(COLLECTION).config.add_property(TITLE))
    asking(world.weaviate, lambda client: fill(client.collections.use(COLLECTION), VECTOR.tolist()))
    (tmp_path / "second").mkdir()
    store = {"store": world.weaviate}
    with World(tmp_path / "second") as second:
        new = (inline(("delta", "new.py"), text_of("new"), "add"),)
        with pytest.raises(CollectionMismatch, match="--adopt"):
            apply(second, new, **store)
        said: list[str] = []
        second.engine.say = said.append
        apply(second, new, adopt=True, **store)
        assert [each for each in said if f"documents that are ours: {len(chunks)}; " in each and "stay: 2." in each]
        assert dict(second.query("SELECT path, chunks FROM documents WHERE state = 'suspect'")) == chunks
        with pytest.raises(CollectionMismatch, match="dropped or made anew"):
            apply(world, NEWER)
        apply(second, BASE, **store)
        apply(second, NEWER, **store)
        assert_ours(world.weaviate, "", "", new, BASE, NEWER)
        assert states(second) == {"present", "absent"}
        assert {each.id for each in weaviate_holds(world.weaviate, COLLECTION)} >= NOBODYS


@pytest.fixture(autouse=True)
def leave_no_tenants(server: MortalServer) -> Iterator[None]:
    """The next test's collection is another."""
    yield
    drop_collection(server.url, COLLECTION)


def nobodys(url: str, vector: str, tenant: str) -> dict[str, tuple[object, list[float]]]:
    """Title and vector of the objects that are nobody's."""
    held = weaviate_holds(url, COLLECTION, vector=vector, tenant=tenant)
    found = {each.id: each for each in held if each.id in NOBODYS}
    assert set(found) == NOBODYS
    return {id_: (each.properties["title"], _listed(each)) for id_, each in found.items()}


def _listed(held: Held) -> list[float]:
    assert held.vector is not None
    return [float(value) for value in held.vector]


def ours(url: str, vector: str, tenant: str) -> list[Held]:
    """All the other objects, without the property that is not ours."""
    held = weaviate_holds(url, COLLECTION, vector=vector, tenant=tenant)
    found = [each for each in held if each.id not in NOBODYS]
    assert not any(each.properties.get("title") for each in found)
    return [
        Held(
            id=each.id,
            properties={name: value for name, value in each.properties.items() if name in PROPERTIES},
            vector=each.vector,
        )
        for each in found
    ]


def assert_ours(url: str, vector: str, tenant: str, *changesets: Sequence[Line]) -> None:
    """Object by object what these changesets make."""
    oracle = Oracle()
    for lines in changesets:
        oracle.apply(lines)
    assert_collection(ours(url, vector, tenant), oracle, tolerance=WEAVIATE_TOLERANCE)


def states(world: World) -> set[str]:
    """Of all documents in the ledger."""
    return {state for (state,) in world.query("SELECT DISTINCT state FROM documents")}


def found_first(store: str, text: str) -> tuple[str, str]:
    """The document that a search by the vector of a text finds first."""
    vector = open_embedder("hashing").embed([text])[0]
    with closing(open_store(store)) as opened:
        hits = opened.search(COLLECTION, SearchQuery(text=text, vector=vector, mode=SearchMode.VECTOR, limit=1))
    return hits[0].repository, hits[0].relative_path
