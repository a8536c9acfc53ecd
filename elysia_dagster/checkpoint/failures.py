"""Failed lines by the page, for lists of any length."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import and_, case, func, or_, select

from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.queries import failures_with
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import collections, documents, failed_lines, removed_folders, sync_runs

PAGE_ROWS = 1_000
"""Rows held at once: 16 MB where every payload is as long as may be."""


def runs_with_failed_lines(database: Database) -> list[RunRecord]:
    """Every run that has a failed line, whatever became of the run, oldest first."""
    has_one = select(failed_lines.c.line_number).where(failed_lines.c.run_id == sync_runs.c.run_id).exists()
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs).where(has_one).order_by(func.coalesce(sync_runs.c.sequence, 0), sync_runs.c.run_id)
        ).mappings()
        return [RunRecord.from_row(row) for row in rows]


def failed_pages(
    database: Database, run_ids: Sequence[str], *, rows: int = PAGE_ROWS
) -> Iterator[list[dict[str, Any]]]:
    """Failed lines of these runs, one run after the other, by line; never more than ``rows`` at once.

    As stored, and ``stale`` as in ``failed_lines_of``; ``is_overtaken``: a newer run has changed the document, or
    removed a folder above it. A line that is settled meanwhile may be missing.
    """
    statement = failures_with(_OVERTAKEN).order_by(failed_lines.c.line_number).limit(rows)
    for run_id in run_ids:
        after = -1
        while True:
            page = statement.where(failed_lines.c.run_id == run_id, failed_lines.c.line_number > after)
            with database.read() as connection:
                found = [dict(row) for row in connection.execute(page).mappings()]
            if found:
                after = found[-1]["line_number"]
                yield [{**row, "stale": bool(row["stale"]), "is_overtaken": bool(row["is_overtaken"])} for row in found]
            if len(found) < rows:
                break


_IS_NEWER_DOCUMENT = (
    select(documents.c.path)
    .where(
        documents.c.collection_id == collections.c.collection_id,
        documents.c.repository == failed_lines.c.repository,
        documents.c.path == failed_lines.c.file_path,
        documents.c.version_sequence > sync_runs.c.sequence,
    )
    .correlate(collections, failed_lines, sync_runs)
    .exists()
)

_IS_REMOVED_ABOVE = (
    select(removed_folders.c.path)
    .where(
        removed_folders.c.collection_id == collections.c.collection_id,
        removed_folders.c.repository == failed_lines.c.repository,
        removed_folders.c.version_sequence > sync_runs.c.sequence,
        or_(
            removed_folders.c.path == "",
            and_(
                func.length(failed_lines.c.file_path) > func.length(removed_folders.c.path),
                func.substr(failed_lines.c.file_path, 1, func.length(removed_folders.c.path) + 1)
                == removed_folders.c.path.concat("/"),
            ),
        ),
    )
    .correlate(collections, failed_lines, sync_runs)
    .exists()
)

_OVERTAKEN = case((or_(_IS_NEWER_DOCUMENT, _IS_REMOVED_ABOVE), True), else_=False).label("is_overtaken")
