"""One document, as the store holds it and as the ledger knows it: what is told of the two."""

import pytest

from elysia_dagster.checkpoint.records import DocumentRow
from elysia_dagster.models import DocumentState
from elysia_dagster.sync.batch import document_write_hash
from elysia_dagster.sync.difference import Difference, HeldDocument, compare

D = Difference
HASHES = {0: "w0", 1: "w1", 2: "w2"}


def row(
    state: DocumentState = DocumentState.PRESENT, *, chunks: int = 3, most: int = 3, known: bool = True
) -> DocumentRow:
    write_hash = document_write_hash([f"w{each}" for each in range(chunks)]) if known else None
    return DocumentRow("repo", "a.py", state, (1, 1), "c", write_hash, "k", chunks, most, "indexed")


def held(hashes: dict[int, str] = HASHES, **scanned: frozenset[int]) -> HeldDocument:
    contents = dict.fromkeys(hashes, "c")
    return HeldDocument(repository="repo", path="a.py", hashes=dict(hashes), contents=contents, **scanned)


ABSENT, WRITING, SUSPECT = DocumentState.ABSENT, DocumentState.WRITING, DocumentState.SUSPECT


@pytest.mark.parametrize(
    ("there", "known", "told"),
    [
        pytest.param(held(), row(), {}, id="alike"),
        pytest.param(held({}), row(), {D.NOTHING_THERE: 3}, id="nothing there"),
        pytest.param(held({0: "w0", 2: "w2"}), row(), {D.MISSING: 1}, id="missing"),
        pytest.param(held({**HASHES, 1: "x"}), row(), {D.STALE: 1}, id="stale"),
        pytest.param(held({**HASHES, 9: "w9"}), row(), {D.LEFT_OVER: 1}, id="beyond"),
        pytest.param(held({**HASHES, 3: "w3"}), row(most=5), {D.LEFT_OVER: 1}, id="beyond its chunks, not its most"),
        pytest.param(held(doubled=frozenset([1])), row(), {D.DOUBLED: 1}, id="doubled"),
        pytest.param(held(without_vector=frozenset([0, 2])), row(), {D.WITHOUT_VECTOR: 2}, id="without vector"),
        pytest.param(held({0: "w0"}, doubled=frozenset([1])), row(), {D.MISSING: 2}, id="doubled, and gone since"),
        pytest.param(held(), None, {D.LEFT_OVER: 3}, id="unknown"),
        pytest.param(held({}), None, {}, id="unknown, and gone since"),
        pytest.param(held(), row(ABSENT, chunks=0, most=0), {D.LEFT_OVER: 3}, id="absent"),
        pytest.param(held({}), row(ABSENT, chunks=0, most=9), {}, id="absent and gone"),
        pytest.param(held(), row(WRITING), {D.WRITING: 0}, id="in writing"),
        pytest.param(held({7: "w7"}), row(WRITING, most=9), {D.WRITING: 0}, id="in writing, up to the most"),
        pytest.param(held({9: "w9"}), row(WRITING, most=9), {D.WRITING: 0, D.LEFT_OVER: 1}, id="beyond the most"),
        pytest.param(held({}), row(SUSPECT), {D.SUSPECT: 0}, id="suspect"),
    ],
)
def test_what_is_told(there: HeldDocument, known: DocumentRow | None, told: dict[Difference, int]) -> None:
    finding = compare(there, known)
    assert (dict(finding.differences) if finding else {}) == told


@pytest.mark.parametrize(
    ("there", "known", "right"),
    [
        pytest.param(held(), row(SUSPECT), True, id="as it was written"),
        pytest.param(held(), row(SUSPECT, known=False), False, id="nobody knows"),
        pytest.param(held({}), row(SUSPECT, chunks=0), True, id="to be gone, and gone"),
        pytest.param(held(), row(SUSPECT, chunks=0, known=False), False, id="to be gone, and there"),
        pytest.param(held(doubled=frozenset([0])), row(SUSPECT), False, id="doubled"),
        pytest.param(held({0: "w0", 1: "w1"}), row(SUSPECT), False, id="missing"),
        pytest.param(held({**HASHES, 3: "w3"}), row(SUSPECT, most=9), False, id="more than its chunks"),
    ],
)
def test_which_suspects_are_right(there: HeldDocument, known: DocumentRow, right: bool) -> None:
    finding = compare(there, known)
    assert finding is not None
    assert finding.is_right is right


def test_another_content_is_stale_whatever_the_write_hashes_say() -> None:
    there = held()
    there.contents[2] = "another"
    finding = compare(there, row())
    assert finding is not None
    assert finding.differences == {D.STALE: 1}
