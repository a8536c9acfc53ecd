"""What Weaviate's rules would let go wrong without a word: names, white space, tenants, limits, objects of others."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from crash.held import asking

from elysia_dagster.errors import CollectionMismatch, UsageError
from elysia_dagster.models import SearchMode, SearchQuery, StoreObject
from elysia_dagster.settings import Settings
from elysia_dagster.stores import open_store
from elysia_dagster.stores.base import VectorStore

MakeObject = Callable[..., StoreObject]
OpenStore = Callable[..., VectorStore]


@pytest.fixture
def address(weaviate_url: str) -> str:
    """The shared server: nothing here is about another store."""
    return weaviate_url


@pytest.fixture
def open_with(address: str) -> Iterator[OpenStore]:
    """Opens the store with other settings."""
    opened: list[VectorStore] = []

    def open_client(**settings: Any) -> VectorStore:
        opened.append(open_store(address, Settings(**settings)))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


def create(store: VectorStore, collection: str, **changes: Any) -> None:
    """Makes the collection."""
    store.ensure_collection(collection, **({"incarnation": "one", "model_id": "hash-1", "dimensions": 8} | changes))


@pytest.mark.parametrize("name", ["lower", "With-Hyphen", "Ünïcode", "1st", "A b", "A.b", "A/../B", "A" * 256, ""])
def test_a_name_that_no_collection_can_have_is_refused_before_anything_is_made(
    open_with: OpenStore, address: str, name: str
) -> None:
    """The server would make ``Lower`` of ``lower``."""
    store = open_with()
    for use in (store.describe, store.count, lambda name: create(store, name)):
        with pytest.raises(UsageError, match="cannot be the name"):
            use(name)
    made = asking(address, lambda client: list(client.collections.list_all(simple=True)))
    assert name.capitalize() not in made


def test_repositories_that_differ_in_white_space_are_kept_apart(
    open_with: OpenStore, collection: str, make: MakeObject
) -> None:
    """To an index with ``field`` tokenization they are one."""
    store = open_with()
    create(store, collection)
    names = ["repo", " repo", "repo ", "\trepo", "repo\n", "\u00a0repo", "  ", ""]
    items = [
        replace(make(f"{number}.py", content="zebra"), id=str(uuid.uuid4()), repository=name)
        for number, name in enumerate(names)
    ]
    assert store.upsert(collection, items) == [None] * len(items)
    assert store.count_by_repository(collection) == dict.fromkeys(names, 1)
    for item in items:
        assert store.count(collection, repository=item.repository) == 1
        assert [each.id for each in store.scan(collection, repository=item.repository)] == [item.id]
        for mode in SearchMode:
            query = SearchQuery(text="zebra", vector=item.vector, mode=mode, limit=1, repository=item.repository)
            assert [hit.relative_path for hit in store.search(collection, query)] == [item.relative_path]


def test_a_tenant_that_is_gone_is_not_made_anew_by_a_write(
    open_with: OpenStore, address: str, collection: str, make: MakeObject
) -> None:
    """Nor is one used whose collection would make it by itself, as its owner may have set it."""
    from weaviate.classes.config import Reconfigure

    store = open_with(weaviate_tenant="one")
    create(store, collection)
    item = make()
    store.upsert(collection, [item])

    def remove(client: Any) -> None:
        client.collections.use(collection).tenants.remove(["one"])

    def make_by_itself(client: Any, *, is_on: bool) -> None:
        tenancy = Reconfigure.multi_tenancy(auto_tenant_creation=is_on)
        client.collections.use(collection).config.update(multi_tenancy_config=tenancy)

    asking(address, remove)
    assert store.describe(collection) is None
    uses: list[Callable[[], object]] = [
        lambda: store.upsert(collection, [item]),
        lambda: store.delete_objects(collection, [item.id]),
        lambda: store.delete_documents(collection, [item.document_id]),
        lambda: store.fetch_hashes(collection, [item.id]),
        lambda: store.count(collection),
        lambda: list(store.scan(collection)),
        lambda: store.search(collection, SearchQuery(text="a", mode=SearchMode.TEXT)),
    ]
    for use in uses:
        with pytest.raises(CollectionMismatch):
            use()
    asking(address, lambda client: make_by_itself(client, is_on=True))
    for use in [*uses, lambda: store.describe(collection), lambda: create(store, collection)]:
        with pytest.raises(CollectionMismatch, match="autoTenantCreation") as error:
            use()
        assert error.value.next_step
    asking(address, lambda client: make_by_itself(client, is_on=False))
    assert store.describe(collection) is None, "a use brought the tenant back"


@pytest.mark.parametrize(
    ("settings", "dimensions", "told"),
    [
        ({"weaviate_replication": 5}, 8, "5 requested"),
        ({"weaviate_vectorizer": "text2vec-nothing"}, 0, "text2vec-nothing"),
        ({"weaviate_vectorizer": "{no json"}, 0, "ELYSIACTL_WEAVIATE_VECTORIZER"),
        ({}, 0, "no vectorizer"),
    ],
    ids=["nodes", "module", "setting", "none"],
)
def test_what_the_server_cannot_make_is_told_in_its_words(
    open_with: OpenStore, collection: str, settings: dict[str, Any], dimensions: int, told: str
) -> None:
    store = open_with(**settings)
    with pytest.raises(UsageError, match=told) as error:
        create(store, collection, dimensions=dimensions)
    assert error.value.next_step
    assert store.describe(collection) is None


def test_an_id_that_is_no_uuid_is_rejected_alone(open_with: OpenStore, collection: str, make: MakeObject) -> None:
    store = open_with()
    create(store, collection)
    good, bad = make("good.py"), replace(make("bad.py"), id="no uuid")
    reasons = store.upsert(collection, [bad, good])
    assert reasons == ["the id 'no uuid' is no UUID", None]
    assert store.count(collection) == 1


def test_each_object_has_its_own_reason_also_where_none_was_taken(
    open_with: OpenStore, address: str, collection: str, make: MakeObject
) -> None:
    """The client gives then a set of reasons, and not whose they are."""
    store = open_with()
    create(store, collection)
    store.upsert(collection, [make()])
    without_marks = "Vectors of any length, as far as this says."
    asking(address, lambda client: client.collections.use(collection).config.update(description=without_marks))
    items = [make(f"{size}.py", vector=np.ones(size, np.float32)) for size in (5, 6, 7)]
    for some in (items, [items[0]], [*items, make("good.py")]):
        reasons = store.upsert(collection, some)
        for item, reason in zip(some, reasons, strict=True):
            size = 0 if item.vector is None else len(item.vector)
            assert reason is None if size == 8 else f"length {size}" in str(reason)
    assert store.count(collection) == 2


def test_objects_of_others_are_counted_and_found_though_they_lack_everything(
    open_with: OpenStore, address: str, collection: str, make: MakeObject
) -> None:
    store = open_with()
    create(store, collection)
    vector = make().vector
    assert vector is not None

    def insert(client: Any) -> None:
        handle = client.collections.use(collection)
        handle.data.insert({"content": "zebra"}, vector={"default": vector.tolist()})

    asking(address, insert)
    for mode in SearchMode:
        (hit,) = store.search(collection, SearchQuery(text="zebra", vector=vector, mode=mode))
        assert (hit.text, hit.repository, hit.relative_path, hit.start_line) == ("zebra", "", "", 0)
    (found,) = store.scan(collection)
    assert (found.repository, found.write_hash, found.has_vector) == ("", "", True)
    assert store.count(collection) == 1


def test_a_limit_above_the_servers_own_is_no_error(open_with: OpenStore, collection: str, make: MakeObject) -> None:
    store = open_with()
    create(store, collection)
    item = make(content="zebra")
    store.upsert(collection, [item])
    for mode in SearchMode:
        query = SearchQuery(text="zebra", vector=item.vector, mode=mode, limit=20_000)
        assert [hit.text for hit in store.search(collection, query)] == ["zebra"]


def test_a_content_that_cannot_be_searched_is_refused(open_with: OpenStore, address: str, collection: str) -> None:
    content = {"name": "content", "dataType": ["text"], "indexSearchable": False}
    asking(
        address,
        lambda client: client.collections.create_from_dict(
            {"class": collection, "vectorizer": "none", "properties": [content]}
        ),
    )
    with pytest.raises(CollectionMismatch, match=r"content .* cannot be searched"):
        create(open_with(), collection)


def test_a_repository_is_scanned_alone_or_with_all(
    open_with: OpenStore, collection: str, make: MakeObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a filter where one answer holds it, else among all others; both give the same."""
    from elysia_dagster.stores import weaviate_read

    store = open_with()
    create(store, collection)
    items = [make(f"{number}.py", repository=f"r{number % 3}") for number in range(30)]
    store.upsert(collection, items)
    by_filter = {each.id: each for each in store.scan(collection, repository="r1")}
    monkeypatch.setattr(weaviate_read, "MOST_RESULTS", 5)
    monkeypatch.setattr(weaviate_read, "GROUPED_AT_MOST", 5)
    monkeypatch.setattr(weaviate_read, "SCAN_BATCH_OBJECTS", 4)
    among_all = {each.id: each for each in store.scan(collection, repository="r1")}
    assert by_filter == among_all
    assert set(by_filter) == {item.id for item in items if item.repository == "r1"}
    assert store.count_by_repository(collection) == {"r0": 10, "r1": 10, "r2": 10}
    assert store.count(collection, repository="r2") == 10


def test_one_repository_is_counted_without_a_look_at_the_others(
    open_with: OpenStore, collection: str, make: MakeObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large it and the collection are; one whose name has white space around it is grouped among its like."""
    from elysia_dagster.stores import weaviate_read

    store = open_with()
    create(store, collection)
    names = ["many"] * 20 + ["many "] * 3 + ["répo"] * 7 + ["\U0001f680"] * 2
    items = [make(f"{number}.py", repository=name) for number, name in enumerate(names)]
    assert store.upsert(collection, items) == [None] * len(items)
    monkeypatch.setattr(weaviate_read, "GROUPED_AT_MOST", 25)

    def scans(*_: object) -> dict[str, int]:
        raise AssertionError("the whole collection was read")

    monkeypatch.setattr(weaviate_read.WeaviateReader, "_counts_by_scan", scans)
    for name in {*names, "none"}:
        assert store.count(collection, repository=name) == names.count(name)
    monkeypatch.setattr(weaviate_read, "GROUPED_AT_MOST", 5)
    assert store.count(collection, repository="many") == 20
    with pytest.raises(AssertionError, match="the whole collection"):
        store.count(collection, repository="many ")


def test_one_copy_is_asked_once_for_what_is_missing_or_other_than_expected(
    open_with: OpenStore, collection: str, make: MakeObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No replica can lag behind, and by its id an object would be found that an interrupted write left in no index."""
    from elysia_dagster.stores import weaviate_connection

    store = open_with()
    create(store, collection)
    items = [make(f"{number}.py") for number in range(3)]
    assert store.upsert(collection, items) == [None] * 3
    hashes = {item.id: item.write_hash for item in items}

    def asks(*_: object) -> None:
        raise AssertionError("an object was asked for alone")

    monkeypatch.setattr(weaviate_connection.WeaviateConnection, "object", asks)
    wrong = dict.fromkeys([*hashes, make("missing.py").id], "never written")
    assert store.fetch_hashes(collection, list(wrong), wrong) == hashes
