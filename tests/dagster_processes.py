"""A real Dagster, as a deployment has it: web server and daemon as processes, with a DAGSTER_HOME of their own.

    with running_dagster(tmp_path / "dagster", environment={"ELYSIACTL_CHECKPOINT_DB_DIR": …}) as dagster:
        run_id = dagster.client.launch("sync_changeset", {"ops": …})
        dagster.kill_daemon()  # SIGKILL; so too kill_webserver, kill_run_worker(run_id)
        dagster.start_daemon()
        assert dagster.client.wait(run_id) == "SUCCESS"

``definitions`` names other definitions than the product's: ``["-f", file, "-a", name]``. Everything that was started is
in process groups of its own, and is gone when the block ends.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from dagster import DagsterInstance
from dagster_client import DagsterClient
from waiting import wait_until

TREE = Path(__file__).parents[1]
PRODUCT = ("-m", "elysia_dagster.definitions", "-d", str(TREE))
HASTE = "\nrun_queue:\n  dequeue_interval_seconds: 1\n"
"""What tests add to a ``dagster.yaml``: the daemon looks into the queue each second, not every five."""
STOPPING_S = 60.0
_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


class DagsterProcesses:
    """Web server and daemon in one folder; nothing is started yet. ``environment`` adds to a clean one."""

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str],
        definitions: Sequence[str] = PRODUCT,
        instance_config: str = "",
    ) -> None:
        self.home = folder / "dagster"
        self.home.mkdir(parents=True)
        config = instance_config or (TREE / "deploy" / "sqlite" / "dagster.yaml").read_text()
        (self.home / "dagster.yaml").write_text(config + HASTE)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(TREE),
            "DAGSTER_HOME": str(self.home),
            **environment,
        }
        self._definitions = list(definitions)
        self._port = free_port()
        self._webserver: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._all: list[subprocess.Popen[bytes]] = []
        self.url = f"http://127.0.0.1:{self._port}"
        self.client = DagsterClient(self.url)

    def start(self) -> None:
        """Starts both, and waits until they work."""
        self._make_storage()
        self._webserver = self._run_webserver()
        self._daemon = self._run("dagster-daemon", "run")
        self._until_webserver_answers()
        self._until_daemon_is_well(since=0.0)

    def start_webserver(self) -> None:
        """Starts the web server, at the same address as before, and waits until it answers."""
        self._webserver = self._run_webserver()
        self._until_webserver_answers()

    def start_daemon(self) -> None:
        """Starts the daemon, and waits for its first heartbeats."""
        began = time.time()
        self._daemon = self._run("dagster-daemon", "run")
        self._until_daemon_is_well(since=began)

    def kill_webserver(self) -> None:
        """SIGKILL of the web server; its code server is left to find out by itself."""
        assert self._webserver is not None
        _kill(self._webserver.pid)

    def kill_daemon(self) -> None:
        """SIGKILL of the daemon; its code server and the runs that this started go on."""
        assert self._daemon is not None
        _kill(self._daemon.pid)

    def kill_run_worker(self, run_id: str) -> None:
        """SIGKILL of the process that carries the run out."""
        _kill(self.run_worker(run_id))

    def kill_all(self) -> None:
        """SIGKILL of everything at once, code servers and run workers too: a machine that lost its power."""
        for process in self._all:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            wait_until(f"The end of process {process.pid}", lambda pid=process.pid: has_ended(pid))

    def run_worker(self, run_id: str) -> int:
        """Its pid, as the run's log tells it; waits until it does."""
        told = wait_until(f"The process of run {run_id}", lambda: _STARTED.findall(self._said(run_id)))
        return int(told[-1])

    def log(self) -> str:
        """What all processes wrote to standard output and error."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.home.glob("*.log")))

    def stop(self) -> None:
        """Ends everything that was started, with the children of what was killed."""
        for process in self._all:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
        deadline = time.monotonic() + STOPPING_S
        for process in self._all:
            while not has_ended(process.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            # not reaped yet, so that its number names this group and no other
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=STOPPING_S)
        self._all.clear()

    def _make_storage(self) -> None:
        """Before two processes find that there is none: Dagster's SQLite files cannot be made twice at once."""
        with mock.patch.dict(os.environ, self.environment), DagsterInstance.from_config(str(self.home)) as instance:
            instance.get_runs(limit=1)
            instance.get_asset_keys(limit=1)
            instance.all_instigator_state()

    def _said(self, run_id: str) -> str:
        return "\n".join(self.client.messages(run_id))

    def _run_webserver(self) -> "subprocess.Popen[bytes]":
        return self._run("dagster-webserver", "-h", "127.0.0.1", "-p", str(self._port))

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with open(self.home / f"{len(self._all)}-{program}.log", "wb") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *arguments, *self._definitions],
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._all.append(process)
        return process

    def _until_webserver_answers(self) -> None:
        self._wait(self._webserver, "An answer of the web server", self.client.answers)

    def _until_daemon_is_well(self, *, since: float) -> None:
        self._wait(self._daemon, "A heartbeat of the daemon", lambda: self.client.daemon_is_well(since=since))

    def _wait(self, process: "subprocess.Popen[bytes] | None", what: str, look: Callable[[], bool]) -> None:
        assert process is not None
        pid = process.pid

        def ended_or_ready() -> bool:
            assert not has_ended(pid), f"{what}: the process has ended\n{self.log()}"
            return look()

        wait_until(what, ended_or_ready)


@contextmanager
def running_dagster(folder: Path, **options: Any) -> Iterator[DagsterProcesses]:
    """Web server and daemon for the block; ``options`` as ``DagsterProcesses`` takes them."""
    dagster = DagsterProcesses(folder, **options)
    try:
        dagster.start()
        yield dagster
    finally:
        dagster.stop()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(f"The end of process {pid}", lambda: has_ended(pid))


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or a zombie that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
