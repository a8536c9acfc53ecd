"""A process of its own for the tests of many writers: ``python lancedb_process.py FOLDER ROLE ARGUMENT…``.

Roles: ``write REPOSITORY BATCHES`` writes, shrinks and reads back; ``maintain`` until the file ``stop`` appears;
``endless REPOSITORY`` writes until it is killed and prints each batch once it is acknowledged. All wait for the file
``go``, so that importing LanceDB does not set them apart.
"""

import sys
import time
from pathlib import Path

import numpy as np

from elysia_dagster.models import StoreObject, document_id, object_id
from elysia_dagster.stores.lancedb import LanceDBStore

COLLECTION = "Shared"
DIMENSIONS = 8
ROWS = 10


def make(repository: str, batch: int, chunk: int) -> StoreObject:
    """One chunk of document ``<batch>.py``; its ``write_hash`` tells which one it is."""
    path = f"{batch}.py"
    return StoreObject(
        id=object_id(COLLECTION, repository, path, chunk),
        vector=np.full(DIMENSIONS, 0.5, np.float32),
        file_path=f"{repository}/{path}",
        relative_path=path,
        file_name=path,
        repository=repository,
        language="python",
        extension=".py",
        content_hash="c",
        write_hash=f"{repository}:{batch}:{chunk}",
        content=f"text {batch} {chunk}",
        size_bytes=1,
        line_count=1,
        last_modified=None,
        document_id=document_id(COLLECTION, repository, path),
        chunk_index=chunk,
        start_line=1,
        end_line=1,
        commit=None,
    )


def batch_of(repository: str, batch: int) -> list[StoreObject]:
    """The ``ROWS`` chunks of one document."""
    return [make(repository, batch, chunk) for chunk in range(ROWS)]


def write(store: LanceDBStore, repository: str, batches: int) -> None:
    """Writes ``batches`` documents, removes the last chunk of each, and sees its own work at once."""
    for batch in range(batches):
        objects = batch_of(repository, batch)
        assert store.upsert(COLLECTION, objects) == [None] * ROWS
        store.delete_objects(COLLECTION, [objects[-1].id])
        expected = {item.id: item.write_hash for item in objects[:-1]}
        assert store.fetch_hashes(COLLECTION, [item.id for item in objects]) == expected


def maintain(store: LanceDBStore, stop: Path) -> None:
    """Maintains again and again; at least once."""
    while True:
        store.maintain(COLLECTION)
        if stop.exists():
            return
        time.sleep(0.05)


def endless(store: LanceDBStore, repository: str) -> None:
    """Writes document after document; prints its number when the store has acknowledged it."""
    batch = 0
    while True:
        store.upsert(COLLECTION, batch_of(repository, batch))
        print(batch, flush=True)
        batch += 1


def main(folder: Path, role: str, *arguments: str) -> None:
    """Makes the collection if it is first, waits for ``go``, then plays its role."""
    store = LanceDBStore(str(folder / "vectors"))
    print("ready", flush=True)
    while not (folder / "go").exists():
        time.sleep(0.005)
    store.ensure_collection(COLLECTION, incarnation=f"{role}{arguments}", model_id="m", dimensions=DIMENSIONS)
    if role == "write":
        write(store, arguments[0], int(arguments[1]))
    elif role == "maintain":
        maintain(store, folder / "stop")
    else:
        endless(store, arguments[0])
    info = store.describe(COLLECTION)
    print(info.incarnation if info else None, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
