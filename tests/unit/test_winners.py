"""Which change of a document counts: the last, save for the renames that git prints as if they happened at once."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.sync.winners import CONTESTED, SUPERSEDED, WINS, ChangeIndex, ChangeKind

Change = tuple[str, ChangeKind, int]
"""Path, kind, segment."""

OLD, NEW, MODIFY, DELETE = ChangeKind.RENAME_OLD, ChangeKind.RENAME_NEW, ChangeKind.MODIFY, ChangeKind.DELETE


def verdicts(*changes: Change, repositories: list[int] | None = None) -> list[int]:
    index = ChangeIndex()
    count = len(changes)
    index.extend(
        lines=np.arange(1, count + 1, dtype=np.int32),
        kinds=np.array([kind for _, kind, _ in changes], dtype=np.int8),
        segments=np.array([segment for _, _, segment in changes], dtype=np.int32),
        sizes=np.zeros(count, dtype=np.uint32),
        repositories=repositories or [0] * count,
        paths=[path for path, _, _ in changes],
    )
    assert len(index) == count
    found: list[int] = index.winners().tolist()
    return found


def rename(old: str, new: str, segment: int = 0) -> list[Change]:
    return [(old, OLD, segment), (new, NEW, segment)]


def test_the_last_change_counts() -> None:
    assert verdicts(("a", MODIFY, 0), ("b", MODIFY, 0), ("a", DELETE, 0)) == [SUPERSEDED, WINS, WINS]
    assert verdicts(("a", MODIFY, 0), ("a", MODIFY, 0), repositories=[0, 1]) == [WINS, WINS]
    assert verdicts() == []


def test_a_swap_and_a_chain_keep_what_arrived() -> None:
    assert verdicts(*rename("a", "b"), *rename("b", "a")) == [SUPERSEDED, CONTESTED, SUPERSEDED, WINS]
    assert verdicts(*rename("a", "b"), *rename("b", "c")) == [WINS, CONTESTED, SUPERSEDED, WINS]
    assert verdicts(*rename("b", "c"), *rename("a", "b")) == [SUPERSEDED, WINS, WINS, WINS]


def test_in_the_next_stretch_a_rename_is_one_after_the_other() -> None:
    assert verdicts(*rename("a", "b", 0), *rename("b", "c", 1)) == [WINS, SUPERSEDED, WINS, WINS]


def test_two_old_sides_after_one_new_side() -> None:
    assert verdicts(("a", NEW, 0), ("a", OLD, 0), ("a", OLD, 0)) == [CONTESTED, SUPERSEDED, SUPERSEDED]


def test_a_change_in_between_ends_the_renames() -> None:
    assert verdicts(("a", NEW, 0), ("a", MODIFY, 0), ("a", OLD, 0)) == [SUPERSEDED, SUPERSEDED, WINS]


def model(changes: list[Change]) -> Iterator[int]:
    """The same by a plain look at each document's changes."""
    for place, (path, kind, _segment) in enumerate(changes):
        of_path = [at for at, change in enumerate(changes) if change[0] == path]
        last = of_path[-1]
        winner, verdict = last, WINS
        if changes[last][1] is OLD:
            for at in reversed(of_path[:-1]):
                if changes[at][1] is NEW and changes[at][2] == changes[last][2]:
                    winner, verdict = at, CONTESTED
                    break
                if changes[at][1] is not OLD:
                    break
        assert kind is not None
        yield verdict if place == winner else SUPERSEDED


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(list(ChangeKind)), st.integers(0, 2)),
        max_size=30,
    )
)
def test_each_document_has_one_winner_and_it_is_the_models(changes: list[Change]) -> None:
    found = verdicts(*changes)
    assert found == list(model(changes))
    for path in {change[0] for change in changes}:
        of_path = [verdict for verdict, change in zip(found, changes, strict=True) if change[0] == path]
        assert sum(verdict != SUPERSEDED for verdict in of_path) == 1


def test_hundreds_of_thousands_of_documents_are_told_apart() -> None:
    changes: list[Change] = [(f"dir/{number}.py", MODIFY, 0) for number in range(200_000)]
    assert verdicts(*changes, *changes[:1000]) == [SUPERSEDED] * 1000 + [WINS] * 200_000
