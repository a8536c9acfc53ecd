"""Prints the peers' table.

``python -m benchmarks.peers [--quick] [--only PEER]… [--row ROW]… [--server HOST:PORT:GRPC_PORT] [--json]``;

the row ``unchanged`` needs ``first_sync``.
"""

import argparse
import json
import os
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.peers.documents import make_documents
from benchmarks.peers.orders import Server
from benchmarks.peers.peers import SETTINGS, peers
from benchmarks.peers.rows import ROWS, Amounts, measure
from tests import weaviate_server


def main() -> None:
    """Measures and prints, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", metavar="HOST:PORT:GRPC_PORT", help="a Weaviate server (default: starts one)")
    parser.add_argument("--quick", action="store_true", help="a short form, which says nothing of speed")
    parser.add_argument("--only", action="append", choices=SETTINGS, metavar="PEER", help=", ".join(SETTINGS))
    parser.add_argument("--row", action="append", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--json", action="store_true", help="the results as JSON lines")
    options = parser.parse_args()
    amounts = Amounts.quick() if options.quick else Amounts()
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, _server(options.server, Path(folder)) as server:
        documents = make_documents(amounts.most, "peers")
        contenders = peers(server, Path(folder), options.only)
        row = None
        try:
            for measured in measure(contenders, documents, amounts, options.row):
                if options.json:
                    print(json.dumps(asdict(measured), default=str), flush=True)
                    continue
                if measured.row != row:
                    row = measured.row
                    print(f"{row} (load {os.getloadavg()[0]:.1f})")
                line = f"    {measured.contender}: {measured.text}"
                print(textwrap.fill(line, 118, subsequent_indent=" " * 8), flush=True)
        finally:
            for contender in contenders:
                contender.drop()


@contextmanager
def _server(address: str | None, folder: Path) -> Iterator[Server]:
    if address is not None:
        host, http_port, grpc_port = address.split(":")
        yield Server(host=host, http_port=int(http_port), grpc_port=int(grpc_port))
    elif missing := weaviate_server.why_missing():
        raise SystemExit(missing)
    else:
        with weaviate_server.running_server(folder / "server") as started:
            yield Server(host="127.0.0.1", http_port=started.http_port, grpc_port=started.grpc_port)


if __name__ == "__main__":
    main()
