"""Which bytes a line stands for: those it carries, where they are the file's own, else those under the root."""

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elysia_dagster.errors import LineError
from elysia_dagster.sync.confine import ConfinedFolder, SymbolicLink
from elysia_dagster.sync.content import Content, Skipped, resolve_content, self_contained

ON_DISK = b"on disk\n"
SUMMARY = "File: a.txt\nType: text/plain\nSize: 8 bytes\nLines: 1\n\n--- First few lines ---\non disk"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a repository that holds ``a.txt``, and a file beside the root."""
    (tmp_path / "root/repository").mkdir(parents=True)
    (tmp_path / "root/repository/a.txt").write_bytes(ON_DISK)
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return tmp_path / "root"


@pytest.fixture
def folder(root: Path) -> Iterator[ConfinedFolder]:
    with ConfinedFolder(root / "repository") as opened:
        yield opened


def resolve(
    record: dict[str, Any] | None,
    folder: ConfinedFolder | None,
    *,
    path: str = "a.txt",
    roots: tuple[Path, ...] = (),
    max_bytes: int = 1_000,
) -> Content | Skipped:
    return resolve_content(record, path=path, folder=folder, roots=roots, max_document_bytes=max_bytes)


def data_of(found: Content | Skipped) -> bytes:
    assert isinstance(found, Content)
    return found.data


def failure(record: dict[str, Any] | None, folder: ConfinedFolder | None, **others: Any) -> LineError:
    with pytest.raises(LineError) as caught:
        resolve(record, folder, **others)
    return caught.value


@pytest.mark.parametrize("record", [None, {}, {"content": None}, {"content_hash": "", "content": None}])
def test_without_content_the_file_is_read(record: dict[str, Any] | None, folder: ConfinedFolder) -> None:
    os.utime(folder.path / "a.txt", (0, 1_700_000_000))
    assert resolve(record, folder) == Content(data=ON_DISK, modified_at=1_700_000_000)
    assert not self_contained(record)


@pytest.mark.parametrize(
    "record",
    [
        {"content": "in the line"},
        {"content": "in the line", "content_hash": sha256(b"in the line")},
        {"content": "in the line", "content_hash": "sha256:" + sha256(b"in the line").upper()},
        {"content": "in the line", "content_hash": sha256(b"in the line"), "is_truncated": True},
        {"content": "in the line", "content_hash": None, "is_truncated": False, "content_error": None},
        {"content_base64": base64.b64encode(b"in the line").decode()},
    ],
)
def test_content_in_the_line_is_the_file(record: dict[str, Any], folder: ConfinedFolder) -> None:
    assert resolve(record, folder) == Content(data=b"in the line", modified_at=None)
    assert resolve(record, None) == Content(data=b"in the line", modified_at=None)
    assert self_contained(record)


@pytest.mark.parametrize(
    "record",
    [
        {"content": SUMMARY, "content_hash": sha256(ON_DISK), "is_truncated": False},
        {"content": SUMMARY},
        {"content": "a sample", "is_truncated": True},
        {"content": "latin-1 became \ufffd", "content_hash": sha256(ON_DISK)},
        {"content": "half", "content_error": "could not be read"},
        {"content_error": "could not be read"},
        {"content": "a lone surrogate \udcff"},
    ],
)
def test_what_only_looks_like_the_file_is_not_believed(record: dict[str, Any], folder: ConfinedFolder) -> None:
    assert data_of(resolve(record, folder)) == ON_DISK
    assert not self_contained(record)
    error = failure(record, None)
    assert not error.permanent
    assert "--root" in str(error)


def test_a_real_file_may_begin_like_a_summary(folder: ConfinedFolder) -> None:
    record = {"content": SUMMARY, "content_hash": sha256(SUMMARY.encode())}
    assert data_of(resolve(record, folder)) == SUMMARY.encode()


@pytest.mark.parametrize(
    "record",
    [
        {"content": 5},
        {"content": ["x"]},
        {"content_base64": 5},
        {"content_base64": "not base64!"},
        {"content_base64": "YQ"},
        {"content_base64": "YQ==YQ=="},
        {"content_base64": "ü"},
        {"skip_index": "true"},
        {"skip_index": 1},
        {"is_truncated": "no", "content": "x"},
        {"content_hash": 5, "content": "x"},
        {"content_ref": {}},
        {"content_ref": ""},
        {"content_ref": "../../secret.txt"},
        {"content_ref": "a\0b"},
    ],
)
def test_a_bad_record_fails_for_good(record: dict[str, Any], folder: ConfinedFolder, root: Path) -> None:
    assert failure(record, folder, roots=(root,)).permanent


@pytest.mark.parametrize("field", ["content", "content_base64", "skip_index", "content_hash"])
def test_wrong_types_are_never_self_contained(field: str) -> None:
    assert not self_contained({"content": "x", field: 5})


def test_skip_index(folder: ConfinedFolder) -> None:
    assert resolve({"skip_index": True, "content": "x"}, folder) == Skipped(reason="skip_index")
    assert data_of(resolve({"skip_index": False, "content": "x"}, folder)) == b"x"
    assert self_contained({"skip_index": True})


@pytest.mark.parametrize(
    "record", [{"content": ""}, {"content": "\ufeff"}, {"content_base64": ""}, {"content_base64": "77u/"}]
)
def test_nothing_is_empty(record: dict[str, Any], folder: ConfinedFolder) -> None:
    assert resolve(record, folder) == Skipped(reason="empty")


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_empty(data: bytes, folder: ConfinedFolder) -> None:
    (folder.path / "a.txt").write_bytes(data)
    assert resolve(None, folder) == Skipped(reason="empty")


@pytest.mark.parametrize("size", [1_000, 1_001, 1_002, 1_003])
def test_the_limit_holds_to_the_byte(size: int, folder: ConfinedFolder) -> None:
    data = b"x" * size
    (folder.path / "a.txt").write_bytes(data)
    records = (None, {"content": data.decode()}, {"content_base64": base64.b64encode(data).decode()})
    for record in records:
        if size <= 1_000:
            assert data_of(resolve(record, folder)) == data
        else:
            error = failure(record, folder)
            assert error.permanent
            assert f"{size:,}" in str(error)
            assert "1,000" in str(error)


def test_the_limit_counts_bytes_not_characters(folder: ConfinedFolder) -> None:
    assert failure({"content": "ü" * 501}, folder).permanent


def test_links_are_skipped_inside_and_fail_outside(folder: ConfinedFolder) -> None:
    (folder.path / "in").symlink_to("a.txt")
    (folder.path / "out").symlink_to("../../secret.txt")
    (folder.path / "up").symlink_to("../..")
    for record in (None, {"content": "secret", "content_hash": sha256(b"secret")}, {"content_base64": "c2VjcmV0"}):
        assert resolve(record, folder, path="in") == Skipped(reason="symbolic link: never followed")
        assert isinstance(failure(record, folder, path="out"), SymbolicLink)
        assert failure(record, folder, path="up/secret.txt").permanent


def test_content_in_the_line_needs_no_file(folder: ConfinedFolder) -> None:
    os.mkfifo(folder.path / "fifo")
    for path in ("gone/deep.txt", "fifo"):
        assert data_of(resolve({"content": "x"}, folder, path=path)) == b"x"


def test_content_ref_in_the_repository_or_a_root(folder: ConfinedFolder, root: Path) -> None:
    (root / "blobs").mkdir()
    (root / "blobs/1").write_bytes(b"blob")
    (folder.path / "blobs-2").mkdir()
    (folder.path / "blobs-2/1").write_bytes(b"near")
    for reference in ("blobs/1", "./blobs//1", f"{root}/blobs/1"):
        assert data_of(resolve({"content_ref": reference}, folder, roots=(root,))) == b"blob"
        assert data_of(resolve({"content_ref": reference}, None, roots=(root,))) == b"blob"
    assert data_of(resolve({"content_ref": "blobs-2/1"}, folder, roots=(root,))) == b"near"
    assert not self_contained({"content_ref": "blobs/1"})


def test_content_ref_beneath_a_root_that_is_itself_a_link(folder: ConfinedFolder, root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    for reference in (f"{link}/repository/a.txt", f"{root}/repository/a.txt", "repository/a.txt"):
        assert data_of(resolve({"content_ref": reference}, None, roots=(link,))) == ON_DISK


def test_content_ref_never_leads_outside(folder: ConfinedFolder, root: Path) -> None:
    (root / "link").symlink_to("../secret.txt")
    (folder.path / "link").symlink_to("../../secret.txt")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "fifo")
    outside = f"{root.parent}/secret.txt"
    for reference in (outside, "/etc/passwd", f"{root}/../secret.txt", f"{root}-2/x", f"{root}/up/secret.txt"):
        failure({"content_ref": reference}, folder, roots=(root,))
    for reference in ("link", f"{root}/link", "up/secret.txt", "fifo", "repository"):
        assert failure({"content_ref": reference}, folder, roots=(root,)).permanent
    assert "--root" in str(failure({"content_ref": outside}, folder, roots=(root,)))
    assert not failure({"content_ref": "not/there"}, folder, roots=(root,)).permanent
    assert failure({"content_ref": "repository/a.txt"}, None, roots=(root,), max_bytes=3).permanent


def test_a_reference_for_a_link_is_not_read(folder: ConfinedFolder, root: Path) -> None:
    (folder.path / "in").symlink_to("a.txt")
    found = resolve({"content_ref": "a.txt"}, folder, path="in", roots=(root,))
    assert found == Skipped(reason="symbolic link: never followed")


@pytest.mark.parametrize(
    ("said", "read"),
    [(1_764_350_000.25, 1_764_350_000.25), (0.0, 0.0), (253_402_300_799.0, 253_402_300_799.0)]
    + [(other, None) for other in (-1.0, 253_402_300_800.0, float("nan"), 5, "yesterday", None, True, [1.0])],
)
def test_a_line_may_say_when_its_file_was_changed(said: Any, read: float | None) -> None:
    """Whatever else stands there is no moment, and the line is as good as without it."""
    found = resolve({"content": "x = 1", "modified_at": said}, None)
    assert isinstance(found, Content)
    assert found.modified_at == read
