"""Statements for many rows move what they should on every database, however many rows there are."""

import pytest
from checkpoint_world import Checkpoint, completed
from sqlalchemy import bindparam, insert, update

from elysia_dagster.checkpoint import ledger
from elysia_dagster.checkpoint.bulk import BulkStatement
from elysia_dagster.checkpoint.schema import sequences

INSERT = BulkStatement(
    ("name", "value"),
    lambda _dialect, _of: insert(sequences).values(name=bindparam("name"), value=bindparam("value")).inline(),
)
NAMES = ("b_name", "b_value")
UPDATE = BulkStatement(
    NAMES,
    lambda _dialect, of: update(sequences).where(sequences.c.name == of("b_name")).values(value=of("b_value")),
)


def insert_rows(count: int) -> list[tuple[str, int]]:
    return [(f"row {number} 'quoted' ? :x %s", number) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1000])
def test_every_row_is_inserted_and_updated_and_counted(count: int, checkpoint: Checkpoint) -> None:
    rows = insert_rows(count)
    checkpoint.execute("DELETE FROM sequences")
    with checkpoint.database.write() as connection:
        assert INSERT.execute(connection, rows) == count
    assert sorted(checkpoint.rows("SELECT name, value FROM sequences")) == sorted(rows)
    with checkpoint.database.write() as connection:
        there = [(name, value + 7) for name, value in rows]
        assert UPDATE.execute(connection, [*there, ("nobody", 1)]) == count
    assert sorted(checkpoint.rows("SELECT name, value FROM sequences")) == sorted(there)


def test_text_of_every_kind_comes_back_as_it_was(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(10)
    paths = [
        "ü.md",
        "日本.txt",
        "a'b\"c",
        "back\\slash",
        "%(x)s",
        ":name",
        "?",
        "tab\t",
        "new\nline",
        "\u202e\U0001f600",
    ]
    lines = [completed(number, path) for number, path in enumerate(paths, start=1)]
    ledger.settle_batch(checkpoint.database, lease, completed=lines)
    assert checkpoint.rows("SELECT file_path FROM completed_lines ORDER BY line_number") == [(path,) for path in paths]
