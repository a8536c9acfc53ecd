"""The file that ``faulty_definitions.py`` obeys, and a Dagster that has these definitions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster_processes import TREE, DagsterProcesses, running_dagster
from waiting import wait_until

WORKSPACE = """load_from:
  - python_file:
      relative_path: {file}
      attribute: definitions
      location_name: elysia_dagster
"""


class FaultFile:
    """What the next run worker that comes to a fault point does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reached = path.with_suffix(".reached")

    def set(self, fault: str) -> None:
        """``<action>:<point>:<n>``, see ``faulty_definitions.py``."""
        self._reached.unlink(missing_ok=True)
        self._path.write_text(fault)

    def clear(self) -> None:
        """No fault any more; who pauses goes on."""
        self._path.unlink(missing_ok=True)

    def paused(self) -> int:
        """Waits until a run worker pauses; its pid."""
        return int(wait_until("A pause", lambda: self._reached.exists() and self._reached.read_text()))


@contextmanager
def faulty_dagster(folder: Path) -> Iterator[tuple[DagsterProcesses, FaultFile]]:
    """Web server and daemon with state and inbox in the folder; the code location has the product's name."""
    workspace = folder / "workspace.yaml"
    workspace.write_text(WORKSPACE.format(file=TREE / "tests" / "faulty_definitions.py"))
    environment = {
        "ELYSIACTL_CHECKPOINT_DB_DIR": str(folder / "state"),
        "ELYSIACTL_INBOX": str(folder / "inbox"),
        "ELYSIACTL_COLLECTION": "Demo",
        "ELYSIACTL_INBOX_INTERVAL": "1",
        "ELYSIACTL_INBOX_QUIET": "0",
        "ELYSIACTL_RETRY_CRON": "* * * * *",
        "FAULT_FILE": str(folder / "fault"),
    }
    (folder / "inbox").mkdir()
    with running_dagster(folder, environment=environment, definitions=["-w", str(workspace)]) as dagster:
        yield dagster, FaultFile(folder / "fault")
