"""Folders in a changeset: one line, expanded once into the files that count, and gone as a whole."""

from typing import Any

import pytest
from sync_world import World, git, sha256

from elysia_dagster.errors import ResourceExhausted
from elysia_dagster.models import RunStatus


def change(path: str, op: str = "modify", **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": op, "path": path, **fields}


def test_a_folder_of_30_000_files_one_of_which_is_named_again(light_world: World) -> None:
    """Held in memory by the store, so that what is measured is the engine; the folder is one line, and one settled."""
    folder = light_world.root / "repo" / "big"
    for part in range(30):
        (folder / f"{part:02}").mkdir(parents=True)
        for number in range(1000):
            (folder / f"{part:02}" / f"{number:03}.txt").write_bytes(b"file %d of %d\n" % (number, part))
    run = light_world.sync(
        change("before.txt", content="before\n"), change("big/", "add"), change("big/07/123.txt", content="again\n")
    )
    assert light_world.outcomes(run) == {1: "indexed", 2: "indexed", 3: "indexed"}
    assert (run.status, run.total_lines, run.success_count) == (RunStatus.COMPLETED, 3, 3)
    held = light_world.held()
    assert len(held) == 30_001
    assert held["repo/big/07/123.txt"] == sha256("again\n")
    assert held["repo/big/29/999.txt"] == sha256("file 999 of 29\n")
    assert light_world.recording is not None
    assert len(light_world.recording.sent) <= 30_001 // 200 + 2, "in full batches"
    sent = [path for batch in light_world.recording.sent for path in batch]
    assert len(sent) == len(set(sent)) == 30_001, "no document is sent twice"
    [(path,)] = light_world.query("SELECT file_path FROM completed_lines WHERE line_number = 2")
    assert path == "big"


def test_an_untracked_folder_without_what_git_ignores(world: World) -> None:
    repository = world.root / "repo"
    git(repository, "init")
    for path in ("pkg/a.py", "pkg/sub/b.py", "pkg/build/out.o", "pkg/x.log", "pkg/keep.log"):
        world.write(f"repo/{path}", f"{path}\n")
    world.write("repo/.gitignore", "*.log\n!keep.log\nbuild/\n")
    (repository / "pkg" / "link.py").symlink_to("a.py")
    run = world.sync(change("pkg/", "add"))
    assert world.held().keys() == {"repo/pkg/a.py", "repo/pkg/sub/b.py", "repo/pkg/keep.log"}
    assert world.outcomes(run) == {1: "indexed"}


def test_a_folder_named_without_its_slash_and_a_whole_repository(world: World) -> None:
    for path in ("pkg/a.py", "pkg/sub/b.py", "top.py"):
        world.write(f"repo/{path}", f"{path}\n")
    world.sync(change("pkg", "add"))
    assert world.held().keys() == {"repo/pkg/a.py", "repo/pkg/sub/b.py"}
    world.sync(change(".", "add"))
    assert world.held().keys() == {"repo/pkg/a.py", "repo/pkg/sub/b.py", "repo/top.py"}


def test_a_deleted_folder_takes_what_the_ledger_knows_below_it(world: World) -> None:
    for path in ("pkg/a.py", "pkg/sub/b.py", "pkg-2/c.py", "pkg.py", "pkg0.py"):
        world.write(f"repo/{path}", f"{path}\n")
    world.sync(change(".", "add"), {**change("pkg/a.py", content="another's\n"), "repo": "other"})
    run = world.sync(change("pkg/", "delete"), change("pkg/sub/new.py", "add", content="stays\n"))
    assert world.held().keys() == {
        "repo/pkg-2/c.py",
        "repo/pkg.py",
        "repo/pkg0.py",
        "repo/pkg/sub/new.py",
        "other/pkg/a.py",
    }
    assert world.outcomes(run) == {1: "deleted", 2: "indexed"}


def test_a_folder_that_is_not_there_may_come(world: World) -> None:
    run = world.sync(change("pkg/", "add"), change("a.py", content="one\n"))
    assert world.outcomes(run) == {1: "failed", 2: "indexed"}
    [(kind,)] = world.query("SELECT error_kind FROM failed_lines")
    assert kind == "retryable"
    world.write("repo/pkg/b.py", "two\n")
    world.write("repo/pkg/c.py", "three\n")
    again = world.retry(run.run_id)
    assert (again.status, again.success_count) == (RunStatus.COMPLETED, 2)
    assert world.held().keys() == {"repo/a.py", "repo/pkg/b.py", "repo/pkg/c.py"}


def test_an_empty_folder_is_one_completed_line(world: World) -> None:
    (world.root / "repo" / "pkg").mkdir(parents=True)
    run = world.sync(change("pkg/", "add"))
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 1)


def test_a_file_that_became_a_folder_and_back(world: World) -> None:
    world.write("repo/thing", "a file\n")
    world.sync(change("thing", "add"))
    (world.root / "repo" / "thing").unlink()
    world.write("repo/thing/inner.py", "inner\n")
    world.sync(change("thing/", "add"))
    assert world.held().keys() == {"repo/thing/inner.py"}
    (world.root / "repo" / "thing" / "inner.py").unlink()
    (world.root / "repo" / "thing").rmdir()
    world.write("repo/thing", "a file again\n")
    world.sync(change("thing/inner.py", "delete"), change("thing", "add"))
    assert world.held() == {"repo/thing": sha256("a file again\n")}


def test_one_file_of_a_folder_that_fails_fails_the_line_and_only_it(light_world: World) -> None:
    for name in "abc":
        light_world.write(f"repo/pkg/{name}.py", f"{name}\n")
    assert light_world.recording is not None
    light_world.recording.reject = lambda each: "poison" if each.relative_path == "pkg/b.py" else None
    run = light_world.sync(change("pkg/", "add"), batch_size=1)
    assert light_world.outcomes(run) == {1: "failed"}
    assert light_world.held().keys() == {"repo/pkg/a.py", "repo/pkg/c.py"}
    light_world.recording.reject = lambda _: None
    assert light_world.retry(run.run_id).status is RunStatus.COMPLETED
    assert light_world.held().keys() == {"repo/pkg/a.py", "repo/pkg/b.py", "repo/pkg/c.py"}


def test_a_folder_line_is_planned_once_and_resumed_from_its_plan(light_world: World) -> None:
    for name in "abcd":
        light_world.write(f"repo/pkg/{name}.py", f"{name}\n")
    calls = []

    def fail_at_the_third(point: str) -> None:
        calls.append(point)
        if calls.count("settled") == 2 and point == "settled":
            raise ResourceExhausted("The disk is full.")

    engine = light_world.open_engine(parts={"faults": fail_at_the_third})
    manifest = light_world.begin(change("pkg/", "add"), engine=engine, batch_size=1)
    with pytest.raises(ResourceExhausted):
        light_world.finish(manifest, engine)
    light_world.write("repo/pkg/e.py", "came after the plan\n")
    run = light_world.resume(manifest.run_id)
    assert light_world.outcomes(run) == {1: "indexed"}
    assert light_world.held().keys() == {f"repo/pkg/{name}.py" for name in "abcd"}
