"""The peers' own environment: made on first use in the cache folder, outside the tree, and used again."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
QUIET = {
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "OTEL_SDK_DISABLED": "true",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": "*",
}
"""Nothing of these libraries sends anything anywhere, and the loopback interface is never reached by a proxy."""


def cache_folder() -> Path:
    """Where this project keeps what can be made again."""
    cache = os.environ.get("ELYSIA_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "elysia_dagster"


def peers_python() -> Path:
    """The interpreter of the peers' environment, which is made first if it is not there or no longer as pinned."""
    folder = cache_folder() / "peers-venv"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Making the peers' environment in {folder}: about a minute, once.", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted)
    return python


def peers_environment() -> dict[str, str]:
    """Environment variables of a peer's process: what a process needs, and nothing that turns telemetry on."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, **QUIET}
