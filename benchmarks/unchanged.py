"""Syncing documents again that have not changed: 2 kB each, content in the line, by the shell's driver, null store.

From the changeset's file to the closed run: spooled, planned, every content hashed and compared with the ledger, every
line settled. The second changeset holds other bytes (a label that means nothing), since the same bytes would be
"nothing to do".
"""

import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Scale, Stopwatch
from benchmarks.world import World, content_records, paths_as_git_prints_them, write_lines

CONTENT_BYTES = 2_000
MUST_LINES_PER_S = 20_000
TURNS = 5


def run(scale: Scale) -> list[Figure]:
    """Syncs the documents once, then ``TURNS`` times unchanged; the best turn counts."""
    lines = scale.pick(40_000, 600)
    watches = []
    outcomes = []
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        world = World(Path(base))
        with world.engine() as engine:
            for turn in range(TURNS + 1):
                changeset = write_lines(
                    Path(base) / f"changeset-{turn}.jsonl",
                    content_records(paths_as_git_prints_them(lines), content_bytes=CONTENT_BYTES, label=str(turn)),
                )
                written = world.null_store.written
                watch = Stopwatch()
                with watch.running():
                    outcomes.append(world.apply(engine, changeset).outcomes)
                watches.append(watch)
            written_again = world.null_store.written - written
    best = min(watches[1:], key=lambda watch: watch.wall_s)
    rates = ", ".join(f"{lines / watch.wall_s:,.0f}" for watch in watches[1:])
    return [
        Figure(
            row="unchanged",
            what=f"syncing {lines:,} unchanged documents again (2 kB each, content in the line, null store)",
            measured=f"{lines / best.wall_s:,.0f} lines/s, best of {TURNS} ({rates}; "
            f"{lines / best.cpu_s:,.0f} a second of CPU)",
            must_reach=f">= {MUST_LINES_PER_S:,} lines/s",
            reached=lines / best.wall_s >= MUST_LINES_PER_S,
            details={
                "lines": lines,
                "outcomes": outcomes,
                "written_again": written_again,
                "first_lines_per_s": lines / watches[0].wall_s,
            },
        )
    ]
