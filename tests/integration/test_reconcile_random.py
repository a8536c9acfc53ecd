"""Any damage, in any order: what is told is what a model in plain Python says, and a repair gives the truth."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.held import lancedb_holds
from crash.oracle import Oracle, assert_collection
from crash.scenario import inline, text_of
from damage import Damage
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_world import COLLECTION, World

from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import repair

CHUNKS = {("a", "one.py"): 1, ("a", "two.py"): 2, ("a", "two.py.bak"): 1, ("b", "one.py"): 4, ("c-c", "é/x.py"): 3}
LINES = {key: inline(key, text_of("text", chunks), "add") for key, chunks in CHUNKS.items()}

Harm = tuple[str, tuple[str, str], int]

OBJECTS = st.tuples(
    st.sampled_from(["remove", "double", "make_stale", "take_vector", "leave_over"]),
    st.sampled_from(sorted(CHUNKS)),
    st.integers(0, 4),
)
ROWS = st.tuples(st.sampled_from(["forget", "absent", "suspect", "unsure", "hash"]), st.sampled_from(sorted(CHUNKS)))


class Model:
    """By document, and by chunk how often it is there, and in what state; and the ledger's word on it."""

    def __init__(self) -> None:
        self.held = {key: {chunk: [1, False, True] for chunk in range(chunks)} for key, chunks in CHUNKS.items()}
        self.word = dict.fromkeys(CHUNKS, "present")

    def applies(self, harm: str, key: tuple[str, str], chunk: int) -> bool:
        """Whether the harm can be done."""
        there = self.held[key]
        if harm == "leave_over":
            return chunk >= CHUNKS[key] and chunk not in there
        return chunk in there and chunk < CHUNKS[key]

    def do(self, harm: str, key: tuple[str, str], chunk: int) -> None:
        """The same harm."""
        there = self.held[key]
        if harm == "remove":
            del there[chunk]
        elif harm == "leave_over":
            there[chunk] = [1, False, True]
        elif harm == "double":
            there[chunk][0] += 1
        elif harm == "make_stale":
            there[chunk][1] = True
        else:
            there[chunk][2] = False

    def differences(self, key: tuple[str, str]) -> set[str]:
        """What is to be told of a document."""
        word, chunks, there = self.word[key], CHUNKS[key], self.held[key]
        if word in ("forget", "absent"):
            return {"left over"} if there else set()
        inside = [there[chunk] for chunk in range(chunks) if chunk in there]
        told = set()
        if len(there) > len(inside):
            told.add("left over")
        if any(count > 1 for count, _, _ in inside):
            told.add("doubled")
        if any(not vector for _, _, vector in inside):
            told.add("without vector")
        if word in ("suspect", "unsure"):
            return told | {"suspect"}
        if len(inside) < chunks:
            told.add("missing" if inside else "nothing there")
        elif word == "hash" or any(stale for _, stale, _ in inside):
            told.add("stale")
        return told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Where a world lies, and a copy of it as it was: a state knows its store by its place."""
    base = tmp_path_factory.mktemp("world")
    with World(base) as world:
        world.sync(*(each.raw for each in LINES.values()))
    with tempfile.TemporaryDirectory() as kept:
        shutil.copytree(base, Path(kept) / "world")
        yield base, Path(kept) / "world"


@settings(max_examples=40)
@given(harms=st.lists(OBJECTS, max_size=6), rows=st.lists(ROWS, max_size=2, unique_by=lambda row: row[1]))
def test_random_damage(whole: tuple[Path, Path], harms: list[Harm], rows: list[tuple[str, tuple[str, str]]]) -> None:
    base, kept = whole
    shutil.rmtree(base)
    shutil.copytree(kept, base)
    model, damage = Model(), Damage(base / "state")
    for harm, key, chunk in harms:
        if model.applies(harm, key, chunk):
            model.do(harm, key, chunk)
            getattr(damage, harm)(key, chunk)
    for word, key in rows:
        model.word[key] = word
        if word == "forget":
            damage.forget(key)
        elif word == "absent":
            damage.set_row(key, state="absent", chunks=0, max_chunks=0, write_hash=None)
        elif word == "hash":
            damage.set_row(key, write_hash="0" * 64)
        else:
            damage.set_row(key, state="suspect", **({"write_hash": None} if word == "unsure" else {}))
    expected = {key: told for key in CHUNKS if (told := model.differences(key))}
    with World(base) as world:
        with compared(world.engine, COLLECTION) as comparison:
            told = {
                (each.held.repository, each.held.path): {kind.value for kind in each.differences}
                for each in comparison.first_findings()
            }
            assert told == expected
            assert (comparison.differing, comparison.foreign, comparison.being_written) == (len(expected), 0, 0)
            assert repair(comparison).remaining == 0
        left = [line for key, line in LINES.items() if model.word[key] not in ("forget", "absent")]
        assert_collection(lancedb_holds(world.state, COLLECTION), Oracle().apply(left), tolerance=0.0)
        with compared(world.engine, COLLECTION) as comparison:
            assert comparison.differing == 0
        states = {state for (state,) in world.query("SELECT state FROM documents")}
        assert states <= {"present", "absent"}
