"""A place to sync in: folders of a test's own, an engine on them, and short ways to say what came of it."""

import hashlib
import json
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import CollectionInfo, MaintenanceReport, ScannedObject, SearchHit, SearchQuery, StoreObject
from elysia_dagster.settings import DATABASE_NAME, Settings
from elysia_dagster.stores import open_store
from elysia_dagster.sync.drive import carry_out, sync
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.preview import Preview
from elysia_dagster.sync.request import ChangesetManifest, SyncRequest
from elysia_dagster.sync.resume import resume_run
from elysia_dagster.sync.retry import retry_run

COLLECTION = "Demo"
Line = str | bytes | dict[str, Any]


class RecordingStore:
    """Keeps objects in memory and remembers what was asked of it. Satisfies ``VectorStore``.

    ``reject`` gives the reason why an object is refused, or None. ``own_model`` is its vectorizer, if it has one.
    ``deleted`` are ids of objects, ``deleted_documents`` of documents, ``queries`` what was searched for.
    """

    def __init__(self, url: str = "recording:") -> None:
        self.url = url
        self.request_timeout_s = 1.0
        self.rewrites_identical = True
        self.takes_calls_at_once = False
        self.collections: dict[str, CollectionInfo] = {}
        self.objects: dict[str, StoreObject] = {}
        self.sent: list[list[str]] = []
        self.reject: Callable[[StoreObject], str | None] = lambda _: None
        self.own_model: str | None = None
        self.deleted: list[str] = []
        self.deleted_documents: list[str] = []
        self.queries: list[SearchQuery] = []

    def take_sent(self) -> list[str]:
        """``file_path`` of every object sent since the last call, sorted."""
        found = sorted(path for request in self.sent for path in request)
        self.sent.clear()
        return found

    def describe(self, collection: str) -> CollectionInfo | None:
        return self.collections.get(collection)

    def ensure_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        made = CollectionInfo(name=collection, incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        return self.collections.setdefault(collection, made)

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        assert collection in self.collections
        self.sent.append([each.file_path for each in objects])
        reasons = [self.reject(each) for each in objects]
        self.objects.update({each.id: each for each, reason in zip(objects, reasons, strict=True) if reason is None})
        return reasons

    def delete_objects(self, collection: str, ids: Sequence[str]) -> None:
        assert collection in self.collections
        self.deleted += ids
        for each in ids:
            self.objects.pop(each, None)

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        assert collection in self.collections
        self.deleted_documents += document_ids
        for each in [each.id for each in self.objects.values() if each.document_id in set(document_ids)]:
            del self.objects[each]

    def drop_collection(self, collection: str, *, incarnation: str) -> None:
        self.collections.pop(collection, None)

    def vectorizer(self, collection: str) -> str | None:
        return self.own_model

    def adopt_collection(
        self, collection: str, *, incarnation: str, model_id: str, dimensions: int, expected: str | None
    ) -> CollectionInfo:
        if self.collections[collection].incarnation != expected:
            raise CollectionMismatch(f"{collection} was taken over by another process.")
        if self.collections[collection].dimensions != dimensions:
            raise CollectionMismatch(f"The vectors of {collection} have another length.")
        made = CollectionInfo(name=collection, incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        self.collections[collection] = made
        return made

    def fetch_hashes(
        self, collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        assert collection in self.collections
        return {each: self.objects[each].write_hash for each in ids if each in self.objects}

    def count(self, collection: str, *, repository: str | None = None) -> int:
        return sum(1 for _ in self.scan(collection, repository=repository))

    def count_by_repository(self, collection: str) -> dict[str, int]:
        return dict(Counter(each.repository for each in self.scan(collection)))

    def scan(self, collection: str, *, repository: str | None = None) -> Iterator[ScannedObject]:
        assert collection in self.collections
        for each in self.objects.values():
            if repository in (None, each.repository):
                yield ScannedObject(
                    id=each.id,
                    repository=each.repository,
                    relative_path=each.relative_path,
                    chunk_index=each.chunk_index,
                    content_hash=each.content_hash,
                    write_hash=each.write_hash,
                    has_vector=each.vector is not None,
                )

    def search(self, collection: str, query: SearchQuery) -> list[SearchHit]:
        self.queries.append(query)
        return []

    def maintain(self, collection: str) -> MaintenanceReport:
        return MaintenanceReport(collection=collection)

    def close(self) -> None:
        pass


class World:
    """Folders ``root`` (for repositories) and ``state`` below ``base``, and an engine; a context manager.

    ``settings`` are fields of ``Settings``. ``store`` None opens LanceDB below the state folder.
    """

    collection = COLLECTION

    weaviate = ""
    """The store URL of the server that holds the collection, reached directly; '' where it is no Weaviate."""

    def __init__(self, base: Path, *, store: RecordingStore | None = None, **settings: Any) -> None:
        self.base = base
        self.root = base / "root"
        self.state = base / "state"
        self.root.mkdir(exist_ok=True)
        self.recording = store
        self._changesets = 0
        self._engines: list[Engine] = []
        self.engine = self.open_engine(**settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.close()

    def open_engine(self, *, parts: dict[str, Any] | None = None, **settings: Any) -> Engine:
        """Another engine on the same state, as another process would open it."""
        recording = self.recording
        opened = Engine.open(
            Settings(checkpoint_db_dir=str(self.state), **settings),
            open_store=(lambda _url, _settings: recording) if recording else open_store,
            **(parts or {}),
        )
        self._engines.append(opened)
        return opened

    def write(self, path: str, content: str | bytes = "") -> Path:
        """A file below the root; its folders are made."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def changeset(self, *lines: Line, name: str = "", separator: bytes = b"\n") -> Path:
        """A changeset file of these lines; a dict is written as JSON."""
        self._changesets += 1
        place = self.base / (name or f"changeset-{self._changesets}.jsonl")
        place.write_bytes(b"".join(raw(each) + separator for each in lines))
        return place

    def request(self, changeset: Path | None, **options: Any) -> SyncRequest:
        """What a start asks for, with the root and collection of this world."""
        fields: dict[str, Any] = {"collection": self.collection, "roots": (self.root,), **options}
        return SyncRequest(changeset=changeset, **fields)

    def begin(self, *lines: Line, engine: Engine | None = None, **options: Any) -> ChangesetManifest:
        """Reads a changeset of these lines; the run waits to be carried out."""
        return sync(engine or self.engine, self.request(self.changeset(*lines), **options))

    def sync(self, *lines: Line, **options: Any) -> RunRecord:
        """Applies a changeset of these lines; the run as it stands then."""
        return self.finish(self.begin(*lines, **options))

    def sync_file(self, changeset: Path, **options: Any) -> RunRecord:
        """Applies a changeset file."""
        return self.finish(sync(self.engine, self.request(changeset, **options)))

    def finish(self, manifest: ChangesetManifest, engine: Engine | None = None) -> RunRecord:
        """Carries a run out."""
        self.report = carry_out(engine or self.engine, manifest, lambda _work, _report: None)
        assert isinstance(self.report, SyncReport)
        return self.report.run

    def preview(self, *lines: Line, **options: Any) -> Preview:
        """A dry run of these lines."""
        report = carry_out(self.engine, self.begin(*lines, dry_run=True, **options), lambda _work, _report: None)
        assert isinstance(report, Preview)
        return report

    def resume(self, run_id: str) -> RunRecord:
        """Goes on with a run, without its input."""
        return self.finish(resume_run(self.engine, run_id))

    def retry(self, run_id: str, **which: Any) -> RunRecord:
        """Tries failed lines of a run again; nothing is done where none is eligible."""
        manifest = retry_run(self.engine, run_id, **which)
        return self.finish(manifest) if manifest else load_run(self.engine.database, run_id)

    def query(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Rows, as people ask for them with sqlite3."""
        with closing(sqlite3.connect(self.state / DATABASE_NAME)) as connection, connection:
            return connection.execute(statement, arguments).fetchall()

    def outcomes(self, run: RunRecord) -> dict[int, str]:
        """Every settled line of a run: its outcome, or ``failed``."""
        found = dict(
            self.query("SELECT line_number, outcome FROM completed_lines WHERE run_id = ?", run.run_id),
        )
        found |= dict(self.query("SELECT line_number, 'failed' FROM failed_lines WHERE run_id = ?", run.run_id))
        return found

    def failures(self, run: RunRecord) -> dict[int, str]:
        """Why each failed line of a run failed."""
        return dict(self.query("SELECT line_number, error_message FROM failed_lines WHERE run_id = ?", run.run_id))

    def held(self) -> dict[str, str]:
        """SHA-256 in hex of every document in the store, by ``repository/path``; its chunks are looked at."""
        store = self.engine.store()
        hashes: dict[str, str] = {}
        chunks: dict[str, list[int]] = {}
        for each in store.scan(self.collection):
            name = f"{each.repository}/{each.relative_path}"
            assert hashes.setdefault(name, each.content_hash) == each.content_hash, f"chunks of two versions: {name}"
            assert each.has_vector
            chunks.setdefault(name, []).append(each.chunk_index)
        for name, indexes in chunks.items():
            assert sorted(indexes) == list(range(len(indexes))), f"chunks of {name}: {indexes}"
        return hashes

    def git(self, repository: str, *arguments: str) -> str:
        """Runs git in a repository below the root."""
        return git(self.root / repository, *arguments)


def raw(line: Line) -> bytes:
    """A line as it is written, without its separator."""
    if isinstance(line, dict):
        return json.dumps(line).encode()
    return line if isinstance(line, bytes) else line.encode()


def sha256(content: str | bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def git(folder: Path, *arguments: str) -> str:
    """Runs git in a folder, as a fixed author, and gives what it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = ("-c", "user.name=fixture", "-c", "user.email=fixture@example.invalid", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout
