"""Failed lines by the page: all of them, in order, never many at once; and those that a newer run has overtaken."""

import pytest
from checkpoint_world import REPOSITORY, STORE, Checkpoint, failed

from elysia_dagster.checkpoint import claims, folders, ledger
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.failures import failed_pages, runs_with_failed_lines


def fail(checkpoint: Checkpoint, *lines: tuple[int, str]) -> Lease:
    """A run in which these lines failed, and that nobody holds."""
    lease = checkpoint.held(len(lines))
    ledger.settle_batch(checkpoint.database, lease, failed=[failed(line, path, single=False) for line, path in lines])
    claims.release_lease(checkpoint.database, lease)
    return lease


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
def test_every_line_once_and_in_order(checkpoint: Checkpoint, rows: int) -> None:
    first = fail(checkpoint, *((line, f"{line}.py") for line in (9, 1, 5, 2, 7)))
    checkpoint.held()
    second = fail(checkpoint, (3, "a.py"), (1, "b.py"))
    ids = [run.run_id for run in runs_with_failed_lines(checkpoint.database)]
    assert ids == [first.run_id, second.run_id]
    pages = list(failed_pages(checkpoint.database, ids, rows=rows))
    assert all(0 < len(page) <= rows for page in pages)
    assert [(row["run_id"], row["line_number"]) for page in pages for row in page] == [
        *((first.run_id, line) for line in (1, 2, 5, 7, 9)),
        *((second.run_id, line) for line in (1, 3)),
    ]
    assert list(failed_pages(checkpoint.database, [], rows=rows)) == []


def test_a_line_that_is_mended_between_two_pages_is_left_out_and_no_other(checkpoint: Checkpoint) -> None:
    lease = fail(checkpoint, *((line, f"{line}.py") for line in range(1, 7)))
    seen = []
    for page in failed_pages(checkpoint.database, [lease.run_id], rows=2):
        seen += [row["line_number"] for row in page]
        checkpoint.execute("DELETE FROM failed_lines WHERE line_number IN (1, 3)")
    assert seen == [1, 2, 4, 5, 6]


def test_what_a_newer_run_has_overtaken(checkpoint: Checkpoint) -> None:
    """A document that it has written or removed, and what lies below a folder that it has removed, by whole names."""
    paths = ["written.py", "gone/a.py", "gone/deep/b.py", "gone.py", "goner/c.py", "g_ne/d.py", "untouched.py"]
    older = fail(checkpoint, *enumerate(paths, 1))
    newer = checkpoint.held()
    checkpoint.intend(newer, "written.py", 1)
    folders.record_removed_folders(checkpoint.database, newer, [(REPOSITORY, "gone", 2), ("another", "", 3)])

    def overtaken(lease: Lease) -> set[str]:
        pages = failed_pages(checkpoint.database, [lease.run_id])
        return {row["file_path"] for page in pages for row in page if row["is_overtaken"]}

    assert overtaken(older) == {"written.py", "gone/a.py", "gone/deep/b.py"}
    later = fail(checkpoint, *enumerate(paths, 1))
    assert overtaken(later) == set()
    claims.release_lease(checkpoint.database, newer)
    emptying = checkpoint.held()
    folders.record_removed_folders(checkpoint.database, emptying, [(REPOSITORY, "", 1)])
    assert overtaken(later) == set(paths), "the whole repository"


def test_lines_of_a_collection_that_was_forgotten_are_still_there(checkpoint: Checkpoint) -> None:
    lease = fail(checkpoint, (1, "a.py"))
    checkpoint.execute("UPDATE sync_runs SET collection_name = 'Gone', store = :store", store=STORE + "x")
    ((row,),) = failed_pages(checkpoint.database, [lease.run_id])
    assert (row["file_path"], row["stale"], row["is_overtaken"]) == ("a.py", False, False)
