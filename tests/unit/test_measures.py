"""What the stages took is added up over steps and tries, and a file that cannot be read counts as none."""

from collections import Counter
from pathlib import Path

import pytest

from elysia_dagster.sync.measures import MEASURES_NAME, TOKENS, Measures, add_measures, load_measures, measured


def test_tries_of_a_stage_are_added_up(tmp_path: Path) -> None:
    assert load_measures(tmp_path) == Measures()
    add_measures(tmp_path, "read", 1.5)
    add_measures(tmp_path, "embed", 2.0, Counter({TOKENS: 10}))
    add_measures(tmp_path, "embed", 0.25, Counter({TOKENS: 5}))
    assert load_measures(tmp_path) == Measures(seconds={"read": 1.5, "embed": 2.25}, counts={TOKENS: 15})
    assert [each.name for each in tmp_path.iterdir()] == [MEASURES_NAME]


def test_a_stage_that_raises_is_measured_too(tmp_path: Path) -> None:
    def stage() -> None:
        with measured(tmp_path, "upsert") as counts:
            counts[TOKENS] += 7
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        stage()
    found = load_measures(tmp_path)
    assert found.counts == {TOKENS: 7}
    assert found.seconds["upsert"] >= 0


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"seconds": 3, "counts": {}}', b'{"seconds": {}}'])
def test_a_torn_file_counts_as_none(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / MEASURES_NAME).write_bytes(torn)
    assert load_measures(tmp_path) == Measures()
    add_measures(tmp_path, "plan", 1.0)
    assert load_measures(tmp_path).seconds == {"plan": 1.0}


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    add_measures(tmp_path / "gone", "read", 1.0)
    assert not (tmp_path / "gone").exists()
