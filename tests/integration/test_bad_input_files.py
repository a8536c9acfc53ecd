"""What lies outside, or is no file: nothing of it is read, nothing waits for it, and no run is opened for nothing."""

import gzip
import os
import socket
from typing import Any

import pytest
from sync_world import World, sha256

from elysia_dagster.errors import InputError, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.settings import DATABASE_NAME

GOOD = {"repo": "repo", "op": "modify", "path": "good.py", "content": "good = 1\n"}


def record(**fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": "bad.py", **fields}


def test_what_is_no_regular_file_below_the_root_is_never_opened(world: World) -> None:
    (world.base / "secret.txt").write_text("secret\n")
    world.write("repo/real.txt", "real\n")
    folder = world.root / "repo"
    (folder / "out.txt").symlink_to("../../secret.txt")
    (folder / "in.txt").symlink_to("real.txt")
    (folder / "up").symlink_to("../..")
    (folder / "loop").symlink_to("loop")
    (folder / "self").symlink_to(".")
    os.mkfifo(folder / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    (folder / "null").symlink_to("/dev/null")
    names = ["out.txt", "up/secret.txt", "loop", "loop/x", "self/real.txt", "fifo", "socket", "null"]
    run = world.sync(*(record(path=name) for name in names), record(path="in.txt"), record(path="real.txt"))
    listening.close()
    assert world.outcomes(run) == {**dict.fromkeys(range(1, 9), "failed"), 9: "skipped", 10: "indexed"}
    assert world.held() == {"repo/real.txt": sha256("real\n")}


def test_a_device_is_not_opened(light_world: World) -> None:
    light_world.write("repo/real.txt", "real\n")
    try:
        os.mknod(light_world.root / "repo" / "zero", 0o20600, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(light_world.root / "repo" / "zero")  # in a container that may not: a FIFO hangs as surely
    run = light_world.sync(record(path="zero"), record(path="real.txt"))
    assert light_world.outcomes(run) == {1: "failed", 2: "indexed"}


def test_a_repository_that_is_a_link_is_not_read(light_world: World) -> None:
    (light_world.base / "elsewhere").mkdir()
    (light_world.base / "elsewhere" / "a.txt").write_text("elsewhere\n")
    (light_world.root / "linked").symlink_to(light_world.base / "elsewhere")
    run = light_world.sync({"repo": "linked", "op": "modify", "path": "a.txt"})
    assert light_world.outcomes(run) == {1: "failed"}
    assert light_world.held() == {}


def test_a_missing_file_is_tried_again_and_may_come(world: World) -> None:
    world.write("repo/there.py", "there = 1\n")
    run = world.sync(record(path="late.py"), record(path="there.py"))
    assert world.outcomes(run) == {1: "failed", 2: "indexed"}
    [(kind, due)] = world.query("SELECT error_kind, next_retry_at FROM failed_lines")
    assert kind == "retryable"
    assert due is not None
    world.write("repo/late.py", "late = 1\n")
    again = world.retry(run.run_id)
    assert (again.status, again.success_count, again.error_count) == (RunStatus.COMPLETED, 2, 0)
    assert world.held()["repo/late.py"] == sha256("late = 1\n")


@pytest.mark.parametrize("kind", ["missing", "folder", "truncated"])
def test_a_changeset_that_cannot_be_read_opens_no_run(kind: str, light_world: World) -> None:
    path = light_world.base / "changeset.gz"
    if kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(gzip.compress(b"a.py\n" * 1000 + os.urandom(1000))[:-20])
    with pytest.raises(InputError):
        light_world.sync_file(path)
    _assert_nothing_was_begun(light_world)


def test_a_root_that_is_not_there_opens_no_run(light_world: World) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        light_world.sync(GOOD, roots=(light_world.base / "missing",))
    _assert_nothing_was_begun(light_world)


@pytest.mark.parametrize("name", ["demo", "", "De mo", "Ünder", "1Demo", "De-mo"])
def test_a_collection_name_that_a_store_could_not_keep_is_refused(name: str, light_world: World) -> None:
    with pytest.raises(UsageError, match="cannot name a collection"):
        light_world.sync(GOOD, collection=name)
    _assert_nothing_was_begun(light_world)


def test_all_lines_outside_the_roots_open_no_run(light_world: World) -> None:
    with pytest.raises(InputError, match=r"Every line lies outside the roots .*Add --root /etc"):
        light_world.sync("/etc/passwd", {"path": "/etc/group", "op": "modify"})
    _assert_nothing_was_begun(light_world)


@pytest.mark.parametrize("line", [{"path": "/etc/group", "op": "modify"}, "/etc/" + "x" * 100_000])
def test_a_line_outside_is_named_by_its_path_and_in_short(line: str | dict[str, str], light_world: World) -> None:
    with pytest.raises(InputError, match=r"Add --root /etc$") as wrong:
        light_world.sync(line)
    assert "{" not in str(wrong.value)
    assert len(str(wrong.value)) < 2_000


def test_one_line_outside_the_roots_fails_and_names_the_root_to_add(light_world: World) -> None:
    inside = light_world.write("inside.py", "inside = 1\n")
    beside = light_world.base / "rootless.py"  # begins with the root's own name
    beside.write_text("beside = 1\n")
    run = light_world.sync(str(inside), "/etc/passwd", str(beside))
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed", 3: "failed"}
    assert "Add --root /etc" in light_world.failures(run)[2]
    assert f"Add --root {light_world.base}" in light_world.failures(run)[3]
    assert light_world.held() == {"root/inside.py": sha256("inside = 1\n")}
    [(kind,)] = light_world.query("SELECT DISTINCT error_kind FROM failed_lines")
    assert kind == "retryable"


def _assert_nothing_was_begun(world: World) -> None:
    assert world.query("SELECT COUNT(*) FROM sync_runs") == [(0,)]
    assert world.query("SELECT COUNT(*) FROM collections") == [(0,)]
    assert [each.name for each in world.state.iterdir() if not each.name.startswith(DATABASE_NAME)] in ([], ["work"])
    assert not (world.state / "work").exists() or not list((world.state / "work").iterdir())
