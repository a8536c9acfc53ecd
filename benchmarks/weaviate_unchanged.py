"""Syncing documents again that a collection on Weaviate holds, unchanged, and what that asks of the server.

From the changeset's file to the closed run, as in ``unchanged``, in a process that is connected: spooled, planned,
every content hashed and compared with the ledger, every line settled. The requests are the server's own count.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Scale, Stopwatch
from benchmarks.on_weaviate.own_sync import CommonEmbedder
from benchmarks.on_weaviate.server import measured_server, not_measured
from benchmarks.peers.embedder import CountingEmbedder
from benchmarks.world import World, content_records, paths_as_git_prints_them, write_lines

ROW = "weaviate_unchanged"
CONTENT_BYTES = 2_000
MUST_DOCUMENTS_PER_S = 20_000
MUST_REQUESTS = 20
"""Of a whole sync, however many documents there are: half of what one request for each batch of 200 would be."""
TURNS = 5


def run(scale: Scale) -> Iterator[Figure]:
    """Syncs the documents once, then ``TURNS`` times unchanged; the best turn counts."""
    count = scale.pick(10_000, 600)
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        try:
            with measured_server(Path(base)) as server:
                world = World(Path(base) / "world", store=server.running.url)
                embedder = CountingEmbedder(Path(base) / "embedded")
                watches, outcomes, requests = [], [], []
                with world.engine() as engine:
                    engine._embedders[engine.settings.embedder] = CommonEmbedder(embedder)
                    for turn in range(TURNS + 1):
                        records = content_records(
                            paths_as_git_prints_them(count), content_bytes=CONTENT_BYTES, label=str(turn)
                        )
                        changeset = write_lines(Path(base) / f"changeset-{turn}.jsonl", records)
                        before = server.answered()
                        watch = Stopwatch()
                        with watch.running():
                            outcomes.append(world.apply(engine, changeset).outcomes)
                        watches.append(watch)
                        requests.append(server.answered() - before)
                    objects = engine.store().count("Bench")
        except FileNotFoundError as missing:
            yield not_measured(ROW, missing)
            return
    best = min(watches[1:], key=lambda watch: watch.wall_s)
    rates = ", ".join(f"{count / watch.wall_s:,.0f}" for watch in watches[1:])
    most = max(each.total() for each in requests[1:])
    yield Figure(
        row=ROW,
        what=f"syncing {count:,} unchanged documents again (2 kB each, content in the line, on Weaviate)",
        measured=f"{count / best.wall_s:,.0f} documents/s, best of {TURNS} ({rates}; "
        f"{count / best.cpu_s:,.0f} a second of CPU), {most} requests to the server, load {os.getloadavg()[0]:.1f}",
        must_reach=f">= {MUST_DOCUMENTS_PER_S:,} documents/s, <= {MUST_REQUESTS} requests in all",
        reached=count / best.wall_s >= MUST_DOCUMENTS_PER_S and most <= MUST_REQUESTS,
        details={
            "documents": count,
            "outcomes": outcomes,
            "objects": objects,
            "embedded": embedder.embedded,
            "requests": [dict(each) for each in requests],
            "most_requests": most,
        },
    )
