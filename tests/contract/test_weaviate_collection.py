"""A collection on Weaviate: how it is made, what is added to an existing one, what is refused, who can read it."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from crash.held import asking, drop_collection

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import SearchMode, SearchQuery, StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.aliases import Aliasing
from elysia_dagster.stores.base import VectorStore

pytestmark = pytest.mark.weaviate

MakeObject = Callable[..., StoreObject]
OpenStore = Callable[..., VectorStore]

TEXTS = {
    "file_path",
    "relative_path",
    "file_name",
    "repository",
    "language",
    "extension",
    "content_hash",
    "write_hash",
    "document_id",
    "commit",
}
NUMBERS = {"size_bytes", "line_count", "chunk_index", "start_line", "end_line"}


@pytest.fixture
def address(weaviate_url: str) -> str:
    """The shared server: nothing here is about another store."""
    return weaviate_url


@pytest.fixture
def open_with(address: str) -> Iterator[OpenStore]:
    """Opens the store with other settings, or with something added to its URL."""
    opened: list[VectorStore] = []

    def open_client(*, added: str = "", **settings: Any) -> VectorStore:
        opened.append(open_store(f"{address}{added}", Settings(**settings)))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def new(make: MakeObject) -> MakeObject:
    """Makes an object; ``make`` is taken here."""
    return make


def create(store: VectorStore, collection: str, **changes: Any) -> None:
    """Makes the collection."""
    store.ensure_collection(collection, **({"incarnation": "one", "model_id": "hash-1", "dimensions": 8} | changes))


def schema_of(address: str, collection: str) -> dict[str, Any]:
    """The collection as the server has it."""
    server = urlsplit(address.removeprefix("weaviate:"))
    with urlopen(f"http://{server.netloc}/v1/schema/{collection}") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def made_by_another(address: str, collection: str, **schema: Any) -> None:
    """Makes a collection as another program would."""
    asking(address, lambda client: client.collections.create_from_dict({"class": collection, **schema}))


def text(name: str, tokenization: str) -> dict[str, Any]:
    return {"name": name, "dataType": ["text"], "tokenization": tokenization}


def test_it_has_the_properties_and_indexes_that_it_is_said_to_have(
    open_with: OpenStore, address: str, collection: str
) -> None:
    create(open_with(), collection)
    schema = schema_of(address, collection)
    kinds = {each["name"]: (each["dataType"], each.get("tokenization")) for each in schema["properties"]}
    assert kinds == {
        **{name: (["text"], "field") for name in TEXTS},
        **{name: (["int"], None) for name in NUMBERS},
        "content": (["text"], "word"),
        "last_modified": (["date"], None),
    }
    inverted = schema["invertedIndexConfig"]
    assert (inverted["indexNullState"], inverted["indexPropertyLength"], inverted["indexTimestamps"]) == (True,) * 3
    ((vector, config),) = schema["vectorConfig"].items()
    assert (vector, config["vectorizer"], config["vectorIndexConfig"]["distance"]) == (
        "default",
        {"none": {}},
        "cosine",
    )
    assert all(each["description"] for each in schema["properties"])
    assert "one" in schema["description"]


def test_elysia_of_weaviate_can_read_it(open_with: OpenStore, address: str, collection: str, new: MakeObject) -> None:
    """What its preprocessing asks of a collection (weaviate/elysia, ``elysia/preprocess/collection.py``)."""
    from weaviate.classes.aggregate import GroupByAggregate
    from weaviate.classes.query import Metrics

    store = open_with()
    create(store, collection)
    store.upsert(collection, [new(f"f{number}.py", commit=None, last_modified=None) for number in range(3)])

    def preprocess(client: Any) -> None:
        handle = client.collections.use(collection)
        config = handle.config.get()
        assert config.inverted_index_config.index_null_state
        assert config.inverted_index_config.index_property_length
        assert config.inverted_index_config.index_timestamps
        assert all(hasattr(each.vectorizer, "source_properties") for each in config.vector_config.values())
        assert handle.aggregate.over_all(total_count=True).total_count == 3
        assert len(handle.query.fetch_objects(limit=1, offset=2).objects) == 1
        sample = handle.query.fetch_objects(limit=3).objects
        for each in config.properties:
            if each.data_type.value == "text":
                groups = handle.aggregate.over_all(total_count=True, group_by=GroupByAggregate(prop=each.name)).groups
                assert groups, each.name
                assert all(isinstance(found.properties[each.name], str) for found in sample), each.name
            elif each.data_type.value == "date":
                metrics = [Metrics(each.name).date_(median=True, minimum=True, maximum=True)]
                assert each.name in handle.aggregate.over_all(return_metrics=metrics).properties

    asking(address, preprocess)


def test_missing_properties_are_added_and_the_rest_stays(
    open_with: OpenStore, address: str, collection: str, new: MakeObject
) -> None:
    made_by_another(
        address,
        collection,
        description="Ours for years.",
        properties=[text("file_path", "word"), text("content", "word"), text("notes", "word")],
        vectorizer="none",
    )
    store = open_with()
    assert store.describe(collection) is not None
    info = store.adopt_collection(collection, incarnation="two", model_id="hash-1", dimensions=8, expected=None)
    assert (info.incarnation, info.model_id, info.dimensions) == ("two", "hash-1", 8)
    schema = schema_of(address, collection)
    assert TEXTS | NUMBERS | {"content", "last_modified", "notes"} == {each["name"] for each in schema["properties"]}
    assert schema["description"].startswith("Ours for years.")
    assert "vectorConfig" not in schema or not schema["vectorConfig"], "its unnamed vector stays as it is"
    item = new()
    assert store.upsert(collection, [item]) == [None]
    (found,) = store.scan(collection)
    assert (found.id, found.has_vector) == (item.id, True)
    query = SearchQuery(text="", vector=item.vector, mode=SearchMode.VECTOR)
    assert [hit.text for hit in store.search(collection, query)] == [item.content]


@pytest.mark.parametrize(
    ("existing", "told"),
    [
        ({"name": "chunk_index", "dataType": ["text"]}, "chunk_index .* is text, and must be int"),
        (text("repository", "word"), "repository .* tokenization word, and must have field"),
        ({**text("document_id", "field"), "indexFilterable": False}, "document_id .* cannot be filtered"),
    ],
    ids=["type", "tokenization", "filter"],
)
def test_what_cannot_be_written_as_it_is_is_refused(
    open_with: OpenStore, address: str, collection: str, existing: dict[str, Any], told: str
) -> None:
    made_by_another(address, collection, properties=[existing], vectorizer="none")
    store = open_with()
    before = schema_of(address, collection)
    for take in (partial(store.adopt_collection, expected=None), store.ensure_collection):
        with pytest.raises(CollectionMismatch, match=told) as error:
            take(collection, incarnation="two", model_id="hash-1", dimensions=8)
        assert "--collection" in error.value.next_step
    assert schema_of(address, collection) == before, "what is refused is left as it was"


def test_vectors_of_another_length_are_refused(open_with: OpenStore, collection: str, new: MakeObject) -> None:
    store = open_with()
    create(store, collection)
    store.upsert(collection, [new()])
    with pytest.raises(CollectionMismatch, match="have 8 values, those of this embedder 16"):
        store.adopt_collection(collection, incarnation="two", model_id="other", dimensions=16, expected="one")
    info = store.describe(collection)
    assert info is not None
    assert info.incarnation == "one"


def test_several_named_vectors_need_a_choice(
    open_with: OpenStore, address: str, collection: str, new: MakeObject
) -> None:
    index = {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}
    made_by_another(address, collection, vectorConfig={"title": index, "body": index})
    with pytest.raises(CollectionMismatch, match=r"body, title.*ELYSIACTL_WEAVIATE_VECTOR"):
        open_with().describe(collection)
    with pytest.raises(CollectionMismatch, match="not tail"):
        open_with(added="&vector=tail").describe(collection)
    store = open_with(weaviate_vector="body")
    store.adopt_collection(collection, incarnation="two", model_id="hash-1", dimensions=8, expected=None)
    item = new()
    assert store.upsert(collection, [item]) == [None]
    assert [each.has_vector for each in store.scan(collection)] == [True]
    assert store.search(collection, SearchQuery(text="", vector=item.vector, mode=SearchMode.VECTOR))
    vectors = asking(
        address, lambda client: client.collections.use(collection).query.fetch_objects(include_vector=True)
    )
    assert set(vectors.objects[0].vector) == {"body"}


def test_tenants_are_contents_of_their_own(
    open_with: OpenStore, address: str, collection: str, new: MakeObject
) -> None:
    one, two = open_with(added="&tenant=one"), open_with(weaviate_tenant="two")
    assert (one.url, two.url) == (f"{address}&tenant=one", f"{address}&tenant=two")
    create(one, collection, incarnation="first")
    assert two.describe(collection) is None, "a tenant that is not there"
    create(two, collection, incarnation="second")
    for store, incarnation in ((one, "first"), (two, "second")):
        info = store.describe(collection)
        assert info is not None
        assert info.incarnation == incarnation
    one.upsert(collection, [new(), new("b.py")])
    two.upsert(collection, [new()])
    assert (one.count(collection), two.count(collection)) == (2, 1)
    two.delete_objects(collection, [new().id])
    assert (one.count(collection), two.count(collection)) == (2, 0)
    two.drop_collection(collection, incarnation="second")
    assert two.describe(collection) is None
    assert one.count(collection) == 2, "the other tenant's are not dropped"
    assert isinstance(one, Aliasing)
    assert not one.can_alias(), "an alias would name all tenants"
    with pytest.raises(CollectionMismatch, match="has tenants, and none is named"):
        open_with().describe(collection)


def test_a_tenant_of_a_collection_without_is_refused(open_with: OpenStore, collection: str) -> None:
    create(open_with(), collection)
    with pytest.raises(CollectionMismatch, match="has no tenants, and one is named"):
        open_with(added="&tenant=one").describe(collection)


def test_another_case_of_the_name_is_refused(open_with: OpenStore, address: str, collection: str) -> None:
    store = open_with()
    create(store, collection)
    other = collection[0] + collection[1:].upper()
    with pytest.raises(CollectionMismatch, match="case of its letters"):
        create(store, other)
    assert store.describe(other) is None
    drop_collection(address, collection)


def test_replicas_and_shards_come_from_settings(open_with: OpenStore, address: str, collection: str) -> None:
    create(open_with(weaviate_shards=3), collection)
    schema = schema_of(address, collection)
    assert schema["shardingConfig"]["desiredCount"] == 3
    assert schema["replicationConfig"]["factor"] == 1
    assert not schema["replicationConfig"].get("asyncEnabled")
    create(open_with(weaviate_shards=5), collection)
    assert schema_of(address, collection)["shardingConfig"]["desiredCount"] == 3, "what is there is respected"


def test_tenants_that_are_made_at_once_all_keep_their_marks(open_with: OpenStore, collection: str) -> None:
    """They share one description, which the server changes as a whole."""
    names = [f"t{number}" for number in range(6)]
    stores = {name: open_with(weaviate_tenant=name) for name in names}
    create(stores["t0"], collection, incarnation="made by t0")
    with ThreadPoolExecutor(len(names)) as pool:
        made = [pool.submit(create, stores[name], collection, incarnation=f"made by {name}") for name in names[1:]]
        for each in made:
            each.result()
    found = {name: stores[name].describe(collection) for name in names}
    assert {name: info and info.incarnation for name, info in found.items()} == {n: f"made by {n}" for n in names}
