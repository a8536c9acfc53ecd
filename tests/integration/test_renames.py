"""Renames, and documents that a changeset names several times: what the collection holds in the end."""

from typing import Any

import pytest
from crash.within import Stopped, go_on, run_ids, stop_at
from sync_world import Line, World, sha256

from elysia_dagster.checkpoint import queries
from elysia_dagster.models import RunStatus


def change(path: str, op: str = "modify", **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": op, "path": path, **fields}


def rename(old: str, new: str) -> dict[str, Any]:
    return change(f"{old} -> {new}")


MARK = {"repo": "repo", "new_changeset": {"commit": "0" * 40}}


def indexed_before(world: World, **texts: str) -> None:
    """Documents ``a`` to ``z`` of earlier times, as ``a.py``…: in the collection, and on disk until they are moved."""
    for name, text in texts.items():
        world.write(f"repo/{name}.py", text)
    world.sync(*(change(f"{name}.py") for name in texts))
    assert world.held() == {f"repo/{name}.py": sha256(text) for name, text in texts.items()}


def leave(world: World, **texts: str | None) -> None:
    """The files as the moves have left them; None: gone."""
    for name, text in texts.items():
        if text is None:
            (world.root / "repo" / f"{name}.py").unlink()
        else:
            world.write(f"repo/{name}.py", text)


def holds(world: World, **texts: str) -> None:
    assert world.held() == {f"repo/{name}.py": sha256(text) for name, text in texts.items()}


def test_a_rename_takes_the_old_document_away(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None, b="one\n")
    run = world.sync(rename("a.py", "b.py"))
    holds(world, b="one\n")
    assert world.outcomes(run) == {1: "indexed"}
    [(path, operation)] = world.query("SELECT file_path, operation FROM completed_lines WHERE run_id = ?", run.run_id)
    assert (path, operation) == ("b.py", "modify")


def test_a_swap_keeps_both(world: World) -> None:
    indexed_before(world, a="one\n", b="two\n")
    leave(world, a="two\n", b="one\n")
    run = world.sync(rename("a.py", "b.py"), rename("b.py", "a.py"))
    holds(world, a="two\n", b="one\n")
    assert run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_chain_as_git_leaves_it_in_both_orders(is_reversed: bool, world: World) -> None:
    indexed_before(world, a="one\n", b="two\n", c="three\n")
    leave(world, a=None, b="one\n", c="two\n", d="three\n")
    lines = [rename("a.py", "b.py"), rename("b.py", "c.py"), rename("c.py", "d.py")]
    run = world.sync(*(reversed(lines) if is_reversed else lines))
    holds(world, b="one\n", c="two\n", d="three\n")
    assert set(world.outcomes(run).values()) == {"indexed"}


def test_moves_one_after_the_other_leave_the_last_name(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None, c="one\n")
    run = world.sync(rename("a.py", "b.py"), rename("b.py", "c.py"))
    holds(world, c="one\n")
    assert (run.status, run.error_count) == (RunStatus.COMPLETED, 0)


def test_moves_of_two_changesets_are_one_after_the_other(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None, c="one\n")
    run = world.sync(rename("a.py", "b.py"), MARK, rename("b.py", "c.py"), MARK)
    holds(world, c="one\n")
    assert world.outcomes(run) == {1: "deleted", 2: "changeset", 3: "indexed", 4: "changeset"}


def test_there_and_back_in_two_changesets(world: World) -> None:
    indexed_before(world, a="one\n")
    run = world.sync(rename("a.py", "b.py"), MARK, rename("b.py", "a.py"), MARK)
    holds(world, a="one\n")
    assert run.status is RunStatus.COMPLETED


def test_a_new_name_that_is_modified_later(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None, b="newer\n")
    run = world.sync(rename("a.py", "b.py"), change("b.py", content="newer\n"))
    holds(world, b="newer\n")
    assert world.outcomes(run) == {1: "deleted", 2: "indexed"}, "its old side still goes, its new side is superseded"


def test_a_new_name_that_is_deleted_later(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None)
    run = world.sync(rename("a.py", "b.py"), change("b.py", "delete"))
    holds(world)
    assert run.status is RunStatus.COMPLETED


def test_an_old_name_that_is_written_again_later(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a="anew\n", b="one\n")
    world.sync(rename("a.py", "b.py"), change("a.py", "add"))
    holds(world, a="anew\n", b="one\n")


def test_the_old_side_stays_where_the_new_side_fails(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None)
    run = world.sync(rename("a.py", "b.py"))
    holds(world, a="one\n")
    assert world.outcomes(run) == {1: "failed"}
    leave(world, b="one\n")
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    holds(world, b="one\n")


def test_the_old_side_stays_where_the_store_rejects_the_new_one(light_world: World) -> None:
    indexed_before(light_world, a="one\n")
    leave(light_world, a=None, b="one\n")
    assert light_world.recording is not None
    light_world.recording.reject = lambda each: "no room" if each.relative_path == "b.py" else None
    run = light_world.sync(rename("a.py", "b.py"))
    holds(light_world, a="one\n")
    assert "no room" in light_world.failures(run)[1]
    light_world.recording.reject = lambda _: None
    assert light_world.retry(run.run_id).status is RunStatus.COMPLETED
    holds(light_world, b="one\n")


@pytest.mark.parametrize("point", ["claimed", "embedded", "intended"])
def test_the_old_side_goes_where_a_newer_run_has_the_new_one(point: str, light_world: World) -> None:
    """The rename's run comes late: its new side is superseded, before or after it was embedded, its old side is not."""
    world = light_world
    indexed_before(world, a="one\n")
    leave(world, a=None, b="one\n")
    stop_at(world, point)
    with pytest.raises(Stopped):
        world.sync(rename("a.py", "b.py"))
    go_on(world)
    world.sync(change("b.py", content="newer\n"))
    run = world.resume(run_ids(world)[1])
    holds(world, b="newer\n")
    assert world.outcomes(run) == {1: "deleted"}


@pytest.mark.parametrize("content", [b"\x89PNG\0\0", b""], ids=["binary", "empty"])
def test_the_old_side_goes_where_the_new_one_is_skipped(content: bytes, world: World) -> None:
    indexed_before(world, a="one\n", z="other\n")
    leave(world, a=None)
    world.write("repo/b.py", content)
    run = world.sync(rename("a.py", "b.py"))
    holds(world, z="other\n")
    assert world.outcomes(run) == {1: "deleted"}


def test_what_became_binary_is_removed(world: World) -> None:
    indexed_before(world, a="one\n", b="two\n", c="three\n")
    world.write("repo/a.py", b"\0\1\2")
    leave(world, b="")
    run = world.sync(change("a.py"), change("b.py"), change("c.py", skip_index=True))
    holds(world)
    assert set(world.outcomes(run).values()) == {"skipped"}
    details = world.query("SELECT detail FROM completed_lines WHERE run_id = ? ORDER BY line_number", run.run_id)
    assert details == [("binary",), ("empty",), ("skip_index",)]


def test_a_rename_that_only_changes_case(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None, A="one\n")
    world.sync(rename("a.py", "A.py"))
    holds(world, A="one\n")


@pytest.mark.parametrize(
    ("lines", "left", "outcomes"),
    [
        ([change("a.py", "delete"), change("a.py", "add", content="new\n")], {"a": "new\n"}, ["superseded", "indexed"]),
        ([change("a.py", "add", content="new\n"), change("a.py", "delete")], {}, ["superseded", "deleted"]),
        ([change("a.py", content="x\n"), change("a.py", content="y\n")], {"a": "y\n"}, ["superseded", "indexed"]),
        ([change("a.py", content="x\n"), change("./a.py", content="y\n")], {"a": "y\n"}, ["superseded", "indexed"]),
        ([change("a.py", content="x\n"), change("a.py", content="one\n")], {"a": "one\n"}, ["superseded", "unchanged"]),
        ([change("a.py", "delete"), change("a.py", "delete")], {}, ["superseded", "deleted"]),
        ([change("b.py", "delete")], {"a": "one\n"}, ["deleted"]),
    ],
)
def test_the_last_change_of_a_document_counts(
    lines: list[Line], left: dict[str, str], outcomes: list[str], world: World
) -> None:
    indexed_before(world, a="one\n")
    run = world.sync(*lines)
    holds(world, **left)
    assert list(world.outcomes(run).values()) == outcomes
    assert run.status is RunStatus.COMPLETED


def test_two_repositories_have_documents_of_their_own(world: World) -> None:
    world.sync(change("a.py", content="one\n"), {**change("a.py", content="two\n"), "repo": "other"})
    assert world.held() == {"repo/a.py": sha256("one\n"), "other/a.py": sha256("two\n")}


def test_a_winner_that_fails_leaves_the_document_stale_and_says_so(world: World) -> None:
    indexed_before(world, a="one\n")
    leave(world, a=None)
    run = world.sync(change("a.py", content="two\n"), change("a.py"), change("never.py"))
    holds(world, a="one\n")
    assert world.outcomes(run) == {1: "superseded", 2: "failed", 3: "failed"}
    rows = queries.failed_lines_of(world.engine.database, run.run_id)
    assert [(row["file_path"], row["stale"]) for row in rows] == [("a.py", True), ("never.py", False)]
