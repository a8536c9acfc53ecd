"""Does to a collection in LanceDB, with LanceDB's own client, what should never happen to it."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import lancedb
from sync_world import COLLECTION

from elysia_dagster.models import object_id
from elysia_dagster.settings import DATABASE_NAME


class Damage:
    """Of a collection and the checkpoint below a state folder. A document is (repository, path)."""

    def __init__(self, state: Path, collection: str = COLLECTION) -> None:
        self._state = state
        self._collection = collection
        self._table = lancedb.connect(state / "vectors").open_table(collection)

    def rows(self, key: tuple[str, str]) -> list[dict[str, Any]]:
        """The objects of a document."""
        found: list[dict[str, Any]] = self._table.search().where(_of(key)).limit(None).to_arrow().to_pylist()
        return found

    def remove(self, key: tuple[str, str], chunk: int | None = None) -> None:
        """An object goes, or all of a document."""
        self._table.delete(_of(key, chunk))

    def double(self, key: tuple[str, str], chunk: int = 0) -> None:
        """An object is there once more."""
        self._table.add(self._table.search().where(_of(key, chunk)).limit(1).to_arrow())

    def make_stale(self, key: tuple[str, str], chunk: int = 0) -> None:
        """An object is another one than was written."""
        self._table.update(where=_of(key, chunk), values={"write_hash": "another", "content": "another"})

    def take_vector(self, key: tuple[str, str], chunk: int = 0) -> None:
        """An object has no vector."""
        self._table.update(where=_of(key, chunk), values_sql={"vector": "NULL"})

    def leave_over(self, key: tuple[str, str], chunk: int) -> None:
        """An object of a chunk that a document does not have, or of a document that is unknown."""
        row = self._table.search().limit(1).to_arrow().to_pylist()[0]
        self._add({**row, **_names(key), "chunk_index": chunk, "id": object_id(self._collection, *key, chunk)})

    def add_foreign(self, key: tuple[str, str] = ("theirs", "a.txt")) -> str:
        """An object that is not ours; its id."""
        row = self._table.search().limit(1).to_arrow().to_pylist()[0]
        id_ = str(uuid.uuid4())
        self._add({**row, **_names(key), "chunk_index": 0, "id": id_})
        return id_

    def _add(self, row: dict[str, Any]) -> None:
        self._table.add([row])

    def ledger(self, statement: str, *arguments: Any) -> None:
        """A statement on the checkpoint."""
        with closing(sqlite3.connect(self._state / DATABASE_NAME)) as connection, connection:
            assert connection.execute(statement, arguments).rowcount == 1

    def set_row(self, key: tuple[str, str], **values: Any) -> None:
        """Columns of a document's row."""
        names = ", ".join(f"{name} = ?" for name in values)
        self.ledger(f"UPDATE documents SET {names} WHERE repository = ? AND path = ?", *values.values(), *key)

    def forget(self, key: tuple[str, str]) -> None:
        """A document's row goes."""
        self.ledger("DELETE FROM documents WHERE repository = ? AND path = ?", *key)


def _of(key: tuple[str, str], chunk: int | None = None) -> str:
    condition = f"repository = '{key[0]}' AND relative_path = '{key[1]}'"
    return condition if chunk is None else f"{condition} AND chunk_index = {chunk}"


def _names(key: tuple[str, str]) -> dict[str, str]:
    return {"repository": key[0], "relative_path": key[1], "file_path": "/".join(key), "document_id": "/".join(key)}
