"""Failed lines as CSV, JSON lines or Parquet: by pages, so that memory is one page's, however many there are."""

import json
from collections.abc import Iterable
from typing import IO, Any

COLUMNS: dict[str, str] = {
    "run_id": "string",
    "line_number": "Int64",
    "repository": "string",
    "file_path": "string",
    "operation": "string",
    "error_kind": "string",
    "error_message": "string",
    "retry_count": "Int64",
    "last_attempt": "string",
    "next_retry_at": "string",
    "pending": "boolean",
    "single_document": "boolean",
    "stale": "boolean",
    "payload": "string",
}
"""The columns with their types in pandas. Times are text as it is stored, RFC 3339 in UTC."""

Row = dict[str, Any]


def write_rows(format_: str, pages: Iterable[list[Row]], out: IO[bytes]) -> None:
    """Writes every row to ``out``; without any, what there is of a head. ``format_``: csv, jsonl or parquet."""
    {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[format_](pages, out)


def _jsonl(pages: Iterable[list[Row]], out: IO[bytes]) -> None:
    for page in pages:
        out.write("".join(json.dumps({name: row[name] for name in COLUMNS}) + "\n" for row in page).encode())


def _csv(pages: Iterable[list[Row]], out: IO[bytes]) -> None:
    out.write((",".join(COLUMNS) + "\n").encode())
    for page in pages:
        text = _frame(page).to_csv(index=False, header=False, lineterminator="\n")
        out.write(text.encode("utf-8", "surrogatepass"))


def _parquet(pages: Iterable[list[Row]], out: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Schema.from_pandas(_frame([]), preserve_index=False)
    with pq.ParquetWriter(out, schema) as writer:
        for page in pages:
            writer.write_table(pa.Table.from_pandas(_frame(page), schema=schema, preserve_index=False))


def _frame(page: list[Row]) -> Any:
    import pandas as pd

    return pd.DataFrame([{name: row[name] for name in COLUMNS} for row in page], columns=list(COLUMNS)).astype(COLUMNS)
