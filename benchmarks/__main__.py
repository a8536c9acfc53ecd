"""Prints the table: ``python -m benchmarks [--quick] [--only ROW]… [--folder DIR] [--json]``.

Every rate is by the wall on this machine, with what else ran on it; ratios are measured in one run, their two sides in
turns or side by side. ``--quick`` shows in a few seconds that every benchmark works, and says nothing of speed.
"""

import argparse
import json
import os
import platform
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.figures import Figure, Scale

ROWS = (
    "settling",
    "planning",
    "resuming",
    "unchanged",
    "first_sync",
    "dagster_job",
    "growth",
    "reconciling",
    "starting",
    "embedding",
    "weaviate_first_sync",
    "weaviate_unchanged",
    "weaviate_changed",
    "weaviate_peers",
)
"""Each is a module of this package with ``run(scale)``, which gives its figures."""


def main() -> None:
    """Measures and prints, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form of every row")
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--folder", type=Path, default=None, help="file system to measure on (default: temporary)")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON list")
    options = parser.parse_args()
    figures: list[Figure] = []
    if not options.json:
        print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="benchmarks-") as folder:
        scale = Scale(quick=options.quick, folder=Path(folder))
        for row in options.only or ROWS:
            run: Callable[[Scale], Iterable[Figure]] = import_module(f"benchmarks.{row}").run
            for figure in run(scale):
                figures.append(figure)
                if not options.json:
                    _show(figure)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures]))


def _show(figure: Figure) -> None:
    verdict = {True: "yes", False: "NO", None: "-"}[figure.reached]
    print(textwrap.fill(f"{figure.row}: {figure.what}", 118, subsequent_indent="    "))
    print(textwrap.fill(f"    {figure.measured}", 118, subsequent_indent="    "))
    print(f"    must reach {figure.must_reach}: {verdict}\n", flush=True)


if __name__ == "__main__":
    main()
