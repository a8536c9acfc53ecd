"""Gets and runs Weaviate servers: ``get`` builds the server once; ``run FOLDER`` starts one, with its data in FOLDER,
on the ports that clients expect; ``keep FOLDER PID`` runs the server that a test session shares."""

import signal
import sys
from pathlib import Path

from .binary import VERSION, get
from .ports import Ports
from .server import WeaviateServer
from .shared import keep

CUSTOMARY = Ports(http=8080, grpc=50051, gossip=7946, raft=8300, metrics=2112, profiling=6060)


def run(folder: Path) -> None:
    """A server in the foreground, until Ctrl-C or SIGTERM. Raises ``SystemExit`` with a sentence where it cannot."""
    if taken := CUSTOMARY.taken():
        ports = " and ".join(str(port) for port in taken)
        raise SystemExit(f"Port {ports} of 127.0.0.1 is taken: does another Weaviate server run already?")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # killed by force it completes its vector index after the next start, see docs/stores.md
    server = WeaviateServer(folder, ports=CUSTOMARY, environment={"ASYNC_INDEXING": "true"})
    print(f"Weaviate {VERSION} starts; its data and its log are in {folder}.", flush=True)
    try:
        server.start()
        print("It is ready; Ctrl-C stops it. For elysiactl:", flush=True)
        print(f"  --store weaviate:http://127.0.0.1:{CUSTOMARY.http}", flush=True)
        status = server.wait()
    except KeyboardInterrupt:
        print("\nStopping.", flush=True)
        server.stop()
    except RuntimeError as error:
        server.stop()
        raise SystemExit(str(error)) from error
    else:
        raise SystemExit(f"The server has ended with status {status}; see {server.log}")


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    match arguments:
        case ["get"]:
            get()
        case ["run", folder]:
            get()
            run(Path(folder))
        case ["keep", folder, owner]:
            keep(Path(folder), int(owner))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
