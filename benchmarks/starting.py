"""``elysiactl index status`` from start to end: a process that imports neither Dagster nor a store."""

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Scale, timed_command
from benchmarks.world import World, content_records, paths_as_git_prints_them, write_lines

MUST_S = 0.8


def run(scale: Scale) -> list[Figure]:
    """The median of several starts on a checkpoint that holds a few runs."""
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        world = World(Path(base))
        with world.engine() as engine:
            for number in range(3):
                changeset = write_lines(
                    Path(base) / "changeset.jsonl",
                    content_records(paths_as_git_prints_them(50), content_bytes=300, label=str(number)),
                )
                world.apply(engine, changeset)
        command = [str(Path(sys.executable).with_name("elysiactl")), "index", "status"]
        environment = {"ELYSIACTL_CHECKPOINT_DB_DIR": str(world.state)}
        times = [timed_command(command, environment) for _ in range(scale.pick(11, 2))]
    median = statistics.median(times)
    return [
        Figure(
            row="starting",
            what="elysiactl index status, start to end",
            measured=f"{median:.2f} s, median of {len(times)} ({min(times):.2f} to {max(times):.2f})",
            must_reach=f"<= {MUST_S} s",
            reached=median <= MUST_S,
            details={"seconds": times},
        )
    ]
