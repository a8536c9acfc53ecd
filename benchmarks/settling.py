"""Intending and settling lines with the ledger, against a connection of its own for each line.

The other way is the earlier system's: for every line a connection is opened, its row and the run's counters are
written, committed, and the connection closed. Both have WAL, ``synchronous=NORMAL`` and the same file system; turns
alternate, so that both meet the same noise, and each side counts its best turn. The ledger's way includes making its
rows in Python.
"""

import hashlib
import sqlite3
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Scale, Stopwatch
from benchmarks.world import REPOSITORY_NAME, World, path_records, paths_as_git_prints_them, write_lines
from elysia_dagster.checkpoint import ledger
from elysia_dagster.checkpoint.records import CompletedLine, Intent, Settlement
from elysia_dagster.models import DocumentState, Outcome
from elysia_dagster.sync.chunk import CHUNKER_ID
from elysia_dagster.sync.engine import Work

BATCH = 200
TURNS = 10
MUST_LINES_PER_S = 40_000
MUST_TIMES = 60

_EARLIER_SCHEMA = """
CREATE TABLE sync_runs (run_id TEXT PRIMARY KEY, processed_lines INTEGER DEFAULT 0, success_count INTEGER DEFAULT 0);
CREATE TABLE completed_lines (
    run_id TEXT, line_number INTEGER, file_path TEXT, operation TEXT, repository TEXT,
    completed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, processing_time_ms INTEGER, PRIMARY KEY (run_id, line_number)
);
CREATE INDEX idx_completed_lines_run ON completed_lines (run_id);
INSERT INTO sync_runs (run_id) VALUES ('run');
"""


def run(scale: Scale) -> list[Figure]:
    """Measures both ways in turns."""
    lines = scale.pick(200_000, 2_000)
    earlier_lines = scale.pick(2_000, 50)
    ours = [Stopwatch() for _ in range(TURNS)]
    theirs = [Stopwatch() for _ in range(TURNS)]
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        world = World(Path(base))
        changeset = write_lines(Path(base) / "changeset.jsonl", path_records(paths_as_git_prints_them(lines)))
        earlier = Path(base) / "earlier.db"
        with sqlite3.connect(earlier) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_EARLIER_SCHEMA)
        connection.close()
        with world.engine() as engine:
            manifest = world.read(engine, changeset)
            with engine.work_on(manifest.run_id) as work:
                paths = list(paths_as_git_prints_them(lines))
                for turn in range(TURNS):
                    some = range(turn * lines // TURNS, (turn + 1) * lines // TURNS)
                    with ours[turn].running():
                        settle(work, paths, some)
                    with theirs[turn].running():
                        for number in range(earlier_lines // TURNS):
                            settle_line_the_earlier_way(earlier, turn * earlier_lines + number, paths[number])
            settled = engine_counters(engine.database.name, manifest.run_id)
    ours_per_s = lines / TURNS / min(watch.wall_s for watch in ours)
    ours_per_cpu_s = lines / sum(watch.cpu_s for watch in ours)
    theirs_per_s = earlier_lines / TURNS / min(watch.wall_s for watch in theirs)
    times = ours_per_s / theirs_per_s
    return [
        Figure(
            row="settling",
            what="intending and settling lines with the ledger, batch 200, against one connection for each line",
            measured=f"{ours_per_s:,.0f} lines/s, {times:,.0f}x the {theirs_per_s:,.0f} lines/s of one by "
            f"one (best of {TURNS} turns each; over all turns {ours_per_cpu_s:,.0f} lines a second of CPU)",
            must_reach=f">= {MUST_LINES_PER_S:,} lines/s and >= {MUST_TIMES}x",
            reached=ours_per_s >= MUST_LINES_PER_S and times >= MUST_TIMES,
            details={"lines": lines, "times": times, "lines_per_s": ours_per_s, **settled},
        )
    ]


def settle(work: Work, paths: list[str], numbers: range) -> None:
    """Documents that are new, each of one chunk, from before the first is sent until the last is settled."""
    database = work.engine.database
    for start in range(numbers.start, numbers.stop, BATCH):
        batch = range(start, min(start + BATCH, numbers.stop))
        content_hash = hashlib.sha256(b"%d" % start).hexdigest()
        ledger.intend_batch(
            database,
            work.lease,
            [
                Intent(repository=REPOSITORY_NAME, path=paths[at], line=at + 1, content_hash=content_hash, chunks=1)
                for at in batch
            ],
        )
        ledger.settle_batch(
            database,
            work.lease,
            settlements=[
                Settlement(
                    repository=REPOSITORY_NAME,
                    path=paths[at],
                    line=at + 1,
                    state=DocumentState.PRESENT,
                    outcome=Outcome.INDEXED,
                    is_written=True,
                    content_hash=content_hash,
                    write_hash=content_hash,
                    chunker=CHUNKER_ID,
                    chunks=1,
                    max_chunks=1,
                )
                for at in batch
            ],
            completed=[
                CompletedLine(
                    line=at + 1,
                    path=paths[at],
                    operation="modify",
                    repository=REPOSITORY_NAME,
                    outcome=Outcome.INDEXED,
                    milliseconds=1,
                )
                for at in batch
            ],
        )


def settle_line_the_earlier_way(database: Path, line: int, path: str) -> None:
    """A line as the earlier system settled it."""
    connection = sqlite3.connect(database, timeout=30)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(
        "INSERT OR REPLACE INTO completed_lines "
        "(run_id, line_number, file_path, operation, repository, processing_time_ms) VALUES (?, ?, ?, ?, ?, ?)",
        ("run", line, path, "modify", REPOSITORY_NAME, 1),
    )
    connection.execute(
        "UPDATE sync_runs SET processed_lines = processed_lines + 1, success_count = success_count + 1 "
        "WHERE run_id = ?",
        ("run",),
    )
    connection.commit()
    connection.close()


def engine_counters(database: str, run_id: str) -> dict[str, int]:
    """What the checkpoint says now: rows, and the run's counter."""
    connection = sqlite3.connect(database)
    try:
        (completed,) = connection.execute("SELECT COUNT(*) FROM completed_lines").fetchone()
        (present,) = connection.execute("SELECT COUNT(*) FROM documents WHERE state = 'present'").fetchone()
        (counted,) = connection.execute("SELECT success_count FROM sync_runs WHERE run_id = ?", (run_id,)).fetchone()
    finally:
        connection.close()
    return {"completed_lines": completed, "present_documents": present, "success_count": counted}
