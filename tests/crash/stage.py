"""Where a scenario is played: repositories, state, children that work on them, and a way back to an earlier moment."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from crash.oracle import COLLECTION, Key, Line, Oracle, assert_everything, assert_ledger, assert_store
from crash.scenario import BATCH_SIZE, text_of, write_changeset, write_files
from crash.zygote import Child, Zygote

from elysia_dagster.settings import DATABASE_NAME


class Stage:
    """Folders ``root`` and ``state`` below ``base``; the store is LanceDB, or the server ``weaviate`` (a store URL)."""

    def __init__(self, zygote: Zygote, base: Path, *, weaviate: str = "") -> None:
        self.zygote = zygote
        self.weaviate = weaviate
        self.base = base
        self.root = base / "root"
        self.state = base / "state"
        self._children = 0
        self._snapshots = 0
        write_files(self.root)

    def changeset(self, name: str, lines: Sequence[Line]) -> Path:
        """A changeset file."""
        return write_changeset(self.base / f"{name}.jsonl", lines)

    def start(
        self,
        task: str,
        *,
        fault: str = "",
        settings: dict[str, Any] | None = None,
        forgetful: bool = False,
        host: str = "",
        boot: str = "",
        environment: dict[str, str] | None = None,
        limits: dict[str, int] | None = None,
        **arguments: Any,
    ) -> Child:
        """Starts a child, see ``worker``."""
        self._children += 1
        output = self.base / "children" / str(self._children)
        if self.weaviate:
            settings = {"store": self.weaviate, **(settings or {})}
        return self.zygote.start(
            task,
            self.state,
            output,
            fault=fault,
            settings=settings,
            forgetful=forgetful,
            host=host,
            boot=boot,
            environment=environment,
            limits=limits,
            **arguments,
        )

    def start_sync(self, changeset: Path, *, fault: str = "", **options: Any) -> Child:
        """Starts ``index sync``."""
        arguments = {"collection": COLLECTION, "roots": [str(self.root)], "batch_size": BATCH_SIZE, **options}
        return self.start("sync", changeset=str(changeset), fault=fault, **arguments)

    def sync(self, changeset: Path, **options: Any) -> Child:
        """``index sync``, to its end."""
        return self._ended(self.start_sync(changeset, **options))

    def do(self, task: str, **arguments: Any) -> Child:
        """Another task, to its end."""
        return self._ended(self.start(task, **arguments))

    def kill(self, child: Child, point: str) -> None:
        """Waits for the child's death at a point; a point that is not reached fails the test."""
        code = child.wait()
        assert code == -9, f"{point} was not reached ({code}): {child.points()} {child.error()}"
        assert child.killed_at() == point

    def _ended(self, child: Child) -> Child:
        code = child.wait()
        assert code == 0, child.error()
        return child

    def snapshot(self) -> Callable[[], None]:
        """Keeps the state as it is; what is returned brings it back, at the same place."""
        self._snapshots += 1
        kept = self.base / "snapshots" / str(self._snapshots)
        shutil.copytree(self.state, kept)

        def restore() -> None:
            shutil.rmtree(self.state)
            shutil.copytree(kept, self.state)

        return restore

    @contextmanager
    def more_files(self, *keys: Key) -> Iterator[None]:
        """Files that had not been there, for the block: each holds a text of its own, but a renamed one its old one."""
        for key in keys:
            name = "stay" if key == ("beta", "away.py") else key[1].removesuffix(".py")
            (self.root / key[0] / key[1]).write_text(text_of(name))
        try:
            yield
        finally:
            for repository, path in keys:
                (self.root / repository / path).unlink()

    def rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """What the checkpoint answers."""
        with closing(sqlite3.connect(self.state / DATABASE_NAME)) as connection:
            return connection.execute(statement, arguments).fetchall()

    def run_ids(self) -> list[str]:
        """The runs there are, oldest first."""
        return [row[0] for row in self.rows("SELECT run_id FROM sync_runs ORDER BY sequence")]

    def age(self, *, days: float) -> None:
        """Makes the folders of all runs older."""
        moment = time.time() - days * 86_400
        for folder in (self.state / "work").iterdir():
            os.utime(folder, (moment, moment))

    def assert_documents(
        self, *changesets: Sequence[Line], collection: str = COLLECTION, spec: str = "hashing"
    ) -> Oracle:
        """Collection and ledger, not the runs, are what these changesets make of them; the model of that."""
        oracle = Oracle()
        for lines in changesets:
            oracle.apply(lines)
        assert_store(self.state, oracle, weaviate=self.weaviate, collection=collection, spec=spec)
        with closing(sqlite3.connect(self.state / DATABASE_NAME)) as connection:
            connection.row_factory = sqlite3.Row
            assert_ledger(connection, oracle, collection=collection, spec=spec)
        return oracle

    def assert_everything(self, *changesets: Sequence[Line]) -> None:
        """The whole state is what these changesets make of it, applied in this order."""
        oracle = Oracle()
        for lines in changesets:
            oracle.apply(lines)
        assert_everything(self.state, oracle, weaviate=self.weaviate)
