"""The server's program: built once by Go from its released source, and kept outside the tree."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "1.38.11"
MODULE = "github.com/weaviate/weaviate"

LOOPBACK = {
    "adapters/handlers/grpc/server.go": ('net.Listen("tcp", fmt.Sprintf(":%d",', 1),
    "adapters/handlers/rest/clusterapi/serve.go": ('Addr:      fmt.Sprintf(":%d", port)', 1),
    "adapters/handlers/rest/configure_api.go": ('http.ListenAndServe(fmt.Sprintf(":%d",', 2),
}
"""Where the source listens on every interface and has no setting for it, and how often: gRPC (which lets anybody write
where anonymous access is on), the port between nodes, metrics and profiling. They are built to listen on 127.0.0.1, as
the others do by their settings; nothing else of the source is changed."""


def binary() -> Path:
    """Where the server lies, or would lie."""
    cache = os.environ.get("ELYSIA_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "elysia_dagster" / f"weaviate-server-{VERSION}" / "weaviate-server"


def why_missing() -> str:
    """Why tests can start no server, and what to type; '' where they can."""
    if sys.platform != "linux":
        return "tests start Weaviate servers on Linux only: they end them with the process that started them"
    return "" if binary().exists() else "no Weaviate server is installed: type `make weaviate-server` (it needs Go)"


def get() -> None:
    """Builds the server, unless it is there. An interrupted build leaves nothing under the name.

    Raises ``SystemExit`` with one sentence where it cannot.
    """
    if binary().exists():
        return
    if shutil.which("go") is None:
        raise SystemExit(f"The Weaviate server is built by Go, which is not installed: {_INSTALL}")
    folder = binary().parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary().exists():
            return
        for left_over in folder.glob("build-*"):  # by a build that was killed: who builds has the lock
            shutil.rmtree(left_over)
        print(f"Building the Weaviate server {VERSION} into {folder}: this takes some minutes, once.", flush=True)
        aside = folder / f"build-{os.getpid()}"
        try:
            _build(aside)
            (aside / "weaviate-server").rename(binary())
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"Go could not build the Weaviate server {VERSION}: {_told(error)}") from error
        except KeyboardInterrupt:
            raise SystemExit("Interrupted: the Weaviate server is not built.") from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(aside)


_INSTALL = "install it from https://go.dev/dl, then try again."


def _build(aside: Path) -> None:
    """Puts ``weaviate-server`` into a new folder. Go checks the source against its public checksum."""
    # a workspace of the user's is none of this build's, and the copy is nobody's checkout
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOBIN": str(aside)}
    download = ["go", "mod", "download", "-json", f"{MODULE}@v{VERSION}"]
    done = subprocess.run(download, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    source = aside / "source"
    shutil.copytree(json.loads(done.stdout)["Dir"], source, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(source):
        os.chmod(folder, 0o755)  # Go's own copy is read-only
    for name, (listens, times) in LOOPBACK.items():
        _listen_on_loopback(source / name, listens, times)
    subprocess.run(
        ["go", "install", "-buildvcs=false", "./cmd/weaviate-server"], env=environment, check=True, cwd=source
    )


def _listen_on_loopback(file: Path, listens: str, times: int) -> None:
    text = file.read_text()
    if text.count(listens) != times:
        raise SystemExit(f"{file.name} of Weaviate {VERSION} listens in another way than LOOPBACK in {__file__} says.")
    file.write_text(text.replace(listens, listens.replace('":%d"', '"127.0.0.1:%d"')))


def _told(error: subprocess.CalledProcessError) -> str:
    """What `go mod download` says in its answer; what `go install` says has been printed."""
    try:
        return str(json.loads(error.stdout)["Error"])
    except (TypeError, ValueError, KeyError):
        return "what it said stands above."
