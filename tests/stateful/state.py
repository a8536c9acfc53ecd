"""What a world's checkpoint and collection say, read past the engine."""

import sqlite3
from contextlib import closing
from typing import Any

from crash.held import Held, lancedb_holds
from crash.oracle import Key
from stateful.model import Model, Version
from sync_world import World

from elysia_dagster.settings import DATABASE_NAME

UNSURE = ("writing", "suspect")


class State:
    """Of the collection that is synced now; ``world`` says which that is."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def collection(self) -> str:
        """Its name."""
        return self._world.collection

    def query(self, statement: str, *arguments: Any) -> list[sqlite3.Row]:
        """Rows with names."""
        with closing(self.connect()) as connection:
            return connection.execute(statement, arguments).fetchall()

    def connect(self) -> sqlite3.Connection:
        """To the checkpoint; to be closed."""
        connection = sqlite3.connect(self._world.state / DATABASE_NAME)
        connection.row_factory = sqlite3.Row
        return connection

    def has_collection(self) -> bool:
        """Whether it was made."""
        named = self.query("SELECT 1 FROM collections WHERE name = ?", self.collection)
        return bool(named) and (self._world.state / "vectors" / f"{self.collection}.lance").is_dir()

    def objects(self) -> list[Held]:
        """All that the store holds of it."""
        return lancedb_holds(self._world.state, self.collection) if self.has_collection() else []

    def runs(self) -> dict[str, sqlite3.Row]:
        """Every run there is, of repairs and rebuilds too, oldest first."""
        rows = self.query("SELECT * FROM sync_runs WHERE NOT dry_run ORDER BY sequence")
        return {row["run_id"]: row for row in rows}

    def newest_sequence(self) -> int:
        """The highest number that was given to a run."""
        found: int = self.query("SELECT COALESCE(MAX(sequence), 0) AS newest FROM sync_runs")[0]["newest"]
        return found

    def lines(self) -> list[tuple[Any, ...]]:
        """Every settled line of every run."""
        return [
            tuple(row)
            for table in ("completed_lines", "failed_lines")
            for row in self.query(f"SELECT * FROM {table} ORDER BY run_id, line_number")
        ]

    def done(self, run_id: str) -> set[int]:
        """Lines of a run that are completed, and not since something newer stands."""
        rows = self.query(
            "SELECT line_number FROM completed_lines WHERE run_id = ? AND outcome IN ('indexed', 'deleted')", run_id
        )
        return {row["line_number"] for row in rows}

    def documents(self) -> list[tuple[Any, ...]]:
        """The ledger."""
        return [tuple(row) for row in self.query("SELECT * FROM documents ORDER BY 1, 2, 3")]

    def rows(self) -> dict[Key, tuple[Version, str]]:
        """By document its version and its state."""
        return {
            (row["repository"], row["path"]): ((row["version_sequence"], row["version_line"]), row["state"])
            for row in self.query(
                "SELECT documents.* FROM documents JOIN collections USING (collection_id) WHERE name = ?",
                self.collection,
            )
        }

    def settled(self) -> set[Key]:
        """Documents of which the ledger is sure."""
        return {key for key, (_, state) in self.rows().items() if state not in UNSURE}

    def doubts_beside(self, model: Model) -> dict[Key, set[str | None]]:
        """Documents of which it is not, and no unfinished run is the reason: a repair deletes before it writes."""
        named = model.named_by_open_runs()
        unsure = [key for key, (_, state) in self.rows().items() if state in UNSURE and key not in named]
        return {key: {None, *model.may_hold(key)} for key in unsure}

    def is_whole(self) -> bool:
        """Whether no run is unfinished, and no document in doubt."""
        running = self.query("SELECT 1 FROM sync_runs WHERE status = 'running' LIMIT 1")
        return not running and not any(state in UNSURE for _, state in self.rows().values())

    def commits(self) -> dict[str, tuple[str, int]]:
        """By repository its commit and the sequence of the run that moved it."""
        return {row["repository"]: (row["commit_id"], row["sequence"]) for row in self._commits()}

    def commits_without_failures(self) -> dict[str, str]:
        """Those that no failed line makes untrue."""
        return {row["repository"]: row["commit_id"] for row in self._commits() if not row["incomplete"]}

    def _commits(self) -> list[sqlite3.Row]:
        return self.query(
            "SELECT repository_changesets.* FROM repository_changesets JOIN collections USING (collection_id) "
            "WHERE name = ?",
            self.collection,
        )

    def left_in_folder(self, run_id: str) -> set[str]:
        """Names of the files that a run has left."""
        folder = self._world.state / "work" / run_id
        return {each.name for each in folder.iterdir()} if folder.exists() else set()
