"""This project beside LangChain and LlamaIndex: the same documents, vectors, server and run, row by row in turns.

What each does is in ``benchmarks/peers``. Beside the time stands whether the collection holds what it should, object by
object: a time of a contender whose collection is not true is said, and is no lead.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Scale
from benchmarks.on_weaviate.contenders import BATCH, own
from benchmarks.on_weaviate.server import measured_server, not_measured
from benchmarks.peers.contenders import Contender, Killed, Rejected, Synced
from benchmarks.peers.documents import make_documents
from benchmarks.peers.peers import peers
from benchmarks.peers.rows import ROWS, Amounts, Measured, describe, measure

ROW = "weaviate_peers"
CHOSEN = ["LangChainAsync", "LangChain", "LlamaIndexSlices", "LlamaIndexAsync"]
EMBED_THREADS = 1
"""The default: batches that are embedded and not yet saved when a process is killed."""

Result = Synced | Killed | Rejected


def run(scale: Scale) -> Iterator[Figure]:
    """A figure for each row, as soon as the last contender has done it. In the short form no peer takes part: their
    environment would have to be made first."""
    amounts = Amounts.quick() if scale.quick else Amounts()
    documents = make_documents(amounts.most, "peers")
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        try:
            with measured_server(Path(base)) as server:
                contenders: list[Contender] = [own(server.address, Path(base))]
                if not scale.quick:
                    contenders += peers(server.address, Path(base), CHOSEN)
                together: list[Measured] = []
                for each in measure(contenders, documents, amounts):
                    together.append(each)
                    if len(together) == len(contenders):
                        yield _figure(together)
                        together = []
        except FileNotFoundError as missing:
            yield not_measured(ROW, missing)


def _figure(together: list[Measured]) -> Figure:
    ours, *others = (each.result for each in together)
    row = together[0].row
    must, reached = _judged(row, ours, others)
    return Figure(
        row=ROW,
        what=f"{row}, load {os.getloadavg()[0]:.1f}",
        measured=" | ".join(f"{each.contender}: {describe(each.result)}" for each in together),
        must_reach=must,
        reached=reached,
        details={
            "part": row,
            "all_right": ours.after.is_true,
            "objects": ours.after.objects,
            "documents": ours.documents,
            "error": (ours.again if isinstance(ours, Killed | Rejected) else ours.run).error,
            "embedded_twice": ours.embedded_twice if isinstance(ours, Killed) else None,
            "embedded_before": ours.embedded_before if isinstance(ours, Killed) else None,
            "first_error": ours.first.error if isinstance(ours, Rejected) else None,
            "others": len(others),
        },
    )


def _judged(row: str, ours: Result, others: list[Result]) -> tuple[str, bool]:
    assert row in ROWS
    if isinstance(ours, Synced):
        seconds = [each.run.seconds for each in others if isinstance(each, Synced) and each.after.is_true]
        is_ahead = not seconds or ours.run.seconds < min(seconds)
        return "ahead of each whose collection is true", is_ahead and ours.after.is_true and not ours.run.error
    if isinstance(ours, Killed):
        twice = [each.embedded_twice for each in others if isinstance(each, Killed)]
        must = EMBED_THREADS * BATCH
        reached = ours.embedded_twice <= min([must, *twice]) and ours.after.is_true and not ours.again.error
        return f"<= {must} embedded twice, no more than each", reached
    reached = ours.after.is_true and bool(ours.first.error) and not ours.again.error
    return "the failure is told, and all are there after the second run", reached
