"""The checkpoint database of the earlier system, made by code just as that system made it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS sync_runs (
    run_id TEXT PRIMARY KEY,
    started_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    completed_at TIMESTAMP,
    input_source TEXT,
    total_lines INTEGER DEFAULT 0,
    processed_lines INTEGER DEFAULT 0,
    success_count INTEGER DEFAULT 0,
    error_count INTEGER DEFAULT 0,
    collection_name TEXT,
    dry_run BOOLEAN DEFAULT FALSE,
    status TEXT DEFAULT 'running',
    changeset_info TEXT
);
CREATE TABLE IF NOT EXISTS completed_lines (
    run_id TEXT,
    line_number INTEGER,
    file_path TEXT,
    operation TEXT,
    repository TEXT,
    completed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    processing_time_ms INTEGER,
    PRIMARY KEY (run_id, line_number),
    FOREIGN KEY (run_id) REFERENCES sync_runs(run_id)
);
CREATE TABLE IF NOT EXISTS failed_lines (
    run_id TEXT,
    line_number INTEGER,
    file_path TEXT,
    operation TEXT,
    repository TEXT,
    error_message TEXT,
    payload TEXT,
    retry_count INTEGER DEFAULT 0,
    last_attempt TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (run_id, line_number),
    FOREIGN KEY (run_id) REFERENCES sync_runs(run_id)
);
CREATE INDEX IF NOT EXISTS idx_completed_lines_run ON completed_lines(run_id);
CREATE INDEX IF NOT EXISTS idx_failed_lines_run ON failed_lines(run_id);
CREATE INDEX IF NOT EXISTS idx_failed_retry ON failed_lines(retry_count, last_attempt);
"""

FINISHED, STOPPED, DRY = "sync_20250801_020000", "sync_20250802_020000", "sync_20250803_020000"

QUERIES = (
    "SELECT run_id, started_at, completed_at, input_source, total_lines, processed_lines, success_count, error_count,"
    " collection_name, dry_run, status, changeset_info FROM sync_runs ORDER BY run_id",
    "SELECT run_id, line_number, file_path, operation, repository, completed_at, processing_time_ms"
    " FROM completed_lines ORDER BY run_id, line_number",
    "SELECT run_id, line_number, file_path, operation, repository, error_message, payload, retry_count, last_attempt"
    " FROM failed_lines ORDER BY run_id, line_number",
    "SELECT repository, COUNT(*) FROM completed_lines GROUP BY repository",
    "SELECT run_id, changeset_info FROM sync_runs WHERE changeset_info IS NOT NULL",
    "SELECT status, COUNT(*), SUM(success_count), SUM(error_count) FROM sync_runs GROUP BY status ORDER BY status",
    "SELECT file_path FROM failed_lines WHERE retry_count < 3 ORDER BY last_attempt",
)
"""What people ask of it."""


def make(path: Path) -> None:
    """A database with a finished run, one that was left running, and a dry one; in WAL mode, with every row closed."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(SCHEMA)
        connection.executemany(
            "INSERT INTO sync_runs (run_id, completed_at, input_source, total_lines, processed_lines, success_count,"
            " error_count, collection_name, dry_run, status, changeset_info) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    FINISHED,
                    "2025-08-01 02:10:00",
                    "a.jsonl",
                    4,
                    4,
                    3,
                    1,
                    "SRC_ENTERPRISE__",
                    False,
                    "completed",
                    '{"r0": {}}',
                ),
                (STOPPED, None, "<stdin>", 100, 2, 2, 0, "SRC_ENTERPRISE__", False, "running", None),
                (DRY, "2025-08-03 02:00:01", "b.jsonl", 9, 0, 0, 0, "Demo", True, "completed", None),
            ],
        )
        connection.executemany(
            "INSERT INTO completed_lines (run_id, line_number, file_path, operation, repository, processing_time_ms)"
            " VALUES (?,?,?,?,?,?)",
            [(FINISHED, line, f"src/ü{line}.py", "modify", f"r{line % 2}", 12) for line in (1, 2, 4)]
            + [(STOPPED, line, f"src/{line}.py", "add", "r1", None) for line in (1, 2)],
        )
        connection.execute(
            "INSERT INTO failed_lines (run_id, line_number, file_path, operation, repository, error_message, payload,"
            " retry_count) VALUES (?, 3, 'src/c.py', 'modify', 'r1', 'no such file', '{\"path\": \"src/c.py\"}', 1)",
            (FINISHED,),
        )


def ask(path: Path) -> list[list[tuple[Any, ...]]]:
    """What people see in it, old and new."""
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(query).fetchall() for query in QUERIES]
