"""The command as a process of its own, with the most memory that it took."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-c", "from elysia_dagster.cli import main; main()", "index"]
WATCHDOG_S = 240
"""For a hang: many times what the command takes on a loaded machine."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a process left: its exit code, output and errors, and its peak resident memory in MB."""

    code: int
    out: str
    err: str
    peak_mb: float


def elysiactl(folder: Path, *arguments: str, stdin: Path | None = None, **settings: str) -> Ended:
    """``elysiactl index …`` with its state in ``folder/state``; ``settings`` without their prefix."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith("elysiactl_")}
    state = {"ELYSIACTL_CHECKPOINT_DB_DIR": str(folder / "state"), "ELYSIACTL_COLLECTION": "Demo"}
    given = {f"ELYSIACTL_{name}": value for name, value in settings.items()}
    return measured([*COMMAND, *arguments], {**kept, **state, **given}, stdin)


def measured(command: Sequence[str], environment: dict[str, str], stdin: Path | None = None) -> Ended:
    """Runs a command to its end; kills it after ``WATCHDOG_S``, which fails the test by its exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(stdin or os.devnull, "rb") as given:
        process = subprocess.Popen(
            ["timeout", "--signal=KILL", str(WATCHDOG_S), *command],
            stdin=given,
            stdout=out,
            stderr=err,
            env=environment,
        )
        _, status, usage = os.wait4(process.pid, 0)  # of the process and its children that have ended
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Ended(
            code=process.returncode,
            out=out.read().decode(),
            err=err.read().decode(),
            peak_mb=usage.ru_maxrss / 1024,
        )
