"""Failed lines again: what has come is indexed, what has not is charged once more, and nothing else is touched."""

import pytest
from crash.scenario import folder, inline, on_disk, record, text_of, unreadable
from crash.within import apply, assert_applied
from sync_world import World

from elysia_dagster.errors import UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import unsent
from elysia_dagster.sync.cleanup import cleanup_checkpoints

FILE, OTHER = ("repo", "file.py"), ("repo", "other.py")
TEXT, MORE = text_of("file"), text_of("other", 2)
FILES = {"a.py": text_of("a"), "b.py": text_of("b", 2)}


def retry_counts(world: World) -> dict[int, int]:
    """Retries of every failed line."""
    return dict(world.query("SELECT line_number, retry_count FROM failed_lines"))


def test_a_file_that_has_come(world: World) -> None:
    (world.root / "repo").mkdir()
    run = world.sync(*(line.raw for line in (on_disk(FILE, None), on_disk(OTHER, None))))
    assert (run.status, retry_counts(world)) == (RunStatus.FAILED, {1: 0, 2: 0})
    world.write("repo/file.py", TEXT)
    run = world.retry(run.run_id)
    assert (run.status, retry_counts(world)) == (RunStatus.FAILED, {2: 1})
    assert_applied(world, (on_disk(FILE, TEXT), on_disk(OTHER, None)))
    world.write("repo/other.py", MORE)
    run = world.retry(run.run_id)
    assert (run.status, run.error_count) == (RunStatus.COMPLETED, 0)
    assert_applied(world, (on_disk(FILE, TEXT), on_disk(OTHER, MORE)))


def test_tries_are_used_up_but_not_for_who_asks_for_all(world: World) -> None:
    (world.root / "repo").mkdir()
    run = world.sync(on_disk(FILE, None).raw, max_retries=1)
    run = world.retry(run.run_id)
    assert retry_counts(world) == {1: 1}
    attempt = run.attempt
    assert world.retry(run.run_id).attempt == attempt, "no line may be tried again, yet the run was reopened"
    world.write("repo/file.py", TEXT)
    assert world.retry(run.run_id, every=True).status is RunStatus.COMPLETED


def test_a_newer_changeset_answers_what_failed(world: World) -> None:
    """Just the line that asked for the document that has come; the last one completes its run."""
    (world.root / "repo").mkdir()
    older = world.sync(on_disk(FILE, None).raw, on_disk(OTHER, None).raw)
    world.sync(inline(FILE, TEXT).raw)
    assert world.outcomes(older) == {1: "superseded", 2: "failed"}
    world.sync(inline(OTHER, MORE).raw)
    assert world.outcomes(older) == {1: "superseded", 2: "superseded"}
    assert_applied(world, (on_disk(FILE, None), on_disk(OTHER, None)), (inline(FILE, TEXT),), (inline(OTHER, MORE),))


def test_lines_that_failed_while_they_were_planned(world: World) -> None:
    """A folder that was not there, twice: the second retry keeps the first one's plan."""
    (world.root / "repo").mkdir()
    lines = (folder("repo", "one", {}), folder("repo", "two", {}), inline(OTHER, MORE))
    run = apply(world, lines, batch_size=1)
    assert sorted(retry_counts(world)) == [1, 2]
    world.write("repo/one/a.py", FILES["a.py"])
    unreadable_file = world.write("repo/one/b.py", FILES["b.py"] + "x" * 11_000_000)
    run = world.retry(run.run_id, lines=[1])
    assert (run.status, retry_counts(world)) == (RunStatus.FAILED, {1: 1, 2: 0}), "one file of the folder is too large"
    unreadable_file.write_text(FILES["b.py"])
    world.write("repo/two/a.py", FILES["a.py"])
    world.write("repo/two/b.py", FILES["b.py"])
    run = world.retry(run.run_id, lines=[1, 2])
    assert run.status is RunStatus.COMPLETED
    assert_applied(world, (folder("repo", "one", FILES), folder("repo", "two", FILES), lines[2]))


def test_a_path_outside_the_roots_stays_failed(world: World) -> None:
    outside = world.base / "outside" / "file.py"
    outside.parent.mkdir()
    outside.write_text(TEXT)
    (world.root / "repo").mkdir()
    line = on_disk(("repo", str(outside)), None)
    run = world.sync(line.raw, inline(OTHER, MORE).raw)
    assert "outside the roots" in world.query("SELECT error_message FROM failed_lines")[0][0]
    run = world.retry(run.run_id, every=True, permanent=True)
    assert (run.status, retry_counts(world)) == (RunStatus.FAILED, {1: 1})
    assert_applied(world, (on_disk(("repo", "none"), None), inline(OTHER, MORE)))


def test_only_the_lines_that_are_named(world: World) -> None:
    (world.root / "repo").mkdir()
    run = world.sync(*(line.raw for line in (on_disk(FILE, None), on_disk(OTHER, None))))
    world.write("repo/file.py", TEXT)
    world.write("repo/other.py", MORE)
    with pytest.raises(UsageError, match="only 1 are failed lines"):
        world.retry(run.run_id, lines=[1, 3])
    assert world.query("SELECT status, attempt FROM sync_runs") == [("failed", 1)], "the error reopened the run"
    run = world.retry(run.run_id, lines=[1])
    assert (run.status, sorted(retry_counts(world))) == (RunStatus.FAILED, [2])
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert_applied(world, (on_disk(FILE, TEXT), on_disk(OTHER, MORE)))


def test_permanent_failures_wait_to_be_asked_for(world: World) -> None:
    lines = (unreadable(b'{"path": 7}'), inline(OTHER, MORE))
    run = apply(world, lines)
    assert world.retry(run.run_id).attempt == 1
    assert world.retry(run.run_id, permanent=True).attempt == 2
    assert retry_counts(world) == {1: 1}


def test_what_a_killed_process_left_unsettled_outlives_a_retry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that need no store are settled in slices; a resume that tries failed lines of the first slice again, since
    they are due, still settles the rest."""
    monkeypatch.setattr(unsent, "_SLICE_LINES", 2)
    monkeypatch.setattr("elysia_dagster.checkpoint.lines.FIRST_RETRY_S", 0.0)
    (world.root / "repo").mkdir()
    lines = (folder("repo", "one", {}), *[unreadable(b'{"path": 7}')] * 6, inline(OTHER, MORE))

    def stop(point: str) -> None:
        if point == "unsent-settled":
            raise KeyboardInterrupt

    world.engine.faults = stop
    with pytest.raises(KeyboardInterrupt):
        apply(world, lines)
    world.engine.faults = lambda _point: None
    assert world.query("SELECT processed_lines FROM sync_runs") == [(2,)]
    world.write("repo/one/a.py", FILES["a.py"])
    ((run_id,),) = world.query("SELECT run_id FROM sync_runs")
    run = world.resume(run_id)
    assert (run.success_count, run.error_count) == (2, 6)
    assert_applied(world, (folder("repo", "one", {"a.py": FILES["a.py"]}), *lines[1:]))


def test_a_removed_document_fences_a_folder_line_of_its_own_run(world: World) -> None:
    """The folder comes late, with a document that a later line of the same changeset has removed."""
    (world.root / "repo").mkdir()
    world.sync(inline(("repo", "one/a.py"), FILES["a.py"]).raw)
    run = world.sync(folder("repo", "one", {}).raw, b'{"repo": "repo", "path": "one/a.py", "op": "delete"}')
    cleanup_checkpoints(world.engine, keep_days=7)
    world.write("repo/one/a.py", FILES["a.py"])
    world.write("repo/one/b.py", FILES["b.py"])
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert world.query("SELECT path FROM documents WHERE state = 'present'") == [("one/b.py",)]


def test_the_commit_moves_with_the_last_failed_line(world: World) -> None:
    """By a retry, or because a newer run has answered it."""
    (world.root / "repo").mkdir()
    stands = "SELECT commit_id, incomplete FROM repository_changesets"
    first = world.sync(on_disk(FILE, None).raw, record("repo", "c1").raw)
    assert world.query(stands) == []
    world.write("repo/file.py", TEXT)
    world.retry(first.run_id)
    assert world.query(stands) == [("c1", 0)]
    world.sync(on_disk(OTHER, None).raw, record("repo", "c2", "c1").raw)
    assert world.query(stands) == [("c1", 0)]
    world.sync(inline(OTHER, MORE).raw)
    assert world.query(stands) == [("c2", 0)]
    assert world.query("SELECT DISTINCT status FROM sync_runs") == [("completed",)]
