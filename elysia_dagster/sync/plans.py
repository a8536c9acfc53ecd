"""The plan of a run as later stages see it: the one made at the start, and one for lines that were planned again."""

from pathlib import Path

import numpy as np

from elysia_dagster.errors import InputError
from elysia_dagster.sync.planfile import PlanFile, PlannedChange

PLAN_NAME = "plan.arrow"
RETRY_PLAN_NAME = "plan-retry.arrow"


def plan_is_whole(path: Path) -> bool:
    """Whether a finished plan lies there; a damaged one counts as absent and is made again."""
    try:
        PlanFile(path).close()
    except InputError:
        path.unlink(missing_ok=True)
        return False
    return True


class RunPlan:
    """Both plans as one row of batches. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        names = [PLAN_NAME, *([RETRY_PLAN_NAME] if (folder / RETRY_PLAN_NAME).exists() else [])]
        self._files = [PlanFile(folder / name) for name in names]
        self.repositories = sorted({name for file in self._files for name in file.repositories})
        self.folders = {name: place for file in self._files for name, place in file.folders.items()}
        self.commits = {name: commit for file in self._files for name, commit in file.commits.items()}
        self.batches = sum(file.batches for file in self._files)

    def __enter__(self) -> "RunPlan":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def lines(self, number: int) -> np.ndarray:
        """int32: the line of every change of a batch."""
        file, batch = self._find(number)
        return file.lines(batch)

    def changes(self, number: int) -> list[PlannedChange]:
        """The changes of a batch, in order."""
        file, batch = self._find(number)
        return file.changes(batch)

    def planned_lines(self) -> frozenset[int]:
        """Every line that has a change in a plan."""
        return frozenset(line for number in range(self.batches) for line in self.lines(number).tolist())

    def _find(self, number: int) -> tuple[PlanFile, int]:
        for file in self._files:
            if number < file.batches:
                return file, number
            number -= file.batches
        raise IndexError(number)
