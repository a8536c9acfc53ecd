"""A state folder, a null store and changesets of any size, for the benchmarks that run the engine."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.null_store import NullStore
from elysia_dagster.settings import Settings
from elysia_dagster.sync.drive import carry_out, sync
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.request import ChangesetManifest, SyncRequest

COLLECTION = "Bench"
REPOSITORY_NAME = "repo"
WORDS = (
    *("archive", "batch", "cache", "digest", "engine", "field", "graph", "handle", "index", "journal", "kernel"),
    *("ledger", "manifest", "number", "object", "parser", "queue", "record", "socket", "table", "update", "vector"),
    "window",
)


class World:
    """One folder with everything in it. ``root`` holds the repository's folder, which is empty."""

    def __init__(self, base: Path, store: str = "null:") -> None:
        self.base = base
        self.root = base / "root"
        self.state = base / "state"
        (self.root / REPOSITORY_NAME).mkdir(parents=True, exist_ok=True)
        self.null_store = NullStore()
        self._store = store

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine on this folder, as a new process would open it."""
        settings = Settings(checkpoint_db_dir=str(self.state), store=self._store)
        if self._store == "null:":
            engine = Engine.open(settings, open_store=lambda _url, _settings: self.null_store)
        else:
            engine = Engine.open(settings)
        try:
            yield engine
        finally:
            engine.close()

    def request(self, changeset: Path) -> SyncRequest:
        """A start with that changeset."""
        return SyncRequest(
            changeset=changeset,
            collection=COLLECTION,
            roots=(self.root,),
            repo=REPOSITORY_NAME,
            store=self._store,
            batch_size=200,
        )

    def read(self, engine: Engine, changeset: Path) -> ChangesetManifest:
        """The first stage."""
        return sync(engine, self.request(changeset))

    def apply(self, engine: Engine, changeset: Path) -> SyncReport:
        """All stages, as the shell drives them."""
        report = carry_out(engine, self.read(engine, changeset), lambda _work, _report: None)
        assert isinstance(report, SyncReport)
        return report


def paths_as_git_prints_them(count: int) -> Iterator[str]:
    """Paths in the order of ``git ls-files``: by their bytes, so that the files of a folder come together."""
    for number in range(count):
        yield f"src/package{number // 2000:05}/module{number // 40 % 50:02}/{WORDS[number % 23]}_{number:07}.py"


def path_records(paths: Iterable[str]) -> Iterator[str]:
    """The lines of a producer that prints no content."""
    for path in paths:
        yield f'{{"repo":"{REPOSITORY_NAME}","op":"modify","path":"{path}"}}'


def content_records(paths: Iterable[str], *, content_bytes: int, label: str = "") -> Iterator[str]:
    """Lines that carry a document of ``content_bytes`` bytes each, no two alike. ``label`` changes the lines' bytes
    and means nothing."""
    for number, path in enumerate(paths):
        head = f"# {path}\n"
        body = "\n".join(
            f"{WORDS[(number + line) % 23]}_{line} = {WORDS[(number * 7 + line) % 23]}({number + line})"
            for line in range(1 + content_bytes // 20)
        )
        record = {
            "line": label,
            "repo": REPOSITORY_NAME,
            "op": "modify",
            "path": path,
            "content": (head + body)[: content_bytes - 1] + "\n",
        }
        yield json.dumps(record)


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """A changeset of these lines."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path
