"""A first sync into Weaviate against a bare loop of the same chunker, embedder and ``insert_many``.

Both are processes of their own on one server, whose clients they are on the same cores; each is timed from before it
reads its documents until all is written (and, for the sync, read back and settled), imports left out. Turns alternate,
each into a new collection. The ratio is that of the best of each side; the ratio of each turn is beside it.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Scale
from benchmarks.on_weaviate.contenders import bare, own
from benchmarks.on_weaviate.server import measured_server, not_measured
from benchmarks.peers.contenders import ScriptContender, Synced
from benchmarks.peers.documents import SourceDocument, make_documents

ROW = "weaviate_first_sync"
MUST_RATIO = 0.9
TURNS = 4


def run(scale: Scale) -> Iterator[Figure]:
    """Measures both in turns, each as often first as second."""
    documents = make_documents(scale.pick(10_000, 600), "first")
    ours: list[Synced] = []
    theirs: list[Synced] = []
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        try:
            with measured_server(Path(base)) as server:
                for turn in range(scale.pick(TURNS, 1)):
                    sides = [
                        (ours, own(server.address, Path(base), turn)),
                        (theirs, bare(server.address, Path(base), turn)),
                    ]
                    for results, contender in sides if turn % 2 else reversed(sides):
                        results.append(_first_sync(contender, documents))
        except FileNotFoundError as missing:
            yield not_measured(ROW, missing)
            return
    best, bare_best = (min(each.run.seconds for each in side) for side in (ours, theirs))
    each_turn = [bare_turn.run.seconds / turn.run.seconds for turn, bare_turn in zip(ours, theirs, strict=True)]
    ratio = bare_best / best
    yield Figure(
        row=ROW,
        what=f"first sync of {len(documents):,} documents of 2 kB into Weaviate, read back and settled, against a bare "
        "loop of the same chunker, embedder and insert_many into the same schema",
        measured=f"{ratio:.2f} of it ({len(documents) / best:,.0f} and {len(documents) / bare_best:,.0f} documents/s, "
        f"best of {len(ours)}; turn by turn {', '.join(f'{each:.2f}' for each in each_turn)}), "
        f"load {os.getloadavg()[0]:.1f}",
        must_reach=f">= {MUST_RATIO} of it",
        reached=ratio >= MUST_RATIO and all(each.after.is_true and not each.run.error for each in ours),
        details={
            "documents": len(documents),
            "objects": [each.after.objects for each in ours + theirs],
            "all_right": [each.after.is_true for each in ours + theirs],
            "errors": [each.run.error for each in ours + theirs if each.run.error],
            "ratio": ratio,
            "ratios": each_turn,
            "seconds": [each.run.seconds for each in ours],
            "bare_seconds": [each.run.seconds for each in theirs],
        },
    )


def _first_sync(contender: ScriptContender, documents: list[SourceDocument]) -> Synced:
    try:
        return contender.first_sync(documents)
    finally:
        contender.drop()
