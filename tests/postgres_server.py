"""A PostgreSQL server of the test run's own: started on 127.0.0.1 in a temporary folder, stopped by its pid."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def is_installed() -> bool:
    """Whether there is a server to start, its driver, and (since it refuses to run as root) a user to start it as."""
    there = shutil.which("initdb") and shutil.which("postgres") and find_spec("psycopg")
    return bool(there) and (os.geteuid() != 0 or _other_user() is not None)


def _other_user() -> str | None:
    names = {each.pw_name for each in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@contextmanager
def running_server() -> Iterator[str]:
    """The address of a new server, as a SQLAlchemy URL without the database's name."""
    user = _other_user() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="elysia-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        # an order of people, not of bytes, as most servers have it
        initdb = [
            "initdb",
            "-D",
            data,
            "-U",
            "test",
            "--auth=trust",
            "--locale-provider=icu",
            "--icu-locale=en-US",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, user=user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with open(folder / "log", "wb") as log:
            options = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off", "-c", "max_connections=40"]
            server = subprocess.Popen(["postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, user=user)
        try:
            _wait_until_ready(server, port, folder / "log")
            yield f"postgresql+psycopg://test@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed any more
            server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    import psycopg

    for _ in range(600):
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="test", dbname="postgres").close()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
