"""What a benchmark hands back: one figure of the table, and how large the work was."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A row of the table. ``reached`` is None for what is only stated. ``details`` are numbers for machines."""

    row: str
    what: str
    measured: str
    must_reach: str
    reached: bool | None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured. ``quick`` takes seconds and tells nothing of speed: it shows that the benchmark works.

    ``folder`` is where everything is written: the file system that is measured.
    """

    quick: bool
    folder: Path

    def pick(self, full: int, quick: int) -> int:
        """A number of lines, by the scale."""
        return quick if self.quick else full


@dataclass(kw_only=True)
class Stopwatch:
    """Seconds by the wall and of this process's threads together."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Adds what the block takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += time.process_time() - cpu


def in_process_of_its_own(module: str, **arguments: Any) -> dict[str, Any]:
    """Runs ``benchmarks.<module>`` with arguments as JSON; what it prints last is its answer, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", json.dumps(arguments, default=str)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def arguments_of_child() -> dict[str, Any]:
    """What ``in_process_of_its_own`` was given."""
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    return arguments


def peak_rss_bytes() -> int:
    """The most memory that this process has had resident so far.

    ``VmHWM``, since ``ru_maxrss`` begins with what the parent had when it spawned this process.
    """
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def timed_command(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Seconds from start to end of a command that must end well; its output is kept for the case that it does not."""
    began = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds
