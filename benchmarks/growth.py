"""Memory and time as a changeset grows: first syncs of 10,000, 100,000 and 1,000,000 lines, each in its own process.

Every line carries a document of 200 bytes; chunker and embedder are the real ones. Memory is the peak resident set of
the process above what it had after its imports and after the embedder was opened. With LanceDB it is only stated: it
holds its own caches.
"""

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Scale, Stopwatch, arguments_of_child, in_process_of_its_own, peak_rss_bytes
from benchmarks.world import World, content_records, paths_as_git_prints_them, write_lines

CONTENT_BYTES = 200
MUST_MB = 150
MUST_BYTES_PER_LINE = 50
MUST_EXPONENT = 1.05


def run(scale: Scale) -> Iterator[Figure]:
    """Measures every size, with the null store and (the smaller ones) with LanceDB."""
    sizes = [scale.pick(10_000, 400), scale.pick(100_000, 1_600), scale.pick(1_000_000, 6_400)]
    null = [_measure(scale, lines, "null:") for lines in sizes]
    yield _memory(null)
    yield _time(null)
    yield _with_lancedb([_measure(scale, lines, "lancedb") for lines in sizes[:2]])


def _measure(scale: Scale, lines: int, store: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        url = store if store == "null:" else f"lancedb:{base}/vectors"
        changeset = write_lines(
            Path(base) / "changeset.jsonl",
            content_records(paths_as_git_prints_them(lines), content_bytes=CONTENT_BYTES),
        )
        return {"lines": lines, **in_process_of_its_own("growth", base=base, changeset=changeset, store=url)}


def _memory(runs: list[dict[str, Any]]) -> Figure:
    worst = max(run["peak_bytes"] for run in runs)
    # by the two largest, where what is the same for every run weighs least
    more = (runs[-1]["peak_bytes"] - runs[-2]["peak_bytes"]) / (runs[-1]["lines"] - runs[-2]["lines"])
    return Figure(
        row="growth",
        what=f"peak memory above imports, null store, at {_sizes(runs)} lines",
        measured=f"{_megabytes(runs)} MB; {more:.0f} bytes more for each line more",
        must_reach=f"<= {MUST_MB} MB, <= {MUST_BYTES_PER_LINE} bytes more for each line more",
        reached=worst <= MUST_MB * 1e6 and more <= MUST_BYTES_PER_LINE,
        details={"runs": runs, "bytes_per_line": more},
    )


def _with_lancedb(runs: list[dict[str, Any]]) -> Figure:
    return Figure(
        row="growth",
        what=f"the same with LanceDB, at {_sizes(runs)} lines",
        measured=f"{_megabytes(runs)} MB",
        must_reach="stated",
        reached=None,
        details={"runs": runs},
    )


def _time(runs: list[dict[str, Any]]) -> Figure:
    exponents = {name: exponent([run["lines"] for run in runs], [run[name] for run in runs]) for name in _CLOCKS}
    times = ", ".join(f"{1e6 * run['wall_s'] / run['lines']:.0f}" for run in runs)
    return Figure(
        row="growth",
        what=f"time per line at {_sizes(runs)} lines: exponent of the total time (least squares of logarithms)",
        measured=f"{exponents['wall_s']:.3f} by the wall, {exponents['cpu_s']:.3f} of CPU ({times} µs a line)",
        must_reach=f"<= {MUST_EXPONENT}",
        reached=exponents["wall_s"] <= MUST_EXPONENT,
        details={"runs": runs, "exponents": exponents},
    )


_CLOCKS = ("wall_s", "cpu_s")


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log(seconds) over log(sizes), by least squares: 1 where time is proportional to size."""
    xs, ys = [math.log(size) for size in sizes], [math.log(each) for each in seconds]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)


def _sizes(runs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{run['lines']:,}" for run in runs)


def _megabytes(runs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{run['peak_bytes'] / 1e6:.0f}" for run in runs)


def sync_once(base: Path, changeset: Path, store: str) -> dict[str, Any]:
    """What the child does: one first sync."""
    world = World(base, store)
    watch = Stopwatch()
    with world.engine() as engine:
        engine.embedder().check()
        engine.store()
        before = peak_rss_bytes()
        with watch.running():
            report = world.apply(engine, changeset)
        peak = peak_rss_bytes() - before
    return {
        "peak_bytes": peak,
        "wall_s": watch.wall_s,
        "cpu_s": watch.cpu_s,
        "outcomes": report.outcomes,
        "status": report.run.status.value,
    }


if __name__ == "__main__":
    arguments = arguments_of_child()
    print(json.dumps(sync_once(Path(arguments["base"]), Path(arguments["changeset"]), arguments["store"])))
