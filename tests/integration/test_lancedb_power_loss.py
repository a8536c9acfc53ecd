"""A LanceDB table whose newest version a power loss has torn; what was synced, and may be settled, is never touched."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from crash.power import Power, build_recorder
from lacking import lacking

from elysia_dagster.checkpoint import owner
from elysia_dagster.errors import ResourceExhausted, StoreUnavailable
from elysia_dagster.models import StoreObject, object_id
from elysia_dagster.stores import lancedb_recovery
from elysia_dagster.stores.lancedb import LanceDBStore
from elysia_dagster.stores.lancedb_durability import FileSyncer

COLLECTION = "Demo"


def item(name: str) -> StoreObject:
    """An object of its own name."""
    return StoreObject(
        id=object_id(COLLECTION, "repo", name, 0),
        vector=np.array([1.0, 0.0], dtype=np.float32),
        file_path=f"repo/{name}",
        relative_path=name,
        file_name=name,
        repository="repo",
        language="python",
        extension=".py",
        content_hash=name,
        write_hash=name,
        content=name,
        size_bytes=1,
        line_count=1,
        last_modified="2026-01-01T00:00:00Z",
        document_id=name,
        chunk_index=0,
        start_line=1,
        end_line=1,
        commit=None,
    )


def held(folder: Path) -> set[str]:
    """What a process sees that opens the table now."""
    store = LanceDBStore(str(folder))
    try:
        return {each.relative_path for each in store.scan(COLLECTION) if each.relative_path}
    finally:
        store.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with two synced writes and one that was not; nobody has started the machine since."""
    monkeypatch.setattr(owner, "_boot_id", lambda: "before")
    place = tmp_path / "vectors"
    store = LanceDBStore(str(place))
    store.ensure_collection(COLLECTION, incarnation="i", model_id="m", dimensions=2)
    store.upsert(COLLECTION, [item("first")])
    store.upsert(COLLECTION, [item("second")])
    with monkeypatch.context() as patch:
        patch.setattr(FileSyncer, "sync", lambda _syncer: 0)
        store.upsert(COLLECTION, [item("unsynced")])
    store.close()
    return place


def newest(folder: Path, kind: str) -> Path:
    """The file that was written last."""
    files = [each for each in (folder / f"{COLLECTION}.lance" / kind).iterdir() if "." in each.name[1:-5]]
    return max(files, key=lambda each: (each.suffix in (".manifest", ".lance"), each.stat().st_mtime_ns))


def emptied(place: Path) -> None:
    place.write_bytes(b"")


def cut(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-30])


def zeroed(place: Path) -> None:
    place.write_bytes(bytes(place.stat().st_size))


DAMAGES = [emptied, cut, zeroed]


@pytest.mark.parametrize("kind", ["_versions", "data"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_version_is_put_aside(
    folder: Path,
    kind: str,
    damage: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(newest(folder, kind))
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    assert held(folder) == {"first", "second"}
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    store = LanceDBStore(str(folder))
    store.upsert(COLLECTION, [item("unsynced")])
    store.close()
    assert held(folder) == {"first", "second", "unsynced"}
    assert len(list((folder / f"{COLLECTION}.lance").glob("torn-*"))) == 1


def test_a_version_that_arrived_whole_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    assert held(folder) == {"first", "second", "unsynced"}


def test_in_the_same_boot_nothing_is_put_aside(folder: Path) -> None:
    """There was no power loss: it is the disk, or somebody's hand."""
    damaged = newest(folder, "_versions")
    emptied(damaged)
    with pytest.raises(StoreUnavailable, match=r"is damaged: .* elysiactl index forget --collection Demo --yes"):
        held(folder)
    assert damaged.exists()


def test_what_was_synced_is_never_put_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LanceDBStore(str(folder))
    store.upsert(COLLECTION, [item("synced")])
    store.close()
    emptied(newest(folder, "_versions"))
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    with pytest.raises(StoreUnavailable, match="is damaged"):
        held(folder)
    assert not list((folder / f"{COLLECTION}.lance").glob("torn-*"))


def _raising(error: Exception) -> Callable[..., object]:
    def connect(*_: object, **__: object) -> object:
        raise error

    return connect


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("lance error: Generic LocalFileSystem error: Too many open files (os error 24)"), "handles"),
        (OSError("Cannot allocate memory (os error 12)"), "handles"),
        (RuntimeError("Unable to open file: Permission denied (os error 13)"), "cannot be read"),
        (RuntimeError("lance error: Input/output error (os error 5)"), "cannot be read"),
        (ValueError("something that nobody has seen yet"), "nobody has seen"),
    ],
    ids=["handles", "memory", "permission", "disk", "unknown"],
)
def test_what_is_no_fault_of_the_files_puts_nothing_aside(
    folder: Path, error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    with monkeypatch.context() as patch:
        patch.setattr(lancedb_recovery, "lancedb", SimpleNamespace(connect=_raising(error)))
        with pytest.raises(Exception, match=told) as raised:
            held(folder)
    assert isinstance(raised.value, ResourceExhausted) == (told == "handles")
    assert not list((folder / f"{COLLECTION}.lance").glob("torn-*"))
    assert held(folder) == {"first", "second", "unsynced"}


def test_a_file_that_a_version_names_and_that_never_arrived(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest(folder, "data").unlink()
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    assert held(folder) == {"first", "second"}


def test_what_was_noted_while_it_was_tried_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    versions = folder / f"{COLLECTION}.lance" / "_versions"
    look = lancedb_recovery._why_torn

    def noted_meanwhile(place: Path, collection: str, version: int | None) -> str | None:
        if version is None:
            return look(place, collection, version)
        lancedb_recovery.note_synced(versions, set(os.listdir(versions)))
        return "another process was in the way"

    monkeypatch.setattr(lancedb_recovery, "_why_torn", noted_meanwhile)
    assert held(folder) == {"first", "second", "unsynced"}


def test_a_version_that_cannot_be_read_once_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    answers = iter(["it calls itself version 3"])
    look = lancedb_recovery._why_torn
    monkeypatch.setattr(lancedb_recovery, "_why_torn", lambda *asked: next(answers, None) or look(*asked))
    assert held(folder) == {"first", "second", "unsynced"}


COMPACTS = """
import os, signal, sys
from datetime import timedelta
from elysia_dagster.stores import lancedb_maintenance, lancedb_tables
from elysia_dagster.stores.lancedb import LanceDBStore
lancedb_maintenance.VERSIONS_KEPT = timedelta(0)
# the old versions are gone, and what a writer syncs when its step is done is not synced yet
lancedb_tables.TableFolder._sync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
LanceDBStore(sys.argv[1]).maintain("Demo")
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """The library that notes what is synced."""
    library = build_recorder(tmp_path)
    if library is None:
        lacking("there is no C compiler to build the recorder of syncs with")
    return library


@pytest.mark.parametrize("rest", ["lost", "names", "zeros"] if os.environ.get("LONG") == "1" else ["names"])
def test_compaction_is_on_the_disk_before_old_versions_go(
    folder: Path, tmp_path: Path, recorder: Path, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    power = Power(folder, tmp_path / "kept")
    environment = {**os.environ, **power.environment, "LD_PRELOAD": str(recorder), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", COMPACTS, folder], env=environment, check=False)
    assert done.returncode == -9
    power.lose(rest)
    monkeypatch.setattr(owner, "_boot_id", lambda: "after")
    assert held(folder) == {"first", "second", "unsynced"}
