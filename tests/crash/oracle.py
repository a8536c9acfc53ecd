"""What the collection should hold, by a model in plain Python, and the comparison of everything with it.

The model knows nothing of batches, intents or leases: it applies changesets one after the other, in the order in which
their runs were opened, the last change of a document counts, and a line that cannot be applied changes nothing.
"""

import functools
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from crash.held import LANCEDB_TOLERANCE, WEAVIATE_TOLERANCE, Held, lancedb_holds, weaviate_holds
from other_embedder import SPEC as FOLDED
from other_embedder import FoldedEmbedder

from elysia_dagster.embedders import open_embedder
from elysia_dagster.models import StoreObject, document_id, object_id
from elysia_dagster.settings import DATABASE_NAME
from elysia_dagster.sync.batch import document_write_hash, write_hash
from elysia_dagster.sync.chunk import CHUNKER_ID, chunk_text
from elysia_dagster.sync.languages import extension_of, language_of

COLLECTION = "Demo"

PROPERTIES = frozenset(each.name for each in fields(StoreObject)) - {"id", "vector"}

KEPT_FILES = {"changeset.jsonl", "plan.arrow", "plan-retry.arrow", "measures.json"}
"""What a finished run leaves in its folder: enough to try its failed lines again, and what its stages took."""

Key = tuple[str, str]
"""Repository and path."""


@dataclass(frozen=True)
class Put:
    """A document is to hold ``text``; ``None`` says that the line cannot be applied, '' that it is not indexed."""

    key: Key
    text: str | None


@dataclass(frozen=True)
class Drop:
    """A document is to go."""

    key: Key


@dataclass(frozen=True)
class Line:
    """One line of a changeset: its bytes, and what it asks for. ``unreadable`` fails without naming a document.

    ``repository`` is the one it names, '' where that cannot be told; ``commit`` is of a ``new_changeset`` record.
    """

    raw: bytes
    effects: tuple[Put | Drop, ...] = ()
    repository: str = ""
    unreadable: bool = False
    commit: str = ""


@dataclass
class ModelRun:
    """A run as it should end. ``failed`` gives by failed line the one document it asks for, if it is one."""

    total: int
    failed: dict[int, Key | None] = field(default_factory=dict)
    repositories: frozenset[str] = frozenset()
    unknown: set[int] = field(default_factory=set)
    failed_in: dict[int, str] = field(default_factory=dict)


class Oracle:
    """The truth after the changesets that were applied to it."""

    def __init__(self) -> None:
        self.documents: dict[Key, str] = {}
        self.commits: dict[str, tuple[str, int]] = {}
        self.runs: list[ModelRun] = []

    def apply(self, lines: Sequence[Line]) -> "Oracle":
        """Applies a changeset as the next run."""
        run = ModelRun(total=len(lines), repositories=frozenset(each.repository for each in lines) - {""})
        winners = {effect.key: number for number, line in enumerate(lines, 1) for effect in line.effects}
        settled: set[Key] = set()
        for number, line in enumerate(lines, 1):
            counting = [effect for effect in line.effects if winners[effect.key] == number]
            if line.unreadable or any(isinstance(effect, Put) and effect.text is None for effect in counting):
                run.failed[number] = line.effects[0].key if len(line.effects) == 1 else None
                run.failed_in[number] = line.repository
                continue
            for effect in counting:
                settled.add(effect.key)
                if isinstance(effect, Put) and effect.text:
                    self.documents[effect.key] = effect.text
                else:
                    self.documents.pop(effect.key, None)
        for older in self.runs:
            for number in [each for each, key in older.failed.items() if key in settled]:
                del older.failed[number]
        self.runs.append(run)
        for line in lines:
            failing = {run.failed_in[number] for number in run.failed}
            if line.commit and line.repository not in failing:
                self.commits[line.repository] = (line.commit, len(self.runs))
        return self

    def is_incomplete(self, repository: str) -> bool:
        """Whether a run up to the repository's commit has a failed line that is, or may be, of that repository."""
        _, sequence = self.commits[repository]
        return any(
            run.failed_in[number] in (repository, "")
            for run in self.runs[:sequence]
            for number in run.failed
            if repository in run.repositories
        )


@functools.cache
def expected_objects(key: Key, text: str, collection: str = COLLECTION, spec: str = "hashing") -> dict[str, Held]:
    """The objects of one document, by id, with the properties that do not depend on when it was written."""
    repository, path = key
    chunks = chunk_text(text, path)
    embedder = FoldedEmbedder() if spec == FOLDED else open_embedder(spec)
    vectors = embedder.embed([chunk.text for chunk in chunks])
    content = text.encode()
    content_hash = hashlib.sha256(content).hexdigest()
    objects = (
        Held(
            id=object_id(collection, repository, path, chunk.index),
            properties={
                "file_path": f"{repository}/{path}",
                "relative_path": path,
                "file_name": Path(path).name,
                "repository": repository,
                "language": language_of(path),
                "extension": extension_of(path),
                "document_id": document_id(collection, repository, path),
                "chunk_index": chunk.index,
                "content": chunk.text,
                "start_line": chunk.start_line,
                "end_line": chunk.end_line,
                "size_bytes": len(content),
                "line_count": len(text.removesuffix("\n").split("\n")),
                "content_hash": content_hash,
                "write_hash": write_hash(
                    chunk.text, vector, model_id=embedder.model_id, chunker=CHUNKER_ID, content_hash=content_hash
                ),
            },
            vector=vector,
        )
        for chunk, vector in zip(chunks, vectors, strict=True)
    )
    return {each.id: each for each in objects}


def assert_everything(state: Path, oracle: Oracle, *, weaviate: str = "") -> None:
    """The whole collection and the whole checkpoint are what the model says, and nothing is left over.

    ``weaviate`` is the URL of the store that holds it, where that is not LanceDB below the state folder.
    """
    assert_store(state, oracle, weaviate=weaviate)
    with closing(sqlite3.connect(state / DATABASE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        assert_ledger(connection, oracle)
        assert_runs(connection, oracle)
        assert_commits(connection, oracle)
        runs = [row["run_id"] for row in connection.execute("SELECT run_id FROM sync_runs")]
    for run_id in runs:
        left = {each.name for each in (state / "work" / run_id).iterdir()}
        assert left <= KEPT_FILES, f"left over in the folder of {run_id}: {left - KEPT_FILES}"


def assert_store(
    state: Path, oracle: Oracle, *, weaviate: str = "", collection: str = COLLECTION, spec: str = "hashing"
) -> None:
    """Every object of the collection, read past the adapter, is what the model says."""
    held = weaviate_holds(weaviate, collection) if weaviate else lancedb_holds(state, collection)
    tolerance = WEAVIATE_TOLERANCE if weaviate else LANCEDB_TOLERANCE
    assert_collection(held, oracle, tolerance=tolerance, collection=collection, spec=spec)


def assert_collection(
    held: Sequence[Held], oracle: Oracle, *, tolerance: float, collection: str = COLLECTION, spec: str = "hashing"
) -> None:
    """Nothing missing, doubled, stale or left over, no property more or less, every vector its text's."""
    wanted = {
        id_: each
        for key, text in oracle.documents.items()
        for id_, each in expected_objects(key, text, collection, spec).items()
    }
    ids = [each.id for each in held]
    assert len(ids) == len(set(ids)), "an object is there twice"
    missing = [_name(each) for id_, each in wanted.items() if id_ not in set(ids)]
    assert not missing, f"missing: {missing}"
    left_over = [_name(each) for each in held if each.id not in wanted]
    assert not left_over, f"left over: {left_over}"
    for each in held:
        want = wanted[each.id]
        found = {name: each.properties.get(name) for name in want.properties}
        assert found == want.properties, f"stale: {_name(each)}"
        assert set(each.properties) == PROPERTIES, _name(each)
        assert each.vector is not None, f"without a vector: {_name(each)}"
        assert want.vector is not None
        assert each.vector.shape == want.vector.shape, _name(each)
        assert np.allclose(each.vector, want.vector, rtol=0, atol=tolerance), f"another's vector: {_name(each)}"


def _name(held: Held) -> tuple[object, object]:
    return held.properties.get("file_path"), held.properties.get("chunk_index")


def assert_ledger(
    connection: sqlite3.Connection, oracle: Oracle, *, collection: str = COLLECTION, spec: str = "hashing"
) -> None:
    """Every document's row says what the store holds; no row waits for anything."""
    found = connection.execute(
        "SELECT documents.* FROM documents JOIN collections USING (collection_id) WHERE name = ?", (collection,)
    )
    rows = {(row["repository"], row["path"]): row for row in found}
    states = {key: row["state"] for key, row in rows.items()}
    assert {key for key, state in states.items() if state == "present"} == set(oracle.documents)
    assert set(states.values()) <= {"present", "absent"}, states
    for key, row in rows.items():
        if row["state"] == "absent":
            assert (row["chunks"], row["max_chunks"], row["write_hash"]) == (0, 0, None), key
            continue
        objects = expected_objects(key, oracle.documents[key], collection, spec).values()
        hashes = [each.properties["write_hash"] for each in objects]
        assert (row["chunks"], row["max_chunks"]) == (len(hashes), len(hashes)), key
        assert row["write_hash"] == document_write_hash(hashes), key
        assert row["content_hash"] == next(iter(objects)).properties["content_hash"], key


def assert_runs(connection: sqlite3.Connection, oracle: Oracle) -> None:
    """Every line of every run settled exactly once, counters the numbers of rows, status and leases as they should."""
    runs = connection.execute("SELECT * FROM sync_runs ORDER BY sequence").fetchall()
    assert len(runs) == len(oracle.runs), [dict(run) for run in runs]
    for run, model in zip(runs, oracle.runs, strict=True):
        run_id = run["run_id"]
        completed = _lines(connection, "completed_lines", run_id)
        failed = _lines(connection, "failed_lines", run_id)
        assert failed == sorted(model.failed), (run_id, failed)
        assert sorted(completed + failed) == list(range(1, model.total + 1)), run_id
        counts = (run["total_lines"], run["processed_lines"], run["success_count"], run["error_count"])
        assert counts == (model.total, model.total, len(completed), len(failed)), (run_id, counts)
        assert run["status"] == ("failed" if failed else "completed"), run_id
        assert run["lease_owner"] is None, run_id
        assert run["completed_at"] is not None, run_id
    pending = connection.execute("SELECT COUNT(*) FROM failed_lines WHERE pending").fetchone()[0]
    assert pending == 0
    assert connection.execute("SELECT * FROM repository_claims").fetchall() == []


def _lines(connection: sqlite3.Connection, table: str, run_id: str) -> list[int]:
    rows = connection.execute(f"SELECT line_number FROM {table} WHERE run_id = ? ORDER BY line_number", (run_id,))
    return [row[0] for row in rows]


def assert_commits(connection: sqlite3.Connection, oracle: Oracle) -> None:
    """Every repository stands where the last run stands whose lines of it are all completed."""
    rows = connection.execute(
        "SELECT repository, commit_id, sequence, incomplete, record FROM repository_changesets"
    ).fetchall()
    sequences = [row[0] for row in connection.execute("SELECT sequence FROM sync_runs ORDER BY sequence")]
    found = {row["repository"]: (row["commit_id"], sequences.index(row["sequence"]) + 1) for row in rows}
    assert found == oracle.commits
    for row in rows:
        assert bool(row["incomplete"]) == oracle.is_incomplete(row["repository"]), row["repository"]
        assert json.loads(row["record"])["commit"] == row["commit_id"]
