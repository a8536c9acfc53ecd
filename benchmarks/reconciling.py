"""Comparing a collection in LanceDB with the ledger: objects a second, and memory as the collection grows.

The collection is made past the engine: vectors of 8 dimensions, four objects to a document, written in an order that is
not the ledger's. Nothing differs, as on most nights.
"""

import hashlib
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.figures import Figure, Scale, Stopwatch, arguments_of_child, in_process_of_its_own, peak_rss_bytes
from benchmarks.world import COLLECTION, REPOSITORY_NAME, World, paths_as_git_prints_them
from elysia_dagster.checkpoint import collections
from elysia_dagster.checkpoint.schema import documents
from elysia_dagster.models import DocumentState, document_id, object_id
from elysia_dagster.sync.batch import document_write_hash
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.reconcile import compared

CHUNKS = 4
DIMENSIONS = 8
MUST_OBJECTS_PER_S = 20_000
MUST_MB = 150
ROWS_AT_ONCE = 50_000


def run(scale: Scale) -> Iterator[Figure]:
    """Measures the speed, then the memory at two sizes, each in a process of its own."""
    timed = _measure(scale, scale.pick(200_000, 2_000))
    per_s = timed["objects"] / timed["wall_s"]
    yield Figure(
        row="reconciling",
        what=f"comparing {timed['objects']:,} objects of {timed['documents']:,} documents in LanceDB with the ledger",
        measured=f"{per_s:,.0f} objects/s ({timed['objects'] / timed['cpu_s']:,.0f} a second of CPU)",
        must_reach=f">= {MUST_OBJECTS_PER_S:,} objects/s",
        reached=per_s >= MUST_OBJECTS_PER_S,
        details=timed,
    )
    sizes = [_measure(scale, scale.pick(50_000, 1_000)), _measure(scale, scale.pick(500_000, 4_000))]
    peaks = ", ".join(f"{each['peak_bytes'] / 1e6:.0f}" for each in sizes)
    yield Figure(
        row="reconciling",
        what=f"peak memory above imports at {' and '.join(format(each['objects'], ',') for each in sizes)} objects",
        measured=f"{peaks} MB",
        must_reach=f"<= {MUST_MB} MB",
        reached=sizes[-1]["peak_bytes"] <= MUST_MB * 1e6,
        details={"runs": sizes},
    )


def _measure(scale: Scale, objects: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        in_process_of_its_own("reconciling", base=base, make=objects)
        return in_process_of_its_own("reconciling", base=base, make=0)


def make_collection(base: Path, objects: int) -> dict[str, Any]:
    """Store and ledger hold the same."""
    world = World(base, f"lancedb:{base}/vectors")
    with world.engine() as engine:
        store = engine.store()
        known = collections.register_collection(
            engine.database,
            store=store.url,
            name=COLLECTION,
            incarnation="bench",
            model="bench",
            dimensions=DIMENSIONS,
            chunker=CHUNKER_ID,
        )
        store.ensure_collection(COLLECTION, incarnation="bench", model_id="bench", dimensions=DIMENSIONS)
        paths = list(paths_as_git_prints_them(objects // CHUNKS))
        random.Random(1).shuffle(paths)
        for start in range(0, len(paths), ROWS_AT_ONCE // CHUNKS):
            _add(engine, base, known.collection_id, paths[start : start + ROWS_AT_ONCE // CHUNKS])
    return {}


def _add(engine: Engine, base: Path, collection_id: int, paths: list[str]) -> None:
    import lancedb

    table = lancedb.connect(f"{base}/vectors").open_table(COLLECTION)
    rows, ledger = [], []
    for path in paths:
        content_hash = hashlib.sha256(path.encode()).hexdigest()
        hashes = [hashlib.sha256(f"{path}\0{chunk}".encode()).hexdigest() for chunk in range(CHUNKS)]
        document = document_id(COLLECTION, REPOSITORY_NAME, path)
        for chunk, write_hash in enumerate(hashes):
            rows.append(
                {
                    "id": object_id(COLLECTION, REPOSITORY_NAME, path, chunk),
                    "vector": [float(chunk)] * DIMENSIONS,
                    "file_path": f"{REPOSITORY_NAME}/{path}",
                    "relative_path": path,
                    "repository": REPOSITORY_NAME,
                    "content_hash": content_hash,
                    "write_hash": write_hash,
                    "content": path,
                    "document_id": document,
                    "chunk_index": chunk,
                }
            )
        ledger.append(
            {
                "collection_id": collection_id,
                "repository": REPOSITORY_NAME,
                "path": path,
                "state": DocumentState.PRESENT.value,
                "version_sequence": 1,
                "version_line": 1,
                "content_hash": content_hash,
                "write_hash": document_write_hash(hashes),
                "chunker": CHUNKER_ID,
                "chunks": CHUNKS,
                "max_chunks": CHUNKS,
                "outcome": "indexed",
            }
        )
    table.add(pa.Table.from_pylist(rows, schema=table.schema))
    with engine.database.write() as connection:
        connection.execute(documents.insert(), ledger)


def compare_once(base: Path) -> dict[str, Any]:
    """What the child does that is measured."""
    world = World(base, f"lancedb:{base}/vectors")
    watch = Stopwatch()
    with world.engine() as engine:
        engine.store().describe(COLLECTION)
        before = peak_rss_bytes()
        with watch.running(), compared(engine, COLLECTION) as comparison:
            objects, known, differing = comparison.objects, comparison.documents, comparison.differing
        peak = peak_rss_bytes() - before
    return {
        "objects": objects,
        "documents": known,
        "differing": differing,
        "peak_bytes": peak,
        "wall_s": watch.wall_s,
        "cpu_s": watch.cpu_s,
    }


if __name__ == "__main__":
    arguments = arguments_of_child()
    place = Path(arguments["base"])
    print(json.dumps(make_collection(place, arguments["make"]) if arguments["make"] else compare_once(place)))
