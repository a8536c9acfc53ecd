"""Paths stay in their repository, whatever lies there: links, devices, FIFOs, and files that change while looked at."""

import contextlib
import errno
import os
import pickle
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.errors import LineError, ResourceExhausted
from elysia_dagster.sync import confine, openbeneath
from elysia_dagster.sync.confine import ConfinedFolder, SymbolicLink, check_relative_path, check_repository_name

LIMIT_BYTES = 1_000_000


@pytest.fixture(params=["one call", "by components"])
def repository(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConfinedFolder]:
    """A repository with a secret beside it, opened with openat2 and without."""
    if request.param == "by components":
        monkeypatch.setattr(confine, "open_beneath", openbeneath.open_by_components)
    folder = tmp_path / "repository"
    (folder / "src/pkg").mkdir(parents=True)
    (folder / "src/pkg/module.py").write_bytes(b"x = 1\n")
    (tmp_path / "secret.txt").write_text("secret")
    with ConfinedFolder(folder) as opened:
        yield opened


def refused(folder: ConfinedFolder, path: str, *, permanent: bool, max_bytes: int = LIMIT_BYTES) -> LineError:
    with pytest.raises(LineError) as caught:
        folder.read_file(path, max_bytes=max_bytes)
    assert caught.value.permanent is permanent
    return caught.value


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("a", "a"),
        ("src/a.py", "src/a.py"),
        ("./a//b", "a/b"),
        ("a/./b/", "a/b"),
        (".github/x.yml", ".github/x.yml"),
        ("a/.hidden", "a/.hidden"),
        ("a..b/c...", "a..b/c..."),
        ("...", "..."),
        ("ü/日本.md", "ü/日本.md"),
        ("back\\slash", "back\\slash"),
        ("x" * 2_048, "x" * 2_048),
    ],
)
def test_a_path_in_canonical_form(path: str, canonical: str) -> None:
    assert check_relative_path(path) == canonical


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "./",
        "/",
        "/etc/passwd",
        "//x",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "a/b/../../../x",
        "./..",
        "a\0b",
        "\ud800",
        "x" * 2_049,
        "ü" * 1_025,
        "./" * 1_024 + "x",
    ],
)
def test_a_path_that_may_leave_is_refused_for_good(path: str) -> None:
    with pytest.raises(LineError) as caught:
        check_relative_path(path)
    assert caught.value.permanent
    assert len(str(caught.value)) < 500


@given(st.text(st.sampled_from("ab./\0ü\\")))
def test_a_checked_path_has_only_real_components(path: str) -> None:
    try:
        checked = check_relative_path(path)
    except LineError:
        return
    assert {"", ".", ".."}.isdisjoint(checked.split("/"))
    assert "\0" not in checked
    assert check_relative_path(checked) == checked
    assert os.path.normpath("/r/" + path) == "/r/" + checked


@pytest.mark.parametrize("name", ["billing", "group/name", ".github", "a..b", "ünïcode", "x" * 255])
def test_a_repository_name(name: str) -> None:
    assert check_repository_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../..",
        "a/..",
        "./a",
        "a/./b",
        "/a",
        "a/",
        "a//b",
        "a\0",
        "..\\..",
        "a\\b",
        ".git",
        "web/.git",
        ".git/modules",
        "\ud800",
        "x" * 256,
        "ü" * 128,
    ],
)
def test_a_repository_name_that_is_none_is_refused_for_good(name: str) -> None:
    with pytest.raises(LineError) as caught:
        check_repository_name(name)
    assert caught.value.permanent


def test_a_file_is_read_with_its_time(repository: ConfinedFolder) -> None:
    os.utime(repository.path / "src/pkg/module.py", (5, 1_700_000_000.5))
    file = repository.read_file("./src/pkg//module.py", max_bytes=LIMIT_BYTES)
    assert (file.data, file.modified_at) == (b"x = 1\n", 1_700_000_000.5)


def test_this_machine_opens_in_one_call() -> None:
    """The quick way is what runs here, so that the tests that ask for it prove it."""
    assert openbeneath._openat2() is not None


def test_a_missing_file_may_come_and_is_named(repository: ConfinedFolder) -> None:
    for path in ("gone.py", "src/gone/deep.py", "src/pkg/module.py/below"):
        error = refused(repository, path, permanent=False)
        assert str(repository.path / path) in str(error)


def test_too_large_names_both_sizes(repository: ConfinedFolder) -> None:
    (repository.path / "large").write_bytes(b"x" * 2_000)
    error = refused(repository, "large", permanent=True, max_bytes=1_999)
    assert "2,000" in str(error)
    assert "1,999" in str(error)
    assert len(repository.read_file("large", max_bytes=2_000).data) == 2_000


def test_a_sparse_file_is_never_read(repository: ConfinedFolder) -> None:
    with (repository.path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    refused(repository, "sparse", permanent=True)


@pytest.mark.parametrize("grows_to", [30, 5_000])
def test_a_file_that_grows_while_it_is_read(
    repository: ConfinedFolder, monkeypatch: pytest.MonkeyPatch, grows_to: int
) -> None:
    log = repository.path / "log"
    log.write_bytes(b"x" * 10)
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        status = real(fd)
        log.write_bytes(b"x" * grows_to)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    if grows_to == 30:
        assert repository.read_file("log", max_bytes=30).data == b"x" * 30
    else:
        refused(repository, "log", permanent=True, max_bytes=30)


def test_a_fifo_is_neither_opened_nor_waited_for(repository: ConfinedFolder) -> None:
    os.mkfifo(repository.path / "fifo")
    refused(repository, "fifo", permanent=True)
    # A writer that does not wait fails as long as nobody has the FIFO open for reading.
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is what is looked at
        os.open(repository.path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO
    assert repository.kind_of("fifo")[0] == "other"


def test_a_fifo_put_in_place_at_the_last_moment(repository: ConfinedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, path = confine.open_beneath, repository.path / "src/pkg/module.py"

    def swapped(fd: int, relative: str, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(fd, relative, flags)

    monkeypatch.setattr(confine, "open_beneath", swapped)
    refused(repository, "src/pkg/module.py", permanent=True)


def test_sockets_devices_and_folders_are_no_documents(
    repository: ConfinedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.path)  # a socket's path is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        refused(repository, "socket", permanent=True)
    refused(repository, "src", permanent=True)
    with ConfinedFolder(Path("/dev")) as devices:
        refused(devices, "null", permanent=True)
        refused(devices, "zero", permanent=True)
        assert devices.kind_of("zero")[0] == "other"


@pytest.mark.parametrize(
    ("target", "inside"),
    [
        ("src/pkg/module.py", True),
        ("{repository}/src/pkg/module.py", True),
        ("not/there", True),
        ("src/../src", True),
        ("../secret.txt", False),
        ("../repository-2/file", False),
        ("{repository}-2/file", False),
        ("{repository}/../secret.txt", False),
        ("/etc/passwd", False),
        ("/", False),
        ("second", False),
    ],
)
def test_a_link_is_never_followed(repository: ConfinedFolder, target: str, inside: bool) -> None:
    (repository.path / "second").symlink_to("../secret.txt")
    (repository.path / "link").symlink_to(target.format(repository=repository.path))
    with pytest.raises(SymbolicLink) as caught:
        repository.read_file("link", max_bytes=LIMIT_BYTES)
    assert caught.value.inside is inside
    assert caught.value.permanent
    assert repository.kind_of("link")[0] == "link"


def test_links_in_a_circle(repository: ConfinedFolder) -> None:
    (repository.path / "one").symlink_to("two")
    (repository.path / "two").symlink_to("one")
    (repository.path / "self").symlink_to("self")
    (repository.path / "folder").symlink_to(".")
    for path in ("one", "self"):
        assert not isinstance(refused(repository, path, permanent=True), SymbolicLink)
    assert "folder" in str(refused(repository, "folder/folder/folder/src/pkg/module.py", permanent=True))


def test_a_path_through_a_link_is_refused_for_good(repository: ConfinedFolder) -> None:
    (repository.path / "out").symlink_to("..")
    (repository.path / "in").symlink_to("src")
    for path in ("out/secret.txt", "in/pkg/module.py", "out/nothing", "in/x"):
        error = refused(repository, path, permanent=True)
        assert "passes through a symbolic link" in str(error)
        assert repository.kind_of(path) == ("other", 0)


def test_a_swap_for_a_link_between_look_and_open_reads_nothing_outside(
    repository: ConfinedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, path = confine.open_beneath, repository.path / "src/pkg/module.py"
    (repository.path.parent / "module.py").write_text("secret")

    def swapped_file(fd: int, relative: str, flags: int) -> int:
        path.unlink()
        path.symlink_to(repository.path.parent / "secret.txt")
        return real(fd, relative, flags)

    def swapped_folder(fd: int, relative: str, flags: int) -> int:
        path.unlink()
        path.parent.rmdir()
        path.parent.symlink_to("../..")
        return real(fd, relative, flags)

    assert repository.kind_of("src/pkg/module.py")[0] == "file"  # remembers the folder as free of links
    monkeypatch.setattr(confine, "open_beneath", swapped_file)
    refused(repository, "src/pkg/module.py", permanent=True)
    path.unlink()
    path.write_text("x")
    monkeypatch.setattr(confine, "open_beneath", swapped_folder)
    refused(repository, "src/pkg/module.py", permanent=True)


def test_a_race_of_renames_reads_nothing_outside(repository: ConfinedFolder) -> None:
    """A thread swaps the file for a link to the secret as fast as it can."""
    target, new, stop = repository.path / "target", repository.path / "new", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            new.symlink_to("../secret.txt")
            new.replace(target)
            new.write_text("good")
            new.replace(target)

    target.write_text("good")
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(2_000):
            try:
                assert repository.read_file("target", max_bytes=LIMIT_BYTES).data == b"good"
            except LineError:
                continue
    finally:
        stop.set()
        thread.join()


def test_a_file_that_may_not_be_read_is_retryable(repository: ConfinedFolder) -> None:
    (repository.path / "private").write_text("x")
    (repository.path / "private").chmod(0)
    (repository.path / "src/pkg").chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)  # root may read everything
    try:
        assert "Permission denied" in str(refused(repository, "private", permanent=False))
        assert "Permission denied" in str(refused(repository, "src/pkg/module.py", permanent=False))
        assert repository.kind_of("src/pkg/module.py") == ("other", 0)
    finally:
        os.seteuid(before)
        (repository.path / "src/pkg").chmod(0o755)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_used_up_file_handles_are_charged_to_no_line(
    repository: ConfinedFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def exhausted(fd: int, relative: str, flags: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(confine, "open_beneath", exhausted)
    with pytest.raises(ResourceExhausted):
        repository.read_file("src/pkg/module.py", max_bytes=LIMIT_BYTES)


def test_no_file_descriptor_is_left_open(repository: ConfinedFolder) -> None:
    os.mkfifo(repository.path / "fifo")
    (repository.path / "link").symlink_to("..")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("src/pkg/module.py", "fifo", "link", "link/secret.txt", "gone", "src"):
        for max_bytes in (1, LIMIT_BYTES):
            with contextlib.suppress(LineError):
                repository.read_file(path, max_bytes=max_bytes)
    assert len(os.listdir("/proc/self/fd")) == before


def test_kinds_and_sizes(repository: ConfinedFolder) -> None:
    assert repository.kind_of("src/pkg/module.py") == ("file", 6)
    assert repository.kind_of("src")[0] == "folder"
    for path in ("gone", "gone/deep", "src/pkg/module.py/below", "x" * 300):
        assert repository.kind_of(path) == ("missing", 0)


def test_more_folders_than_are_remembered(repository: ConfinedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "_REMEMBERED_PARENTS", 50)
    (repository.path / "out").symlink_to("..")
    for number in range(120):
        (repository.path / f"d{number}/e").mkdir(parents=True)
        for _ in range(2):
            assert repository.kind_of(f"d{number}/e/x") == ("missing", 0)
            assert repository.kind_of(f"d{number}/gone/x") == ("missing", 0)
            assert repository.kind_of(f"out/d{number}/x") == ("other", 0)
    assert len(repository._plain_parents) <= 53


def test_a_repository_behind_a_link_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to("../outside")
    (tmp_path / "root-link").symlink_to("root")
    for path, root in ((tmp_path / "root/link", None), (tmp_path / "root/link/deep", tmp_path / "root")):
        with pytest.raises(LineError):
            ConfinedFolder(path, root=root)
    with pytest.raises(LineError, match="never followed") as caught:
        ConfinedFolder(tmp_path / "root-link")
    assert caught.value.permanent
    with pytest.raises(LineError) as missing:
        ConfinedFolder(tmp_path / "gone")
    assert not missing.value.permanent
    (tmp_path / "root/group/name").mkdir(parents=True)
    with ConfinedFolder(tmp_path / "root-link/group/name", root=tmp_path / "root-link") as opened:
        assert stat.S_ISDIR(os.fstat(opened.open_folder("")).st_mode)


def test_a_symbolic_link_error_pickles() -> None:
    error = pickle.loads(pickle.dumps(SymbolicLink("a link", inside=True)))
    assert (error.inside, error.permanent, str(error)) == (True, True, "a link")
