"""What the stages of a run took, kept in the run's folder: seconds and counts, added up over all its steps and tries.

Only what came to its end, well or with an error, is counted: a killed process says nothing. The shell, which chains the
stages, measures none.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from elysia_dagster.embedders.vectors import estimate_tokens
from elysia_dagster.sync.batch import EmbeddedBatch
from elysia_dagster.sync.embed import texts_of
from elysia_dagster.sync.files import write_aside

MEASURES_NAME = "measures.json"

TOKENS = "tokens"
"""Of the chunks that were embedded, four bytes each: near enough for a plot, and for what an endpoint charges."""

CHUNKS_EMBEDDED = "chunks embedded"
CHUNKS_WRITTEN = "chunks written"
DOCUMENTS = "documents"
"""Documents that were written; those that are unchanged, removed or superseded are not."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """``seconds`` by stage; ``counts`` by what was counted (tokens, documents, chunks)."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def load_measures(folder: Path) -> Measures:
    """What was measured so far; nothing where there is no such file, or one that cannot be read."""
    try:
        fields = orjson.loads((folder / MEASURES_NAME).read_bytes())
        return Measures(seconds=dict(fields["seconds"]), counts=dict(fields["counts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Measures()


def add_measures(folder: Path, stage: str, seconds: float, counts: Counter[str] | None = None) -> None:
    """Adds to what the run's folder holds, where there is one: a finished run's may be gone.

    Raises ``ResourceExhausted`` when the disk is full.
    """
    if not folder.is_dir():
        return
    before = load_measures(folder)
    whole = Counter(before.counts)
    whole.update(counts or {})
    took = {**before.seconds, stage: round(before.seconds.get(stage, 0.0) + seconds, 3)}
    with write_aside(folder / MEASURES_NAME) as file:
        file.write(orjson.dumps({"seconds": took, "counts": whole}))


@contextmanager
def measured(folder: Path, stage: str) -> Iterator[Counter[str]]:
    """Measures the block, also one that raises; gives the counter that it adds to. Only under the run's lease."""
    counts: Counter[str] = Counter()
    began = time.monotonic()
    try:
        yield counts
    finally:
        add_measures(folder, stage, time.monotonic() - began, counts)


def counted(batches: Iterable[EmbeddedBatch], counts: Counter[str]) -> Iterator[EmbeddedBatch]:
    """The batches; what was embedded for them is counted, not what came from files."""
    for batch in batches:
        if batch.embedded:
            texts = texts_of(batch)
            counts[CHUNKS_EMBEDDED] += batch.embedded
            # of a batch that was made anew some are paid for already: the same share of the tokens
            counts[TOKENS] += round(estimate_tokens(texts) * batch.embedded / max(len(texts), batch.embedded))
        yield batch
