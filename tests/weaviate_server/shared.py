"""The one server that all processes of a test session share, under a keeper that ends it with the session."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .server import READY_WITHIN_S, WeaviateServer

_TOLD = "server.json"


def shared_server(folder: Path, owner: int) -> str:
    """The URL of the session's server; the first that asks starts it.

    ``folder`` is the session's, ``owner`` its own process: the server ends with it, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / _TOLD
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            _start_keeper(folder, owner)
    return str(json.loads(told.read_text())["url"])


def _start_keeper(folder: Path, owner: int) -> None:
    """Not as a child to be waited for: a worker that ends before the session leaves the server to the others."""
    package = Path(__file__).parent
    with (folder / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", package.name, "keep", str(folder.resolve()), str(owner)],
            cwd=package.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_WITHIN_S
    while not (folder / _TOLD).exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            raise RuntimeError(f"no shared server: {(folder / 'keeper.log').read_text()[-2000:]}")
        time.sleep(0.02)
    keeper.returncode = 0  # so that nothing warns of a child that still runs


def end_shared_server(folder: Path) -> None:
    """Ends the session's server, if there is one, and waits until it is gone."""
    try:
        keeper = int(json.loads((folder / _TOLD).read_text())["keeper"])
        gone = os.pidfd_open(keeper)
    except (FileNotFoundError, ProcessLookupError):
        return
    try:
        # a keeper that died long ago may have left its number to another
        if str(folder.resolve()).encode() in Path(f"/proc/{keeper}/cmdline").read_bytes():
            signal.pidfd_send_signal(gone, signal.SIGTERM)
            select.select([gone], [], [], 30)
    finally:
        os.close(gone)


def keep(folder: Path, owner: int) -> None:
    """Runs the session's server until SIGTERM, or until the session's process has ended."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    gone = os.pidfd_open(owner)
    server = WeaviateServer(folder)
    with contextlib.ExitStack() as at_end:
        at_end.callback(shutil.rmtree, server.data, ignore_errors=True)  # pytest keeps the folders of three sessions
        at_end.callback(server.kill)  # nobody wants its data
        server.start()
        part = folder / f"{_TOLD}.part"
        part.write_text(json.dumps({"url": server.url, "pid": server.pid, "keeper": os.getpid()}))
        part.rename(folder / _TOLD)
        select.select([gone], [], [])
