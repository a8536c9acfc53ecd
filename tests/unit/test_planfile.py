"""The plan on disk: what is written is what is read, batches keep a line together, a torn plan is made again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.errors import InputError
from elysia_dagster.sync.planfile import (
    FLAG_CONTESTED,
    FLAG_EXPANDED,
    FLAG_LAST,
    FLAG_RECORD,
    FLAG_SINGLE,
    DraftWriter,
    PlanFile,
    cut_batches,
    read_draft,
    write_batches,
)
from elysia_dagster.sync.plans import PLAN_NAME, RETRY_PLAN_NAME, RunPlan, plan_is_whole
from elysia_dagster.sync.winners import ChangeIndex, ChangeKind

METADATA: dict[str, Any] = {
    "repositories": ["r0", "r1"],
    "folders": {"r0": "/src/r0"},
    "commits": {"r1": "c"},
}


def write_plan(path: Path, changes: int, *, batch_size: int = 7, first_line: int = 1) -> None:
    draft = path.with_suffix(".draft")
    index = ChangeIndex()
    writer = DraftWriter(draft, index)
    writer.SLICE = 5
    for number in range(changes):
        flags = (FLAG_RECORD, FLAG_EXPANDED | FLAG_LAST, FLAG_SINGLE, FLAG_CONTESTED)[number % 4]
        row = (first_line + number, 10 * number, 9, number % 2, f"ü/{number}.py", number % 6, flags, 0, number)
        writer.rows.append(row)
        writer.flush_if_full()
    writer.close()
    lines = np.frombuffer(index.lines, dtype=np.int32)
    cuts = cut_batches(lines, np.frombuffer(index.sizes, dtype=np.uint32), batch_size, 1 << 30)
    with open(path, "wb") as sink:
        write_batches(sink, iter(read_draft(draft)), cuts, METADATA)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan", 30)
    plan = PlanFile(tmp_path / "plan")
    assert (plan.repositories, plan.folders, plan.commits) == (["r0", "r1"], {"r0": "/src/r0"}, {"r1": "c"})
    assert plan.batches == 5
    changes = [change for batch in range(plan.batches) for change in plan.changes(batch)]
    assert [change.line for change in changes] == list(range(1, 31))
    assert [line for batch in range(plan.batches) for line in plan.lines(batch).tolist()] == list(range(1, 31))
    fifth = changes[5]
    assert (fifth.offset, fifth.length, fifth.repository, fifth.path) == (50, 9, "r1", "ü/5.py")
    assert fifth.kind is ChangeKind.FOLDER
    for number, change in enumerate(changes):
        said = (change.is_record, change.is_expanded, change.is_last, change.is_single, change.is_contested)
        assert said == (
            number % 4 == 0,
            number % 4 == 1,
            number % 4 == 1,
            number % 4 == 2,
            number % 4 == 3,
        )
    plan.close()


def test_an_empty_plan_has_no_batches(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan", 0)
    assert PlanFile(tmp_path / "plan").batches == 0


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage"])
def test_a_torn_plan_counts_as_absent(damage: str, tmp_path: Path) -> None:
    path = tmp_path / PLAN_NAME
    write_plan(path, 30)
    assert plan_is_whole(path)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "garbage": b"ARROW1" + b"x" * 500}[damage])
    with pytest.raises(InputError, match="resume the run: it is made again"):
        PlanFile(path)
    assert not plan_is_whole(path)
    assert not path.exists()


def test_two_plans_of_a_run_are_one_row_of_batches(tmp_path: Path) -> None:
    write_plan(tmp_path / PLAN_NAME, 10, batch_size=4)
    with RunPlan(tmp_path) as plan:
        assert plan.batches == 3
    write_plan(tmp_path / RETRY_PLAN_NAME, 3, batch_size=2, first_line=100)
    with RunPlan(tmp_path) as plan:
        assert plan.batches == 5
        assert plan.lines(2).tolist() == [9, 10]
        assert plan.lines(3).tolist() == [100, 101]
        assert [change.line for change in plan.changes(4)] == [102]
        assert plan.planned_lines() == frozenset([*range(1, 11), 100, 101, 102])
        with pytest.raises(IndexError):
            plan.lines(5)


@given(
    groups=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 100)), max_size=40),
    batch_size=st.integers(1, 8),
    batch_bytes=st.integers(1, 300),
)
def test_batches_keep_lines_together_and_to_their_size(
    groups: list[tuple[int, int]], batch_size: int, batch_bytes: int
) -> None:
    """``groups`` gives by line how many changes it has and how many bytes each."""
    lines = np.repeat(np.arange(1, len(groups) + 1, dtype=np.int32), [count for count, _ in groups])
    sizes = np.repeat(np.array([size for _, size in groups], dtype=np.uint32), [count for count, _ in groups])
    cuts = list(cut_batches(lines, sizes, batch_size, batch_bytes))
    assert [place for start, end in cuts for place in range(start, end)] == list(range(len(lines)))
    for start, end in cuts:
        two_of_one_line = end - start == 2 and groups[lines[start] - 1][0] == 2 and lines[start] == lines[end - 1]
        if not two_of_one_line:  # as the sides of a rename are: never parted
            assert 1 <= end - start <= batch_size
            assert end - start == 1 or sizes[start:end].sum() <= batch_bytes
        is_cut = end < len(lines) and lines[end] == lines[end - 1]
        if is_cut:
            assert groups[lines[start] - 1][0] != 2
            assert lines[start] == lines[end - 1], "a line is cut only where it has a batch of its own"
