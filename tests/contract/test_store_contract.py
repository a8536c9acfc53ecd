"""What every vector store must do, whatever it is: writing, replacing, removing, reading back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import ScannedObject, SearchMode, SearchQuery, StoreObject
from elysia_dagster.stores.base import VectorStore

MakeObject = Callable[..., StoreObject]


def by_id(store: VectorStore, collection: str, **filters: Any) -> dict[str, ScannedObject]:
    """The whole collection; fails where a scan gives an id twice."""
    scanned = list(store.scan(collection, **filters))
    found = {item.id: item for item in scanned}
    assert len(found) == len(scanned), "a scan gave an object twice"
    return found


def test_describe_of_nothing_is_none_and_creates_nothing(empty_store: VectorStore, collection: str) -> None:
    assert empty_store.describe(collection) is None
    with pytest.raises(CollectionMismatch):
        empty_store.count(collection)
    assert empty_store.describe(collection) is None


def test_a_created_collection_tells_what_it_was_created_with(
    store: VectorStore, collection: str, open_again: Callable[[], VectorStore]
) -> None:
    for client in (store, open_again()):
        info = client.describe(collection)
        assert info is not None
        assert (info.name, info.incarnation, info.model_id) == (collection, "one", "hash-1")
        assert info.dimensions == 8
    assert store.count(collection) == 0
    assert list(store.scan(collection)) == []


def test_creating_again_returns_the_existing_one_untouched(
    store: VectorStore, collection: str, make: MakeObject, open_again: Callable[[], VectorStore]
) -> None:
    store.upsert(collection, [make()])
    again = open_again().ensure_collection(collection, incarnation="two", model_id="other", dimensions=16)
    assert (again.incarnation, again.model_id, again.dimensions) == ("one", "hash-1", 8)
    assert store.count(collection) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda store, make: store.upsert("Missing", [make()]),
        lambda store, make: store.delete_objects("Missing", ["a"]),
        lambda store, make: store.fetch_hashes("Missing", ["a"]),
        lambda store, make: list(store.scan("Missing")),
        lambda store, make: store.count_by_repository("Missing"),
        lambda store, make: store.search("Missing", SearchQuery(text="a", mode=SearchMode.TEXT)),
        lambda store, make: store.maintain("Missing"),
    ],
    ids=["upsert", "delete_objects", "fetch_hashes", "scan", "count_by_repository", "search", "maintain"],
)
def test_a_missing_collection_is_a_mismatch_and_is_not_created(
    store: VectorStore, make: MakeObject, use: Callable[[VectorStore, MakeObject], object]
) -> None:
    with pytest.raises(CollectionMismatch, match="Missing"):
        use(store, make)
    assert store.describe("Missing") is None


def test_what_is_written_is_read_back_by_another_client(
    store: VectorStore, collection: str, make: MakeObject, open_again: Callable[[], VectorStore]
) -> None:
    items = [make("src/a.py"), make("src/a.py", chunk=1), make("b.py", repository="other")]
    other = open_again()
    assert other.count(collection) == 0
    assert store.upsert(collection, items) == [None, None, None]
    assert other.fetch_hashes(collection, [item.id for item in items]) == {item.id: item.write_hash for item in items}
    found = by_id(other, collection)
    assert found == {
        item.id: ScannedObject(
            id=item.id,
            repository=item.repository,
            relative_path=item.relative_path,
            chunk_index=item.chunk_index,
            content_hash=item.content_hash,
            write_hash=item.write_hash,
            has_vector=True,
        )
        for item in items
    }


def test_writing_the_same_twice_changes_nothing(store: VectorStore, collection: str, make: MakeObject) -> None:
    items = [make(f"f{number}.py") for number in range(20)]
    store.upsert(collection, items)
    store.upsert(collection, items)
    assert store.count(collection) == 20
    assert set(by_id(store, collection)) == {item.id for item in items}


def test_an_object_is_replaced_by_its_id(store: VectorStore, collection: str, make: MakeObject) -> None:
    old, kept = make(), make("kept.py")
    store.upsert(collection, [old, kept])
    new = replace(old, content="changed", write_hash="new", content_hash="new content")
    assert store.upsert(collection, [new, make("fresh.py")]) == [None, None]
    assert store.count(collection) == 3
    assert store.fetch_hashes(collection, [old.id, kept.id]) == {old.id: "new", kept.id: kept.write_hash}
    assert by_id(store, collection)[old.id].content_hash == "new content"


def test_of_one_id_twice_in_a_call_the_last_counts(store: VectorStore, collection: str, make: MakeObject) -> None:
    first = make()
    last = replace(first, write_hash="last")
    assert store.upsert(collection, [first, make("b.py"), last]) == [None, None, None]
    assert store.fetch_hashes(collection, [first.id]) == {first.id: "last"}
    assert store.count(collection) == 2


def test_a_document_that_shrinks_loses_its_last_chunks(store: VectorStore, collection: str, make: MakeObject) -> None:
    chunks = [make(chunk=number) for number in range(10)]
    store.upsert(collection, chunks)
    store.upsert(collection, [replace(item, write_hash="second") for item in chunks[:2]])
    store.delete_objects(collection, [item.id for item in chunks[2:]])
    assert {item.chunk_index: item.write_hash for item in store.scan(collection)} == {0: "second", 1: "second"}


def test_deleting_takes_what_is_named_and_nothing_else(store: VectorStore, collection: str, make: MakeObject) -> None:
    items = [make(f"f{number}.py") for number in range(5)]
    store.upsert(collection, items)
    store.delete_objects(collection, [items[1].id, items[1].id, "never there", "it's; DROP TABLE x --"])
    store.delete_objects(collection, [items[1].id])
    assert set(by_id(store, collection)) == {item.id for item in items} - {items[1].id}


def test_empty_lists_are_no_work_and_no_error(store: VectorStore, collection: str, make: MakeObject) -> None:
    store.upsert(collection, [make()])
    assert store.upsert(collection, []) == []
    store.delete_objects(collection, [])
    assert store.fetch_hashes(collection, []) == {}
    assert store.count(collection) == 1


def test_a_document_of_more_than_ten_thousand_objects_is_written_read_and_deleted(
    store: VectorStore, collection: str, make: MakeObject
) -> None:
    vector = np.eye(8, dtype=np.float32)[0]
    items = [make("big.py", chunk=number, content="x", vector=vector) for number in range(10_001)]
    kept = make("kept.py")
    assert store.upsert(collection, [*items, kept]) == [None] * 10_002
    assert store.count(collection) == 10_002
    ids = [item.id for item in items]
    assert len(store.fetch_hashes(collection, ids)) == 10_001
    assert {item.chunk_index for item in store.scan(collection)} == set(range(10_001))
    store.delete_documents(collection, [items[0].document_id])
    assert set(by_id(store, collection)) == {kept.id}


def test_hashes_are_given_of_those_that_are_there(store: VectorStore, collection: str, make: MakeObject) -> None:
    item = make()
    store.upsert(collection, [item])
    assert store.fetch_hashes(collection, ["missing", item.id, item.id, "quote ' \" \\ %"]) == {
        item.id: item.write_hash
    }


def test_count_and_scan_by_repository(store: VectorStore, collection: str, make: MakeObject) -> None:
    names = ["alpha", "Alpha", 'it\'s "quoted" \\ %', "repo", "x' OR '1'='1"]
    items = [make(f"{number}.py", repository=name) for name in names for number in range(names.index(name) + 1)]
    store.upsert(collection, items)
    assert store.count(collection) == len(items)
    for number, name in enumerate(names, start=1):
        assert store.count(collection, repository=name) == number
        assert {item.repository for item in store.scan(collection, repository=name)} == {name}
        assert len(by_id(store, collection, repository=name)) == number
    assert store.count_by_repository(collection) == {name: number for number, name in enumerate(names, start=1)}
    store.delete_objects(collection, [items[0].id])
    assert names[0] not in store.count_by_repository(collection)
    assert store.count(collection, repository="alph") == 0
    assert list(store.scan(collection, repository="nobody")) == []
    assert store.count(collection, repository="lone \ud800") == 0


def test_an_object_without_a_vector_is_seen_as_such(store: VectorStore, collection: str, make: MakeObject) -> None:
    bare, zero, full = make("bare.py", vector=None), make("zero.py", vector=np.zeros(8, np.float32)), make("full.py")
    assert store.upsert(collection, [bare, zero, full]) == [None, None, None]
    found = by_id(store, collection)
    assert (found[bare.id].has_vector, found[zero.id].has_vector, found[full.id].has_vector) == (False, True, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"vector": np.ones(7, np.float32)},
        {"vector": np.ones((1, 8), np.float32)},
        {"vector": np.array([1, 0, 0, np.nan, 0, 0, 0, 0], np.float32)},
        {"vector": np.array([1, 0, 0, np.inf, 0, 0, 0, 0], np.float32)},
        {"content": "lone \ud800 surrogate"},
        {"repository": "lone \udcff surrogate"},
        {"commit": "\ud800"},
        {"last_modified": "yesterday"},
        {"size_bytes": 2**63},
    ],
    ids=["short", "matrix", "nan", "inf", "content", "repository", "commit", "time", "number"],
)
def test_a_bad_object_is_rejected_alone_with_a_reason(
    store: VectorStore, collection: str, make: MakeObject, changes: dict[str, Any]
) -> None:
    before, bad, after = make("before.py"), make("bad.py", **changes), make("after.py")
    reasons = store.upsert(collection, [before, bad, after])
    assert reasons[0] is None
    assert reasons[2] is None
    assert isinstance(reasons[1], str)
    assert reasons[1]
    assert set(by_id(store, collection)) == {before.id, after.id}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NUL \0 inside and at the end \0",
        "quotes ' \" ` \\ '' \\' ; --",
        "emoji 🧬👩‍👩‍👧, Žluťoučký, 漢字, العربية, \u202e, \ufeff BOM, \u2028",
        "line\nof\r\nall\rkinds\tand \x01\x7f\x85 controls",
        "%s {x} ${HOME} <script> \\u0000 \\x00",
    ],
    ids=["empty", "nul", "quotes", "unicode", "controls", "templates"],
)
def test_unusual_texts_come_back_as_they_were(store: VectorStore, collection: str, make: MakeObject, text: str) -> None:
    item = make(text or "a.py", content=text, repository=f"r{text}")
    assert store.upsert(collection, [item]) == [None]
    found = by_id(store, collection, repository=item.repository)
    assert (found[item.id].relative_path, found[item.id].repository) == (item.relative_path, item.repository)
    assert item.vector is not None
    query = SearchQuery(text="", vector=item.vector, mode=SearchMode.VECTOR, repository=item.repository)
    assert [hit.text for hit in store.search(collection, query)] == [text]


def test_long_paths_and_a_line_of_five_megabytes(store: VectorStore, collection: str, make: MakeObject) -> None:
    long_path = "/".join(["ď" * 99] * 40)
    items = [make(long_path), make("minified.js", content="x=1;" * 1_250_000), make("small.py")]
    assert len(long_path) >= 3_999
    assert store.upsert(collection, items) == [None, None, None]
    assert by_id(store, collection)[items[0].id].relative_path == long_path
    query = SearchQuery(text="", vector=items[1].vector, mode=SearchMode.VECTOR, limit=1)
    assert len(store.search(collection, query)[0].text) == 5_000_000


def test_dropped_and_recreated_elsewhere_is_seen_at_once(
    store: VectorStore,
    collection: str,
    make: MakeObject,
    drop: Callable[[str], None],
    open_again: Callable[[], VectorStore],
) -> None:
    store.upsert(collection, [make()])
    drop(collection)
    assert store.describe(collection) is None
    with pytest.raises(CollectionMismatch):
        store.upsert(collection, [make()])
    assert store.describe(collection) is None, "a write brought a dropped collection back"
    open_again().ensure_collection(collection, incarnation="two", model_id="hash-2", dimensions=4)
    info = store.describe(collection)
    assert info is not None
    assert (info.incarnation, info.model_id, info.dimensions) == ("two", "hash-2", 4)
    assert store.count(collection) == 0
    assert isinstance(store.upsert(collection, [make()])[0], str), "a vector of the old length was taken"


def test_maintenance_keeps_every_object_and_the_description(
    store: VectorStore, collection: str, make: MakeObject, open_again: Callable[[], VectorStore]
) -> None:
    items = [make(f"f{number}.py") for number in range(30)]
    for item in items:
        store.upsert(collection, [item])
    store.delete_objects(collection, [items[0].id])
    for _ in range(2):
        report = store.maintain(collection)
        assert report.collection == collection
        assert report.details["rows"] == 29
    store.upsert(collection, [replace(items[1], write_hash="after")])
    hashes = {item.id: item.write_hash for item in items[2:]} | {items[1].id: "after"}
    for client in (store, open_again()):
        assert {item.id: item.write_hash for item in client.scan(collection)} == hashes
        info = client.describe(collection)
        assert info is not None
        assert (info.incarnation, info.model_id, info.dimensions) == ("one", "hash-1", 8)


def test_closing_twice_is_fine(store: VectorStore, collection: str) -> None:
    store.close()
    store.close()
    assert store.url
    assert store.request_timeout_s > 0


def test_documents_go_whole_and_alone(store: VectorStore, collection: str, make: MakeObject) -> None:
    gone = [make("gone.py", chunk=number) for number in range(5)]
    kept = [make("gone.py", repository="other"), make("gone.py.bak"), make("sub/gone.py")]
    store.upsert(collection, [*gone, *kept])
    store.delete_documents(collection, [gone[0].document_id, gone[0].document_id, "never there"])
    assert set(by_id(store, collection)) == {item.id for item in kept}
    store.delete_documents(collection, [])
    store.delete_documents(collection, [gone[0].document_id])
    assert store.count(collection) == 3


def test_a_collection_is_adopted_with_what_it_holds(
    store: VectorStore, collection: str, make: MakeObject, open_again: Callable[[], VectorStore]
) -> None:
    item = make()
    store.upsert(collection, [item])
    adopted = open_again().adopt_collection(
        collection, incarnation="two", model_id="hash-2", dimensions=8, expected="one"
    )
    assert (adopted.incarnation, adopted.model_id, adopted.dimensions) == ("two", "hash-2", 8)
    assert store.describe(collection) == adopted
    assert set(by_id(store, collection)) == {item.id}
    store.maintain(collection)
    assert store.describe(collection) == adopted, "marks outlive maintenance"
    with pytest.raises(CollectionMismatch):
        store.adopt_collection(collection, incarnation="three", model_id="hash-3", dimensions=16, expected="two")
    assert store.describe(collection) == adopted
    with pytest.raises(CollectionMismatch, match="Missing"):
        store.adopt_collection("Missing", incarnation="one", model_id="hash-1", dimensions=8, expected=None)


@pytest.mark.parametrize("expected", [None, "another"])
def test_a_collection_that_is_not_the_expected_one_is_not_adopted(
    store: VectorStore, collection: str, expected: str | None
) -> None:
    before = store.describe(collection)
    with pytest.raises(CollectionMismatch, match=r"taken over by another process.*--adopt again"):
        store.adopt_collection(collection, incarnation="two", model_id="hash-2", dimensions=8, expected=expected)
    assert store.describe(collection) == before


def test_a_collection_is_dropped_by_who_knows_it(
    store: VectorStore, collection: str, make: MakeObject, open_again: Callable[[], VectorStore]
) -> None:
    store.upsert(collection, [make()])
    other = open_again()
    with pytest.raises(CollectionMismatch):
        other.drop_collection(collection, incarnation="another")
    assert store.count(collection) == 1
    for client in (other, store):  # the second time there is none
        client.drop_collection(collection, incarnation="one")
        assert client.describe(collection) is None
        with pytest.raises(CollectionMismatch):
            client.count(collection)
    made = store.ensure_collection(collection, incarnation="two", model_id="hash-2", dimensions=8)
    assert (made.incarnation, store.count(collection)) == ("two", 0)
    store.upsert(collection, [make(chunk=1)])
    assert len(by_id(other, collection)) == 1
