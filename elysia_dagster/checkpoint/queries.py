"""What people ask the checkpoint: runs, summary, failed lines, outcomes. Reads only."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import (
    collections,
    completed_lines,
    documents,
    failed_lines,
    repository_changesets,
    run_repositories,
    sync_runs,
)
from elysia_dagster.models import DocumentState, ErrorKind, RunStatus

REPAIR_IDENTITY = "reconcile:"
"""How the identity of a repair begins, which is a run without a changeset; a collection's id follows."""


REBUILD_IDENTITY = "rebuild:"
"""How the identity of a run begins that makes a collection anew from another; the new one's id follows."""


def list_runs(database: Database, *, limit: int = 20) -> list[RunRecord]:
    """The latest runs, newest first."""
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs).order_by(sync_runs.c.started_at.desc(), sync_runs.c.run_id.desc()).limit(limit)
        ).mappings()
        return [RunRecord.from_row(row) for row in rows]


def unfinished_runs(database: Database) -> list[RunRecord]:
    """Runs that wait to be resumed or are worked on, oldest first.

    Those of the earlier system are left out, and repairs: there is no changeset to go on with.
    """
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs)
            .where(
                sync_runs.c.status == RunStatus.RUNNING.value,
                sync_runs.c.sequence.is_not(None),
                or_(sync_runs.c.identity.is_(None), sync_runs.c.identity.not_like(f"{REPAIR_IDENTITY}%")),
            )
            .order_by(sync_runs.c.sequence)
        ).mappings()
        return [RunRecord.from_row(row) for row in rows]


def runs_with_failures(database: Database) -> list[RunRecord]:
    """Runs whose failed lines can be tried again, oldest first: those of forgotten collections are left out."""
    with database.read() as connection:
        rows = connection.execute(
            select(sync_runs)
            .where(sync_runs.c.status.in_([RunStatus.FAILED.value, RunStatus.RUNNING.value]))
            .where(sync_runs.c.error_count > 0, sync_runs.c.identity.is_not(None))
            .order_by(sync_runs.c.sequence)
        ).mappings()
        return [RunRecord.from_row(row) for row in rows]


def progress_of(database: Database, run_id: str) -> tuple[RunRecord, int]:
    """A run as it stands, and how many of its failed lines wait for another try."""
    with database.read() as connection:
        row = connection.execute(select(sync_runs).where(sync_runs.c.run_id == run_id)).mappings().one()
        pending = connection.execute(
            select(func.count()).where(failed_lines.c.run_id == run_id, failed_lines.c.pending.is_(True))
        ).scalar_one()
        return RunRecord.from_row(row), pending


def count_outcomes(database: Database, run_id: str) -> dict[str, int]:
    """Completed lines of a run by outcome."""
    with database.read() as connection:
        rows = connection.execute(
            select(completed_lines.c.outcome, func.count())
            .where(completed_lines.c.run_id == run_id)
            .group_by(completed_lines.c.outcome)
        )
        return {outcome or "unknown": count for outcome, count in rows}


def failures_with(*more: ColumnElement[Any]) -> Select[Any]:
    """Failed lines of all runs, unordered, with ``stale``: the collection still holds an older version; and ``more``.

    ``sync_runs`` and ``collections`` are there to be used, the latter empty where the collection was forgotten.
    """
    holds = (
        select(documents.c.path)
        .where(
            documents.c.collection_id == collections.c.collection_id,
            documents.c.repository == failed_lines.c.repository,
            documents.c.path == failed_lines.c.file_path,
            documents.c.state != DocumentState.ABSENT.value,
        )
        .correlate(collections, failed_lines)
        .exists()
    )
    return (
        select(failed_lines, case((holds, True), else_=False).label("stale"), *more)
        .join(sync_runs, sync_runs.c.run_id == failed_lines.c.run_id)
        .outerjoin(
            collections,
            and_(collections.c.store == sync_runs.c.store, collections.c.name == sync_runs.c.collection_name),
        )
    )


def failed_lines_of(database: Database, run_id: str | None = None, *, limit: int = 1000) -> list[dict[str, Any]]:
    """Failed lines, as stored and with ``stale``, of one run or of all."""
    statement = failures_with().order_by(sync_runs.c.sequence, failed_lines.c.line_number).limit(limit)
    if run_id is not None:
        statement = statement.where(failed_lines.c.run_id == run_id)
    with database.read() as connection:
        return [{**row, "stale": bool(row["stale"])} for row in connection.execute(statement).mappings()]


def failures_since(database: Database, run_id: str, moment: str, *, limit: int) -> list[dict[str, Any]]:
    """The first lines of a run that failed at ``moment`` (a stamp) or later: number, path and reason."""
    with database.read() as connection:
        rows = connection.execute(
            select(failed_lines.c.line_number, failed_lines.c.file_path, failed_lines.c.error_message)
            .where(failed_lines.c.run_id == run_id, failed_lines.c.last_attempt >= moment)
            .order_by(failed_lines.c.line_number)
            .limit(limit)
        ).mappings()
        return [dict(row) for row in rows]


def is_repair(run: RunRecord) -> bool:
    """Whether a run is a repair, which has no changeset."""
    return (run.identity or "").startswith(REPAIR_IDENTITY)


def is_rebuild(run: RunRecord) -> bool:
    """Whether a run carries documents over from another collection."""
    return (run.identity or "").startswith(REBUILD_IDENTITY)


def repair_command(collection: str, store: str) -> str:
    """What to type to repair a collection, or to go on with that."""
    return shlex.join(["elysiactl", "index", "reconcile", "--collection", collection, "--store", store, "--repair"])


def retry_command(run: RunRecord, failures: Sequence[Mapping[str, Any]]) -> str:
    """What to type to try a failed run's lines again, told by its first failed lines."""
    all_known = len(failures) == run.error_count
    is_permanent = all_known and all(each["error_kind"] == ErrorKind.PERMANENT.value for each in failures)
    return f"elysiactl index retry --run-id {run.run_id}" + (" --permanent" if is_permanent else "")


def next_command(run: RunRecord, failures: Sequence[Mapping[str, Any]], *, is_held: bool) -> str:
    """What to type next for a run, or '' where nothing is left to do, or (``is_held``) a process does it.

    ``failures`` are its first failed lines.
    """
    if run.status is RunStatus.FAILED:
        return retry_command(run, failures)
    if run.status is not RunStatus.RUNNING or is_held:
        return ""
    if is_repair(run):
        return repair_command(run.collection_name, run.store or "")
    return f"elysiactl index {'abandon' if run.sequence is None else 'resume'} --run-id {run.run_id}"


def summarize(database: Database) -> dict[str, Any]:
    """Totals over all runs, and where every collection and repository stands."""
    origin, heir = collections.alias("origin"), collections.alias("heir")
    with database.read() as connection:
        totals = connection.execute(
            select(
                func.count().label("total_runs"),
                *(
                    func.count().filter(sync_runs.c.status == status.value).label(f"{status.value}_runs")
                    for status in RunStatus
                ),
                func.coalesce(func.sum(sync_runs.c.success_count), 0).label("total_success"),
                func.coalesce(func.sum(sync_runs.c.error_count), 0).label("total_errors"),
                func.max(sync_runs.c.started_at).label("last_run"),
            )
        ).mappings()
        summary: dict[str, Any] = dict(next(iter(totals)))
        summary["due_failed_lines"] = connection.execute(
            select(func.count()).where(
                failed_lines.c.next_retry_at.is_not(None), failed_lines.c.next_retry_at <= clock.stamp()
            )
        ).scalar_one()
        summary["collections"] = [
            dict(row)
            for row in connection.execute(
                select(
                    collections.c.store,
                    collections.c.name,
                    collections.c.model,
                    func.count(documents.c.path)
                    .filter(documents.c.state == DocumentState.PRESENT.value)
                    .label("documents"),
                    func.coalesce(
                        func.sum(documents.c.chunks).filter(documents.c.state == DocumentState.PRESENT.value), 0
                    ).label("chunks"),
                    func.count(documents.c.path)
                    .filter(documents.c.state.in_([DocumentState.WRITING.value, DocumentState.SUSPECT.value]))
                    .label("unsure"),
                    origin.c.name.label("rebuilt_from"),
                    heir.c.name.label("replaced_by"),
                )
                .outerjoin(documents, documents.c.collection_id == collections.c.collection_id)
                .outerjoin(origin, origin.c.collection_id == collections.c.rebuilt_from)
                .outerjoin(heir, heir.c.collection_id == collections.c.replaced_by)
                .group_by(collections.c.collection_id, origin.c.name, heir.c.name)
                .order_by(collections.c.name)
            ).mappings()
        ]
        summary["repositories"] = [
            dict(row)
            for row in connection.execute(
                select(
                    collections.c.name.label("collection"),
                    repository_changesets.c.repository,
                    repository_changesets.c.commit_id,
                    repository_changesets.c.branch,
                    repository_changesets.c.incomplete,
                    repository_changesets.c.gap,
                    repository_changesets.c.moved_at,
                )
                .join(collections, collections.c.collection_id == repository_changesets.c.collection_id)
                .order_by(collections.c.name, repository_changesets.c.repository)
            ).mappings()
        ]
    return summary


def repositories_of(database: Database, run_id: str) -> list[str]:
    """The repositories that a run has claimed."""
    with database.read() as connection:
        return list(
            connection.execute(
                select(run_repositories.c.repository)
                .where(run_repositories.c.run_id == run_id)
                .order_by(run_repositories.c.repository)
            ).scalars()
        )
