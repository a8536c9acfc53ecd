"""How the LanceDB store looks after a table by itself, and what it says when the machine gives out."""

import errno
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elysia_dagster.errors import CollectionMismatch, ElysiaError, ResourceExhausted, StoreUnavailable, UsageError
from elysia_dagster.models import SearchMode, SearchQuery, StoreObject
from elysia_dagster.stores import lancedb_durability, lancedb_errors, lancedb_maintenance
from elysia_dagster.stores.lancedb import LanceDBStore

COLLECTION = "Upkeep"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LanceDBStore]:
    """A store with one empty collection of two dimensions."""
    opened = LanceDBStore(str(tmp_path / "vectors"))
    opened.ensure_collection(COLLECTION, incarnation="one", model_id="m", dimensions=2)
    yield opened
    opened.close()


def make(number: int) -> StoreObject:
    """A small object whose id is its number."""
    return StoreObject(
        id=f"id-{number}",
        vector=np.ones(2, np.float32),
        file_path=f"r/{number}",
        relative_path=str(number),
        file_name=str(number),
        repository="r",
        language="text",
        extension="",
        content_hash="c",
        write_hash=f"w{number}",
        content=f"number n{number}",
        size_bytes=1,
        line_count=1,
        last_modified=None,
        document_id=str(number),
        chunk_index=0,
        start_line=1,
        end_line=1,
        commit=None,
    )


def shape(store: LanceDBStore) -> lancedb_maintenance.TableShape:
    """Rows and fragments as LanceDB counts them."""
    return store._tables.read(COLLECTION, lancedb_maintenance.shape_of)


def has_id_index(store: LanceDBStore) -> bool:
    """Whether the index on id was made."""
    return store._tables.read(
        COLLECTION, lambda table: lancedb_maintenance.has_index(table, lancedb_maintenance.ID_INDEX)
    )


@pytest.mark.parametrize("child_from_bytes", [0, 10**12], ids=["child", "inline"])
def test_small_writes_do_not_pile_up_fragments(
    store: LanceDBStore, monkeypatch: pytest.MonkeyPatch, child_from_bytes: int
) -> None:
    monkeypatch.setattr(lancedb_maintenance, "CHILD_FROM_BYTES", child_from_bytes)
    for number in range(120):
        store.upsert(COLLECTION, [make(number)])
    assert shape(store).rows == 120
    assert shape(store).fragments < 60
    assert store.fetch_hashes(COLLECTION, ["id-0", "id-119"]) == {"id-0": "w0", "id-119": "w119"}
    info = store.describe(COLLECTION)
    assert info is not None
    assert (info.incarnation, info.model_id) == ("one", "m")


def test_a_grown_table_has_an_index_and_stays_right_with_it(store: LanceDBStore) -> None:
    items = [make(number) for number in range(6000)]
    store.upsert(COLLECTION, items)
    assert not has_id_index(store)
    for item in items[:25]:
        store.upsert(COLLECTION, [replace(item, write_hash="again")])
    assert has_id_index(store)
    # With the index there are three ways to write: all new, all replaced, some of each.
    store.upsert(COLLECTION, [make(number) for number in range(6000, 6100)])
    store.upsert(COLLECTION, [replace(item, write_hash="third") for item in items[100:200]])
    store.upsert(COLLECTION, [replace(make(number), write_hash="mixed") for number in range(5990, 6010)])
    store.upsert(COLLECTION, [replace(make(number), write_hash="mixed") for number in range(6095, 6105)])
    expected = {f"id-{number}": f"w{number}" for number in range(6105)}
    expected |= {f"id-{number}": "again" for number in range(25)}
    expected |= {f"id-{number}": "third" for number in range(100, 200)}
    expected |= {f"id-{number}": "mixed" for number in (*range(5990, 6010), *range(6095, 6105))}
    scanned = [(item.id, item.write_hash) for item in store.scan(COLLECTION)]
    assert len(scanned) == len(expected)
    assert dict(scanned) == expected
    assert store.fetch_hashes(COLLECTION, list(expected)) == expected


def test_every_new_file_of_a_write_is_synced_before_it_returns(
    store: LanceDBStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    real = os.fsync

    def recording(fd: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    table = tmp_path / "vectors" / f"{COLLECTION}.lance"
    before = {str(path) for path in table.rglob("*") if path.is_file()}
    monkeypatch.setattr(lancedb_durability.os, "fsync", recording)
    for write in (
        lambda: store.upsert(COLLECTION, [make(1), make(2)]),
        lambda: store.delete_objects(COLLECTION, ["id-1"]),
        lambda: store.search(COLLECTION, SearchQuery(text="n2", mode=SearchMode.TEXT)),
    ):
        write()
        fresh = {str(path) for path in table.rglob("*") if path.is_file()} - before
        # The hint of the latest version is rewritten at each commit, and only saves LanceDB a listing; a note is empty.
        unsynced = {Path(path).name for path in fresh - synced}
        assert {name for name in unsynced if not name.startswith("synced-")} <= {"latest_version_hint.json"}
    assert {str(table / "data"), str(table / "_versions")} <= synced


def test_no_file_handles_left_is_a_resource_used_up(store: LanceDBStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    store.close()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        with pytest.raises(ResourceExhausted, match="run the same command again"):
            store.upsert(COLLECTION, [make(1)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.upsert(COLLECTION, [make(1)]) == [None]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"), ResourceExhausted),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ResourceExhausted),
        (RuntimeError("Too many open files (os error 24)"), ResourceExhausted),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), StoreUnavailable),
        (RuntimeError("Read-only file system (os error 30)"), StoreUnavailable),
        (RuntimeError("lance error: Not found: x/_versions/7.manifest"), StoreUnavailable),
        (RuntimeError("Retryable commit conflict for version 8"), StoreUnavailable),
        (RuntimeError("Too many concurrent writers. Failed to commit"), StoreUnavailable),
        (ValueError("Table 'T' was not found"), CollectionMismatch),
        (RuntimeError("index out of bounds"), None),
        (KeyError("Not found"), None),
    ],
)
def test_errors_are_told_apart_by_their_known_texts(error: Exception, kind: type[ElysiaError] | None) -> None:
    known = lancedb_errors.translated(error, collection="T", url="lancedb:/x")
    if kind is None:
        assert known is None
    else:
        assert type(known) is kind
        assert known.next_step


def test_an_operation_in_the_way_of_another_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refreshed: list[str] = []

    def third_time_lucky() -> str:
        return "written" if len(refreshed) == 2 else _conflict()

    assert lancedb_errors.retrying(third_time_lucky, refresh=lambda: refreshed.append("fresh")) == "written"
    monkeypatch.setattr(lancedb_errors, "RETRY_FOR_S", 0.1)
    with pytest.raises(RuntimeError, match="conflict"):
        lancedb_errors.retrying(_conflict, refresh=lambda: None)


def test_a_store_where_a_file_lies_says_so(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("not a folder")
    store = LanceDBStore(str(tmp_path / "vectors"))
    assert store.describe(COLLECTION) is None
    with pytest.raises(StoreUnavailable, match="vectors"):
        store.ensure_collection(COLLECTION, incarnation="one", model_id="m", dimensions=2)


@pytest.mark.parametrize("name", ["", "a/b", "../up", "sp ace", "quote'", "nul\0"])
def test_a_name_that_no_table_can_have_is_refused(store: LanceDBStore, name: str) -> None:
    with pytest.raises(UsageError, match="letters"):
        store.ensure_collection(name, incarnation="one", model_id="m", dimensions=2)


def _conflict() -> str:
    raise RuntimeError("lance error: Retryable commit conflict for version 3")


def test_a_removal_that_was_interrupted_is_ended_by_the_next(store: LanceDBStore, tmp_path: Path) -> None:
    """Out of the way at once: what is left then is no table that anybody could open."""
    folder = tmp_path / "vectors"
    store.upsert(COLLECTION, [make(1)])
    (folder / f"{COLLECTION}.lance").rename(folder / f".{COLLECTION}.dropped-1")
    assert store.describe(COLLECTION) is None
    store.drop_collection(COLLECTION, incarnation="one")
    assert {each.name for each in folder.iterdir()} == {f"{COLLECTION}.lock"}
