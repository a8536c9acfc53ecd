"""Who holds a lease: a process, named so that another process of the same host can tell whether it still lives."""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path


class Liveness(Enum):
    """What can be told of a process from here."""

    ALIVE = "alive"  # it runs on this host
    DEAD = "dead"  # it ran on this host and is gone
    UNKNOWN = "unknown"  # another host, or another pid namespace: only its lease's expiry tells


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine as leases name it. ``boot_id`` is of the running kernel, ``pid_namespace`` as the kernel names it."""

    name: str
    boot_id: str
    pid_namespace: str


def this_host() -> Host:
    """The one place that names host and boot; a test hands another `Host` to what it builds."""
    return Host(name=socket.gethostname(), boot_id=_boot_id(), pid_namespace=_pid_namespace())


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that holds a lease; ``started`` tells it from a later process that got the same pid."""

    host: Host
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int, host: Host | None = None) -> "Owner":
        """The process ``pid`` of this host."""
        return cls(host=host or this_host(), pid=pid, started=_start_time(pid) or "")

    @classmethod
    def this_process(cls, host: Host | None = None) -> "Owner":
        """This process."""
        return cls.of(os.getpid(), host)

    @classmethod
    def from_json(cls, text: str) -> "Owner":
        """The owner that ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(host=Host(**fields["host"]), pid=fields["pid"], started=fields["started"])

    def to_json(self) -> str:
        """As the database keeps it."""
        return json.dumps(asdict(self), sort_keys=True)

    def liveness(self, host: Host) -> Liveness:
        """What ``host``, where the caller runs, can tell of this process."""
        if self.host.name != host.name:
            return Liveness.UNKNOWN
        if self.host.boot_id != host.boot_id:
            return Liveness.DEAD  # the same host, started anew since
        if self.host.pid_namespace != host.pid_namespace:
            return Liveness.UNKNOWN
        return Liveness.ALIVE if self.started and _start_time(self.pid) == self.started else Liveness.DEAD

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.name}"


CLOCK_SLACK_S = 1.0
"""Seconds by which the wall's clock and the kernel's may differ: a worker notes its pid later than that after its
start, and a pid is given to nobody else so soon."""


def liveness_since(pid: int, noted_at: float) -> Liveness:
    """What can be told of a process of this host of which only the pid is known, and that it lived at ``noted_at``.

    ``noted_at`` is in seconds since 1970. A process of that pid that began later is another one.
    """
    started = _start_time(pid)
    if started is None:
        return Liveness.DEAD
    try:
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        age_s = uptime_s - int(started) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return Liveness.UNKNOWN  # no /proc: the process lives, and when it began is not told
    return Liveness.DEAD if time.time() - age_s > noted_at + CLOCK_SLACK_S else Liveness.ALIVE


def _start_time(pid: int) -> str | None:
    """The kernel's start time of a process in clock ticks, or None where it is gone or a zombie (proc(5), stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _start_time_without_proc(pid)
    return None if fields[0] in "ZX" else fields[19]


def _start_time_without_proc(pid: int) -> str | None:
    """Where the kernel shows no /proc: a pid that can be signalled lives; its start is not told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "?"
    return "?"
