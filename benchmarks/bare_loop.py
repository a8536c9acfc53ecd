"""What a first sync costs without everything that makes it resumable: chunk, embed, ``merge_insert``.

The same chunker, embedder, batches of 200 documents and columns, into a plain LanceDB table, one after the other: no
checkpoint, no batch files, no reading back, no syncing to disk, no second thread.
"""

import json
import time
from pathlib import Path

import lancedb
import pyarrow as pa

from benchmarks.figures import arguments_of_child
from benchmarks.world import COLLECTION, REPOSITORY_NAME
from elysia_dagster.embedders import open_embedder
from elysia_dagster.models import object_id
from elysia_dagster.stores.lancedb_rows import table_schema
from elysia_dagster.sync.chunk import chunk_text

BATCH = 200


def write_all(root: Path, paths: list[str], folder: Path) -> int:
    """Indexes the files; the number of rows."""
    embedder = open_embedder("hashing")
    schema = table_schema(incarnation="bare", model_id=embedder.model_id, dimensions=embedder.dimensions)
    table = lancedb.connect(folder).create_table(COLLECTION, schema=schema)
    for start in range(0, len(paths), BATCH):
        rows = [row for path in paths[start : start + BATCH] for row in _rows(root, path)]
        vectors = embedder.embed([row["content"] for row in rows])
        columns = {
            name: pa.array([row.get(name) for row in rows], schema.field(name).type)
            for name in schema.names
            if name != "vector"
        }
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), embedder.dimensions)
        batch = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema.remove_metadata())
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(batch)
    return int(table.count_rows())


def _rows(root: Path, path: str) -> list[dict[str, object]]:
    text = (root / REPOSITORY_NAME / path).read_text("utf-8", errors="replace")
    return [
        {
            "id": object_id(COLLECTION, REPOSITORY_NAME, path, chunk.index),
            "file_path": f"{REPOSITORY_NAME}/{path}",
            "relative_path": path,
            "file_name": path.rpartition("/")[2],
            "repository": REPOSITORY_NAME,
            "content": chunk.text,
            "chunk_index": chunk.index,
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
        }
        for chunk in chunk_text(text, path)
    ]


if __name__ == "__main__":
    arguments = arguments_of_child()
    listed = json.loads(Path(arguments["paths"]).read_text())
    wall, cpu = time.perf_counter(), time.process_time()
    rows = write_all(Path(arguments["root"]), listed, Path(arguments["folder"]))
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))
