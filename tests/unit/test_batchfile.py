"""A saved batch is taken as it was saved, or not at all."""

import random
from pathlib import Path

import numpy as np
import pytest

from elysia_dagster.models import Chunk, Outcome
from elysia_dagster.sync.batch import Action, EmbeddedBatch, PreparedChange, write_hash
from elysia_dagster.sync.batchfile import batch_path, load_batch, save_batch
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.winners import ChangeKind

MODEL, CHUNKER, DIMENSIONS = "model-1", "chunker-1", 8
CONTENT_HASH = "ab" * 32


def planned(line: int) -> PlannedChange:
    """A change of a plan."""
    return PlannedChange(
        line=line,
        offset=10 * line,
        length=9,
        repository="r",
        path=f"src/f{line}.py",
        kind=ChangeKind.MODIFY,
        is_record=True,
        is_expanded=False,
        is_last=True,
        is_single=True,
        is_contested=False,
    )


def batch_of(lines: int, dimensions: int = DIMENSIONS) -> EmbeddedBatch:
    """Every third line fails, the others have two chunks each."""
    generator = np.random.default_rng(7)
    changes, texts = [], []
    for line in range(1, lines + 1):
        if line % 3 == 0:
            changes.append(PreparedChange(planned=planned(line), action=Action.FAIL, reason="not there"))
            continue
        first = len(texts)
        chunks = tuple(Chunk(index=n, text=f"text {line} {n} ü", start_line=n + 1, end_line=n + 4) for n in range(2))
        texts += [chunk.text for chunk in chunks]
        changes.append(
            PreparedChange(
                planned=planned(line),
                action=Action.WRITE,
                outcome=Outcome.INDEXED,
                content_hash=CONTENT_HASH,
                size_bytes=7,
                line_count=3,
                modified_at=1.5,
                chunks=chunks,
                rows=(first, first + 2),
            )
        )
    vectors = generator.standard_normal((len(texts), dimensions), dtype=np.float32)
    hashes = tuple(
        write_hash(text, vector, model_id=MODEL, chunker=CHUNKER, content_hash=CONTENT_HASH)
        for text, vector in zip(texts, vectors, strict=True)
    )
    return EmbeddedBatch(number=4, changes=tuple(changes), vectors=vectors, write_hashes=hashes, embedded=len(texts))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved batch of seven lines."""
    path = batch_path(tmp_path, 4)
    save_batch(path, batch_of(7), model_id=MODEL, chunker=CHUNKER)
    return path


def loaded(path: Path, lines: int = 7, *, model_id: str = MODEL, chunker: str = CHUNKER) -> EmbeddedBatch | None:
    """What is taken from the file for the first ``lines`` lines."""
    return load_batch(path, [planned(line) for line in range(1, lines + 1)], model_id=model_id, chunker=chunker)


def test_what_is_saved_is_loaded(saved: Path) -> None:
    found, wanted = loaded(saved), batch_of(7)
    assert found is not None
    assert (found.number, found.changes, found.write_hashes) == (4, wanted.changes, wanted.write_hashes)
    assert np.array_equal(found.vectors, wanted.vectors)
    assert found.embedded == 0


def test_a_batch_without_vectors_is_saved_and_loaded(tmp_path: Path) -> None:
    """The store makes them."""
    path, wanted = batch_path(tmp_path, 4), batch_of(7, dimensions=0)
    save_batch(path, wanted, model_id=MODEL, chunker=CHUNKER)
    found = loaded(path)
    assert found is not None
    assert (found.changes, found.write_hashes) == (wanted.changes, wanted.write_hashes)
    assert (found.vectors.shape, found.vectors.dtype) == ((len(wanted.write_hashes), 0), np.float32)


def test_other_lines_another_model_and_another_chunker_find_nothing(saved: Path) -> None:
    assert loaded(saved, 6) is None
    assert loaded(saved, model_id="model-2") is None
    assert loaded(saved, chunker="chunker-2") is None
    assert loaded(saved.with_name("batch-5.arrow")) is None


def test_a_damaged_file_counts_as_absent(saved: Path) -> None:
    whole = saved.read_bytes()
    generator = random.Random(20)
    for size in [0, 1, 31, 32, 33, *generator.sample(range(len(whole)), 40)]:
        saved.write_bytes(whole[:size])
        assert loaded(saved) is None, f"cut at byte {size}"
    for _ in range(300):
        place, bit = generator.randrange(len(whole)), generator.randrange(8)
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        assert loaded(saved) is None, f"bit {bit} of byte {place}"
