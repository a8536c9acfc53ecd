"""The product's definitions with fault points that obey a file: a test says while Dagster runs what happens next.

``FAULT_FILE`` names the file. It holds ``<action>:<point>:<n>``: what a run worker does when it passes the point for
the n-th time. ``refused`` takes the file away and fails the step for good; ``pause`` writes the worker's pid beside it
(``.reached``) and waits until the file is gone.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dagster import Definitions

from elysia_dagster.definitions import definitions as product
from elysia_dagster.defs.resources import EngineResource
from elysia_dagster.defs.wiring import resources
from elysia_dagster.errors import UsageError

LONGEST_PAUSE_S = 200.0
passed: Counter[str] = Counter()


class FaultyEngine(EngineResource):
    """The engine of the jobs, with fault points."""

    def faults(self) -> Callable[[str], None]:
        """Obeys the file, see the module."""
        return at_point


def at_point(point: str) -> None:
    """Does what the file says of the point."""
    passed[point] += 1
    file = Path(os.environ["FAULT_FILE"])
    try:
        action, _, place = file.read_text().partition(":")
    except FileNotFoundError:
        return
    if place != f"{point}:{passed[point]}":
        return
    if action == "refused":
        file.unlink()
        raise UsageError("This run is stopped here for the test.", next_step="Re-execute it.")
    if action == "pause":
        file.with_suffix(".reached").write_text(str(os.getpid()))
        deadline = time.monotonic() + LONGEST_PAUSE_S
        while file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)


definitions = Definitions(
    jobs=product.jobs,
    sensors=product.sensors,
    schedules=product.schedules,
    assets=product.assets,
    asset_checks=product.asset_checks,
    executor=product.executor,
    resources={**(product.resources or {}), **resources(FaultyEngine)},
)
