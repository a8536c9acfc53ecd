"""A collection on Weaviate of which 1 % of the documents changed and 1 % were deleted, brought up to date.

The changeset names every document with its content, as after a full listing, and the deleted ones; a process of its
own, timed from the end of its imports: connection, checkpoint, comparing, writing, reading back, closing.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Scale
from benchmarks.on_weaviate.contenders import own
from benchmarks.on_weaviate.server import measured_server, not_measured
from benchmarks.peers.contenders import Synced
from benchmarks.peers.documents import make_documents, one_percent_later

ROW = "weaviate_changed"
MUST_S = 1.0
TURNS = 3


def run(scale: Scale) -> Iterator[Figure]:
    """Each turn in a new collection; the best counts."""
    before = make_documents(scale.pick(3_000, 600), "changed")
    later = one_percent_later(before)
    turns: list[Synced] = []
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        try:
            with measured_server(Path(base)) as server:
                for turn in range(scale.pick(TURNS, 1)):
                    contender = own(server.address, Path(base), turn)
                    turns.append(contender.changed(before, later))
                    contender.drop()
        except FileNotFoundError as missing:
            yield not_measured(ROW, missing)
            return
    best = min(each.run.seconds for each in turns)
    yield Figure(
        row=ROW,
        what=f"{len(before):,} documents on Weaviate, 1 % changed, 1 % deleted, all of them named in the changeset",
        measured=f"{best:.2f} s beyond the imports, best of {len(turns)} "
        f"({', '.join(f'{each.run.seconds:.2f}' for each in turns)}; with them {min(e.whole_s for e in turns):.1f} s), "
        f"load {os.getloadavg()[0]:.1f}",
        must_reach=f"<= {MUST_S:.0f} s",
        reached=best <= MUST_S and all(each.after.is_true and not each.run.error for each in turns),
        details={
            "documents": len(later),
            "objects": [each.after.objects for each in turns],
            "all_right": [each.after.is_true for each in turns],
            "embedded": [each.run.embedded for each in turns],
            "counts": [each.run.counts for each in turns],
            "errors": [each.run.error for each in turns if each.run.error],
            "seconds": [each.run.seconds for each in turns],
        },
    )
