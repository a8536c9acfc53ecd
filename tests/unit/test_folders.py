"""A folder becomes the files in it that git does not ignore, and nothing from beyond it."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elysia_dagster.errors import LineError, ResourceExhausted
from elysia_dagster.sync import folders
from elysia_dagster.sync.confine import ConfinedFolder, SymbolicLink
from elysia_dagster.sync.folders import expand_folder


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=fixture", "-c", "user.email=fixture@example.invalid")
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x\n")


def expanded(folder: Path, relative: str) -> list[str]:
    with ConfinedFolder(folder) as opened:
        return list(expand_folder(opened, relative))


@pytest.fixture(params=["git", "plain", "git missing"])
def repository(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, with git, without, and with git's folder but no git to read it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    if request.param != "plain":
        git(folder, "init", "-q")
    if request.param == "git missing":
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


def test_every_file_sorted_by_its_bytes(repository: Path) -> None:
    paths = [
        "a/b",
        "a/b-c",
        "a/b.d/x",
        "a/b/x".replace("b/", "bb/"),
        "a/ü/日本.md",
        "a/with space",
        'a/quo"te',
        "a/-x",
        "a/:(top)x",
    ]
    write(repository, *paths, "other/y")
    assert expanded(repository, "a") == sorted(paths, key=os.fsencode)
    assert expanded(repository, "") == sorted([*paths, "other/y"], key=os.fsencode)


def test_a_name_is_no_pattern(repository: Path) -> None:
    write(repository, "[ab]/x", "a/y", ":(top)/z", "*/s")
    assert expanded(repository, "[ab]") == ["[ab]/x"]
    assert expanded(repository, ":(top)") == [":(top)/z"]
    assert expanded(repository, "*") == ["*/s"]


def test_links_devices_and_other_repositories_are_left_out(repository: Path) -> None:
    write(repository, "a/file", "a/nested/inner", "a/.hidden", "outside-of-a")
    (repository / "a/nested/.git").mkdir()
    (repository / "a/nested/.git/HEAD").write_text("ref: refs/heads/main\n")
    (repository / "a/nested/.git/objects").mkdir()
    (repository / "a/nested/.git/refs").mkdir()
    (repository / "a/link").symlink_to("file")
    (repository / "a/loop").symlink_to("..")
    (repository / "a/etc").symlink_to("/etc")
    os.mkfifo(repository / "a/fifo")
    assert expanded(repository, "a") == ["a/.hidden", "a/file"]


def test_an_empty_folder_has_no_files(repository: Path) -> None:
    (repository / "a/b").mkdir(parents=True)
    assert expanded(repository, "a") == []


def test_what_is_no_folder_fails(repository: Path) -> None:
    write(repository, "file")
    (repository / "in").symlink_to(".")
    (repository / "out").symlink_to("..")
    os.mkfifo(repository / "fifo")
    for path, permanent in (("gone", False), ("gone/deep", False), ("file", True), ("fifo", True), ("in/x", True)):
        with pytest.raises(LineError) as caught:
            expanded(repository, path)
        assert caught.value.permanent is permanent, path
    for path in ("../x", "a/../..", "/etc"):
        with pytest.raises(LineError):
            expanded(repository, path)
    with pytest.raises(SymbolicLink) as inside:
        expanded(repository, "in")
    assert inside.value.inside
    with pytest.raises(SymbolicLink) as outside:
        expanded(repository, "out")
    assert not outside.value.inside


def test_a_name_that_is_no_utf_8_fails_the_line(repository: Path) -> None:
    (repository / "a").mkdir()
    (repository / os.fsdecode(b"a/\xff")).write_text("x")
    with pytest.raises(LineError, match="not UTF-8") as caught:
        expanded(repository, "a")
    assert caught.value.permanent


def test_ignored_deleted_and_conflicting_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    write(tmp_path, "a/tracked", "a/deleted", "a/conflict", "a/tracked-though-ignored.log")
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    git(tmp_path, "add", "-Af")
    git(tmp_path, "commit", "-qm", "base")
    git(tmp_path, "checkout", "-qb", "side")
    (tmp_path / "a/conflict").write_text("side\n")
    git(tmp_path, "commit", "-qam", "side")
    git(tmp_path, "checkout", "-q", "main")
    (tmp_path / "a/conflict").write_text("main\n")
    git(tmp_path, "commit", "-qam", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "merge", "side")
    (tmp_path / "a/deleted").unlink()
    write(tmp_path, "a/new", "a/ignored.log", "a/build/out", "a/sub/.gitignore")
    (tmp_path / "a/sub/.gitignore").write_text("here\n")
    write(tmp_path, "a/sub/here", "a/sub/there")
    kept = ["a/conflict", "a/new", "a/sub/.gitignore", "a/sub/there", "a/tracked", "a/tracked-though-ignored.log"]
    assert expanded(tmp_path, "a") == kept


def test_the_environment_of_a_hook_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "a/x")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "0")
    assert expanded(tmp_path, "a") == ["a/x"]


def test_nothing_that_a_repository_configures_is_run(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "a/x")
    script = tmp_path / "run"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(script))
    assert expanded(tmp_path, "a") == ["a/x"]
    assert not (tmp_path / "ran").exists()
    git(tmp_path, "status")
    assert (tmp_path / "ran").exists(), "the repository is not as hostile as this test means it to be"


def test_a_linked_working_tree_and_one_of_another_user(tmp_path: Path) -> None:
    main, linked = tmp_path / "main", tmp_path / "linked"
    main.mkdir()
    git(main, "init", "-q")
    write(main, "a/x")
    (main / ".gitignore").write_text("*.log\n")
    git(main, "add", "-A")
    git(main, "commit", "-qm", "base")
    git(main, "worktree", "add", "-q", str(linked))
    write(linked, "a/new", "a/ignored.log")
    assert expanded(linked, "a") == ["a/new", "a/x"]
    if os.geteuid() == 0:
        os.chown(main, 65_534, 65_534)
        os.chown(main / ".git", 65_534, 65_534)
    write(main, "a/ignored.log")
    assert expanded(main, "a") == ["a/x"]


def test_a_broken_repository_is_not_taken_for_a_plain_folder(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "a/x")
    (tmp_path / ".git/index").write_bytes(b"garbage")
    with pytest.raises(LineError, match="git could not list") as caught:
        expanded(tmp_path, "a")
    assert not caught.value.permanent


def test_a_folder_that_may_not_be_listed_does_not_seem_empty(repository: Path) -> None:
    write(repository, "a/private/x", "a/y")
    repository.parent.chmod(0o755)
    before = os.geteuid()
    with ConfinedFolder(repository) as opened:
        (repository / "a/private").chmod(0o311)
        if before == 0:
            for place in (repository, *repository.parents[:2]):
                place.chmod(0o755)
            os.seteuid(65_534)
        try:
            with pytest.raises(LineError):
                list(expand_folder(opened, "a/private"))
        finally:
            os.seteuid(before)
            (repository / "a/private").chmod(0o755)


def test_no_process_and_no_descriptor_is_left_when_nobody_reads_on(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, *(f"a/{number:05}" for number in range(3_000)))
    with ConfinedFolder(tmp_path) as opened:
        before = sorted(os.listdir("/proc/self/fd"))
        paths = expand_folder(opened, "a")
        assert next(paths) == "a/00000"
        paths.close()  # type: ignore[attr-defined]
        assert sorted(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "git" in Path(f"/proc/{pid}/comm").read_text()]


def test_no_process_to_spare_is_charged_to_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "a/x")

    def exhausted(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(folders.subprocess, "Popen", exhausted)
    with pytest.raises(ResourceExhausted):
        expanded(tmp_path, "a")


@pytest.mark.parametrize("with_git", [True, False])
def test_thirty_thousand_files(tmp_path: Path, with_git: bool) -> None:
    if with_git:
        git(tmp_path, "init", "-q")
    for number in range(100):
        inner = tmp_path / f"a/{number:03}"
        inner.mkdir(parents=True)
        for file in range(300):
            os.close(os.open(inner / f"{file:03}.py", os.O_CREAT | os.O_WRONLY))
    started = time.process_time()
    paths = expanded(tmp_path, "a")
    assert time.process_time() - started < 10  # 0.2 s on an idle machine
    assert paths == [f"a/{number:03}/{file:03}.py" for number in range(100) for file in range(300)]


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied by `rm`: pytest's own clearing up, three runs later, fails below some 1,000 folders."""
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_git_that_hangs_on_a_fifo_fails_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").touch()
    os.mkfifo(tmp_path / "sub" / ".gitignore")
    monkeypatch.setattr(folders, "GIT_SILENCE_S", 0.5)
    with pytest.raises(LineError, match="git has listed nothing") as refused:
        expanded(tmp_path, "sub")
    assert not refused.value.permanent


def test_a_deep_tree_needs_no_deep_stack(deep_path: Path) -> None:
    deep = "/".join(["d"] * 1_000)
    current = os.open(deep_path, os.O_RDONLY)
    for _ in range(1_000):
        os.mkdir("d", dir_fd=current)
        following = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = following
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    os.close(current)
    assert expanded(deep_path, "") == [f"{deep}/file"]
