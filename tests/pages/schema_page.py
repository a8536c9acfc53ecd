"""``docs/schema.md``, made of the tables of the checkpoint and the words for them."""

from pages.schema_words import COLUMNS, QUERIES, TABLES
from sqlalchemy import Column, Table

from elysia_dagster.checkpoint.schema import metadata

HEAD = """\
# The checkpoint database

<!-- made by `make docs` from elysia_dagster/checkpoint/schema.py and tests/pages/schema_words.py -->

One SQLite file, `sync_checkpoints.db`, in the state folder (`elysiactl index where`), or a PostgreSQL database by
`ELYSIACTL_CHECKPOINT_DB_URL`. Looking is safe at any time, beside running syncs too; nothing but this program should
write. The counters of a run, the lines of it and the ledger move in one transaction, so they agree at every commit.
A database that an earlier version has made, and the one of the earlier system, is upgraded in place when it is first
opened, and loses no row; one of a later version is refused, untouched.

Ask with `sqlite3 "$(elysiactl index where)/sync_checkpoints.db"`, whose `.tables` lists what is there.

Times are text, RFC 3339 in UTC with microseconds, so that they sort as they stand. `sync_runs`, `completed_lines` and
`failed_lines` begin with the columns of the earlier system, which people query; those stay as they are.

## What people ask
"""


def schema_page() -> str:
    """The whole page."""
    asked = "".join(f"\n{title}:\n\n```sql\n{query}\n```\n" for title, query in QUERIES)
    return HEAD + asked + "\n## Tables\n" + "".join(map(_table, metadata.sorted_tables))


def missing_words() -> list[str]:
    """Tables and columns without words, and words for what is not there."""
    there = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
    said = {(table, column) for table, columns in COLUMNS.items() for column in columns}
    differing = sorted(there ^ said) + sorted((table, "") for table in set(metadata.tables) ^ set(TABLES))
    return [".".join(each).rstrip(".") for each in differing]


def _table(table: Table) -> str:
    rows = "".join(map(_column, table.columns))
    head = "| column | type | meaning |\n| --- | --- | --- |\n"
    return f"\n### `{table.name}`\n\nA row is {TABLES[table.name]}.\n\n{head}{rows}"


def _column(column: Column[object]) -> str:
    name = f"**`{column.name}`**" if column.primary_key else f"`{column.name}`"
    return f"| {name} | {str(column.type).lower()} | {COLUMNS[column.table.name][column.name].replace('|', '/')} |\n"
