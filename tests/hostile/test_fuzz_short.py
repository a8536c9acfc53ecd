"""The fuzzers' short form: what they have found stays mended, and some seconds of random changes find nothing new."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from fuzz.mutate import mutations
from fuzz.seeds import seeds, words
from fuzz.targets import TARGETS
from fuzz.tree import remove_tree

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*/*"))
SHORT_S = 2.0
"""Seconds for each target; a loaded machine tries fewer inputs, always the same first ones."""


@pytest.fixture(scope="module", autouse=True)
def _tree_removed() -> Iterator[None]:
    yield
    remove_tree()


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_finding_stays_mended(finding: Path) -> None:
    TARGETS[finding.parent.name](finding.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_seconds_of_random_changes_find_nothing(target: str) -> None:
    end = time.monotonic() + SHORT_S
    known = seeds(target)
    changed = mutations(known, words(target), seed=7, most_bytes=4_096)
    for number, data in enumerate(islice(changed, 20_000)):
        TARGETS[target](data)
        if number > 2 * len(known) and time.monotonic() > end:
            break


def test_the_random_changes_are_the_same_each_time() -> None:
    first, second = (list(islice(mutations([b"a", b"b"], [b"x"], seed=1, most_bytes=9), 500)) for _ in range(2))
    assert first == second
    assert max(map(len, first)) == 9
