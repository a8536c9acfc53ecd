"""The runs of a story, as its checkpoint tells them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from elysia_dagster.settings import DATABASE_NAME


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A run that waits to be gone on with."""

    run_id: str
    changeset: int
    failed: int


class Runs:
    """The checkpoint below ``state``, which may not be there yet; ``places`` are the changesets by number."""

    def __init__(self, state: Path, places: Sequence[Path]) -> None:
        self._database = state / DATABASE_NAME
        self._places = list(places)

    def all(self) -> list[sqlite3.Row]:
        """Their rows, oldest first; none where there is no checkpoint yet, or a killed process has left half of one."""
        if not self._database.exists():
            return []
        with closing(sqlite3.connect(self._database)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return connection.execute("SELECT * FROM sync_runs ORDER BY sequence").fetchall()
            except sqlite3.OperationalError as error:
                if "no such" not in str(error):
                    raise
                return []

    def unfinished(self) -> list[Unfinished]:
        """Those that wait to be gone on with."""
        return [
            Unfinished(run_id=row["run_id"], changeset=self.changeset(row), failed=row["error_count"])
            for row in self.all()
            if row["status"] == "running"
        ]

    def with_failures(self) -> list[str]:
        """Those that have failed lines."""
        return [row["run_id"] for row in self.all() if row["error_count"]]

    def opened(self) -> set[int]:
        """The changesets that have a run."""
        return {self.changeset(row) for row in self.all()}

    def changeset(self, row: sqlite3.Row) -> int:
        """The number of the changeset of a run's row."""
        return self._places.index(Path(row["input_source"]))
