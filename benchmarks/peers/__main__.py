"""Prints the peers' table.

``python -m benchmarks.peers --server HOST:PORT:GRPC_PORT [--quick] [--only PEER]… [--row ROW]… [--json]``;

the row ``unchanged`` needs ``first_sync``.
"""

import argparse
import json
import tempfile
import textwrap
from dataclasses import asdict
from pathlib import Path

from benchmarks.peers.documents import make_documents
from benchmarks.peers.orders import Server
from benchmarks.peers.peers import SETTINGS, peers
from benchmarks.peers.rows import ROWS, Amounts, measure


def main() -> None:
    """Measures and prints, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, metavar="HOST:PORT:GRPC_PORT", help="a Weaviate server on loopback")
    parser.add_argument("--quick", action="store_true", help="a short form, which says nothing of speed")
    parser.add_argument("--only", action="append", choices=SETTINGS, metavar="PEER", help=", ".join(SETTINGS))
    parser.add_argument("--row", action="append", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--json", action="store_true", help="the results as JSON lines")
    options = parser.parse_args()
    host, http_port, grpc_port = options.server.split(":")
    server = Server(host=host, http_port=int(http_port), grpc_port=int(grpc_port))
    amounts = Amounts.quick() if options.quick else Amounts()
    documents = make_documents(amounts.most, "peers")
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        for contender in peers(server, Path(folder), options.only):
            if not options.json:
                print(contender.name)
            try:
                for measured in measure(contender, documents, amounts, options.row):
                    if options.json:
                        print(json.dumps({"contender": contender.name, **asdict(measured)}, default=str), flush=True)
                    else:
                        line = f"{measured.row}: {measured.text}"
                        print(textwrap.indent(textwrap.fill(line, 114, subsequent_indent="    "), "    "), flush=True)
            finally:
                contender.drop()
            if not options.json:
                print()


if __name__ == "__main__":
    main()
