"""Many rows in one statement do what one statement for each row does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable, bindparam, column, insert, select, table, update

from elysia_dagster.checkpoint import ledger
from elysia_dagster.checkpoint.bulk import BulkStatement, Of
from elysia_dagster.checkpoint.database import Database, open_database
from elysia_dagster.checkpoint.schema import collections, documents

THINGS = table("things", column("name"), column("number"), column("note"))


def _insert(_dialect: str, _of: Of) -> Executable:
    return insert(THINGS).values({name: bindparam(name) for name in ("name", "number", "note")})


def _update(_dialect: str, of: Of) -> Executable:
    return update(THINGS).where(THINGS.c.name == of("b_name"), THINGS.c.note.is_(None)).values(number=of("b_number"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A checkpoint with one table more."""
    opened = open_database(tmp_path / "checkpoint.db")
    with opened.write() as connection:
        connection.exec_driver_sql("CREATE TABLE things (name TEXT PRIMARY KEY, number INTEGER, note TEXT)")
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [0, 1, 2, 200, 256, 257, 700])
def test_every_row_is_inserted_and_updated(database: Database, count: int) -> None:
    adding = BulkStatement(("name", "number", "note"), _insert)
    changing = BulkStatement(("b_name", "b_number"), _update)
    rows: list[tuple[Any, ...]] = [(f"n{at}", at, None if at % 3 else "kept") for at in range(count)]
    with database.write() as connection:
        assert adding.execute(connection, rows) == count
        moved = changing.execute(connection, [(f"n{at}", at + 1000) for at in range(count + 5)])
        found = {name: number for name, number in connection.execute(select(THINGS.c.name, THINGS.c.number))}  # noqa: C416
    assert moved == sum(at % 3 != 0 for at in range(count))
    assert found == {f"n{at}": at + 1000 if at % 3 else at for at in range(count)}


def test_a_row_that_is_there_already_fails_the_whole(database: Database) -> None:
    adding = BulkStatement(("name", "number", "note"), _insert)
    with pytest.raises(Exception, match="UNIQUE"), database.write() as connection:
        adding.execute(connection, [("a", 1, None), ("b", 2, None), ("a", 3, None)])
    with database.read() as connection:
        assert connection.execute(select(THINGS)).all() == []


def test_documents_are_found_by_any_path(database: Database) -> None:
    paths = ["plain.py", 'quo"te', "back\\slash", "new\nline", "\x01\x7f", "ä/ü€", "🙂.py", "'", "a%s?:b", "[1]", " "]
    with database.write() as connection:
        connection.execute(
            insert(collections).values(
                collection_id=1,
                store="s",
                name="C",
                incarnation="i",
                model="m",
                dimensions=1,
                chunker="c",
                created_at="2026-01-02T03:04:05.000000+00:00",
            )
        )
        for path in paths:
            connection.execute(
                insert(documents).values(
                    collection_id=1,
                    repository="r",
                    path=path,
                    state="present",
                    version_sequence=1,
                    version_line=1,
                    chunks=1,
                    max_chunks=1,
                )
            )
    asked = [("r", path) for path in [*paths, "missing", "PLAIN.PY"]] + [("other", paths[0])]
    found = ledger.fetch_documents(database, 1, asked)
    assert found.keys() == {("r", path) for path in paths}
    assert all(row.path == path for (_, path), row in found.items())
