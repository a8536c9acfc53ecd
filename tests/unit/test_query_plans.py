"""Queries that look for a few rows among a collection's many find them by an index."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from checkpoint_world import REPOSITORY, Checkpoint
from sqlalchemy import event

from elysia_dagster.checkpoint import claims, inspecting, lookup, retention, suspects

# SQLite alone: a server plans by what its tables hold
pytestmark = pytest.mark.parametrize("checkpoint", ["sqlite"], indirect=True)


@contextmanager
def recorded(checkpoint: Checkpoint) -> Iterator[list[tuple[str, Any]]]:
    """Every statement that the block sends, with its parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(checkpoint.database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(checkpoint.database.engine, "before_cursor_execute", note)


def mark_suspect(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    with checkpoint.database.write() as connection:
        claims.mark_suspect(connection, run)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        pytest.param(
            lambda checkpoint: suspects.unsettled_documents(checkpoint.database, checkpoint.collection),
            "idx_documents_unsettled",
            id="unsettled documents",
        ),
        pytest.param(
            lambda checkpoint: suspects.comparable_suspects(checkpoint.database, checkpoint.collection, "run"),
            "idx_documents_unsettled",
            id="suspects that can be compared",
        ),
        pytest.param(
            lambda checkpoint: suspects.count_unsettled(checkpoint.database, checkpoint.collection, REPOSITORY),
            "idx_documents_unsettled",
            id="unsettled documents of a repository",
        ),
        pytest.param(mark_suspect, "idx_documents_unsettled", id="what a run has in writing"),
        pytest.param(
            lambda checkpoint: retention.drop_tombstones(checkpoint.database), "idx_documents_absent", id="tombstones"
        ),
    ],
)
def test_a_partial_index_serves(ask: Callable[[Checkpoint], object], index: str, checkpoint: Checkpoint) -> None:
    with recorded(checkpoint) as sent:
        ask(checkpoint)
    asked = [each for each in sent if each[0].startswith(("SELECT documents", "SELECT count", "UPDATE documents"))]
    assert len(asked) == 1
    [(statement, parameters)] = asked
    with checkpoint.database.read() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert any(f"USING INDEX {index}" in step or f"USING COVERING INDEX {index}" in step for step in plan), plan


def plans_of(checkpoint: Checkpoint, ask: Callable[[], object]) -> list[str]:
    """Every step of the plans of the statements that read rows."""
    with recorded(checkpoint) as sent:
        ask()
    with checkpoint.database.read() as connection:
        return [
            row[3]
            for statement, parameters in sent
            if statement.startswith("SELECT")
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def test_checks_read_no_table_of_lines_as_a_whole(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    database = checkpoint.database
    plan = plans_of(checkpoint, lambda: inspecting.untrue_counters(database, run.store or "", run.collection_name))
    for table in ("completed_lines", "failed_lines"):
        assert any(step.startswith(f"SEARCH {table} USING COVERING INDEX idx_{table}_run") for step in plan), plan
    plan = plans_of(checkpoint, lambda: inspecting.due_lines(database, [run]))
    assert plan
    assert all(step.startswith("SEARCH failed_lines USING INDEX") and "(run_id=?" in step for step in plan), plan


def test_what_a_collection_should_hold_is_read_in_one_pass(checkpoint: Checkpoint) -> None:
    plan = plans_of(checkpoint, lambda: inspecting.holdings(checkpoint.database, checkpoint.collection))
    assert plan == ["SEARCH documents USING PRIMARY KEY (collection_id=?)"], "no sort, and no second table"


def test_what_later_runs_left_in_a_runs_repositories_is_searched_by_key(checkpoint: Checkpoint) -> None:
    run = checkpoint.start()
    with recorded(checkpoint) as sent:
        assert not lookup.touched_since(checkpoint.database, run)
    for statement, parameters in sent:
        if statement.startswith("SELECT"):
            with checkpoint.database.read() as connection:
                plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert len(plan) == 2
            assert plan[0].startswith("SEARCH mine USING")
            assert plan[1].startswith("SEARCH")
            assert "collection_id=? AND repository=?" in plan[1]
