"""How the embedded store bears a long first sync: time of a write and of its reading back, and size, over many batches.

    python benchmarks/lancedb_batches.py [--batches 1000] [--dimensions 1024] [--rows 200] [--prefill 0] [--folder DIR]

Prints a line every tenth of the way. Milliseconds are over the batches since the line before: the median and the mean
(which has the batches that refreshed the index or compacted in it). Memory is the peak of this process above imports.
"""

import argparse
import hashlib
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from elysia_dagster.models import StoreObject, document_id, object_id
from elysia_dagster.stores import lancedb_durability
from elysia_dagster.stores.lancedb import LanceDBStore

COLLECTION = "Bench"
WORDS = np.array([f"word{number}" for number in range(5000)])


def main() -> None:
    """Fills a table and prints the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200, help="objects in a batch")
    parser.add_argument("--dimensions", type=int, default=1024)
    parser.add_argument("--prefill", type=int, default=0, help="rows put in by batches of 20,000 before the clock runs")
    parser.add_argument("--update", type=float, default=0.0, help="share of batches that replace an earlier batch")
    parser.add_argument("--no-sync", action="store_true", help="leave files unsynced, to see what syncing costs")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the store is made (default: a temporary folder)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.no_sync:
            with mock.patch.object(lancedb_durability.FileSyncer, "sync", return_value=0):
                run(Path(folder), options)
        else:
            run(Path(folder), options)


def run(folder: Path, options: argparse.Namespace) -> None:
    """Writes the batches into a store in ``folder``."""
    store = LanceDBStore(str(folder))
    store.ensure_collection(COLLECTION, incarnation="bench", model_id="random", dimensions=options.dimensions)
    random = np.random.default_rng(7)
    base_mb = peak_mb()
    for first in range(0, options.prefill, 20_000):
        count = min(20_000, options.prefill - first)
        store.upsert(COLLECTION, [make(random, -1, first + number, options.dimensions) for number in range(count)])
    print("               -- write, ms ----------   read")
    print(" batch     rows   median     mean    worst      ms  data MB  disk MB  files  peak MB")
    writes: list[float] = []
    reads: list[float] = []
    for batch in range(1, options.batches + 1):
        source = random.integers(1, batch) if batch > 1 and random.random() < options.update else batch
        objects = [make(random, int(source), number, options.dimensions) for number in range(options.rows)]
        started = time.perf_counter()
        store.upsert(COLLECTION, objects)
        written = time.perf_counter()
        hashes = store.fetch_hashes(COLLECTION, [item.id for item in objects])
        reads.append(1000 * (time.perf_counter() - written))
        writes.append(1000 * (written - started))
        assert hashes == {item.id: item.write_hash for item in objects}
        if batch % max(1, options.batches // 10) == 0 or batch == 1:
            times = f"{statistics.median(writes):8.1f} {statistics.mean(writes):8.1f} {max(writes):8.0f}"
            times += f" {statistics.median(reads):7.1f}"
            print(
                f"{batch:6} {store.count(COLLECTION):8} {times} {sizes(folder)} {peak_mb() - base_mb:8.0f}", flush=True
            )
            writes, reads = [], []
    before = time.perf_counter()
    print("maintain:", store.maintain(COLLECTION).details, f"{time.perf_counter() - before:.1f} s")


def sizes(folder: Path) -> str:
    """MB of data, MB in all (with old versions and indexes), and the number of files."""
    files = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    bytes_of = {file: file.stat().st_size for file in files}
    data = sum(size for file, size in bytes_of.items() if file.parent.name == "data")
    return f"{data / 1e6:8.0f} {sum(bytes_of.values()) / 1e6:8.0f} {len(files):6}"


def make(random: np.random.Generator, batch: int, number: int, dimensions: int) -> StoreObject:
    """A chunk of 1.5 kB of random words with a random unit vector; its id follows from batch and number."""
    path = f"src/{batch}/{number}.py"
    content = " ".join(WORDS[random.integers(0, len(WORDS), 180)])
    digest = hashlib.sha256(content.encode()).hexdigest()
    vector = random.standard_normal(dimensions, dtype=np.float32)
    return StoreObject(
        id=object_id(COLLECTION, "repo", path, 0),
        vector=vector / np.linalg.norm(vector),
        file_path=f"repo/{path}",
        relative_path=path,
        file_name=f"{number}.py",
        repository="repo",
        language="python",
        extension=".py",
        content_hash=digest,
        write_hash=digest,
        content=content,
        size_bytes=len(content),
        line_count=1,
        last_modified="2025-03-01T12:30:00Z",
        document_id=document_id(COLLECTION, "repo", path),
        chunk_index=0,
        start_line=1,
        end_line=1,
        commit=None,
    )


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB (Linux counts it in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
