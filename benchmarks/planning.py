"""Planning lines that name a path and carry no content, as records and as plain paths.

The files are not on disk unless the row says so; the repository's folder is, so every path is looked for in it.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks.figures import Figure, Scale, Stopwatch
from benchmarks.world import REPOSITORY_NAME, World, path_records, paths_as_git_prints_them, write_lines
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.plans import PLAN_NAME, RunPlan

MUST_LINES_PER_S = 150_000
TURNS = 3


def run(scale: Scale) -> list[Figure]:
    """Measures records, plain paths, and records whose files are there."""
    lines = scale.pick(1_000_000, 5_000)
    return [
        _measure(scale, "records, files not on disk", path_records, lines),
        _measure(scale, "plain paths, files not on disk", iter, lines),
        _measure(scale, "records, files on disk", path_records, scale.pick(100_000, 1_000), on_disk=True),
    ]


def _measure(
    scale: Scale, form: str, lines_of: Callable[[Iterable[str]], Iterator[str]], lines: int, *, on_disk: bool = False
) -> Figure:
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        world = World(Path(base))
        changeset = write_lines(Path(base) / "changeset.jsonl", lines_of(paths_as_git_prints_them(lines)))
        if on_disk:
            for path in paths_as_git_prints_them(lines):
                file = world.root / REPOSITORY_NAME / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        watches = [Stopwatch() for _ in range(TURNS)]
        with world.engine() as engine:
            manifest = world.read(engine, changeset)
            for watch in watches:
                with engine.work_on(manifest.run_id) as work:
                    (work.folder / PLAN_NAME).unlink(missing_ok=True)
                    with watch.running():
                        plan_batches(work)
                    with RunPlan(work.folder) as plan:
                        planned = len(plan.planned_lines())
    per_s = lines / min(watch.wall_s for watch in watches)
    per_cpu_s = lines / min(watch.cpu_s for watch in watches)
    return Figure(
        row="planning",
        what=f"planning {lines:,} path-only lines ({form})",
        measured=f"{per_s:,.0f} lines/s ({per_cpu_s:,.0f} a second of CPU), best of {TURNS}",
        must_reach="stated" if on_disk else f">= {MUST_LINES_PER_S:,} lines/s",
        reached=None if on_disk else per_s >= MUST_LINES_PER_S,
        details={"lines": lines, "planned_lines": planned, "lines_per_s": per_s},
    )
