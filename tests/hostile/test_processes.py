"""The command on hostile input, as a process: its exit code, what it prints, and the memory that it takes."""

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hostile.child import Ended, elysiactl
from hostile.folder import CANARY, make_folder
from hostile.lines import hostile_lines

from elysia_dagster.cli import run

MEMORY_MB = 1_500
"""Bound of the peak for the hostile lines, those of 5 MB among them. Measured: 380, most of it LanceDB."""

AMPLIFIED = 60
"""Bound of the peak above that of an ordinary run, in bytes for each of a line of empty lists. Measured: 29."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the root ``root``."""
    (tmp_path / "root").mkdir()
    return tmp_path


def sync(folder: Path, changeset: Path, **settings: str) -> Ended:
    return elysiactl(folder, "sync", str(changeset), "--root", str(folder / "root"), **settings)


def assert_decent(ended: Ended, code: int) -> None:
    """Ended as it should, without a traceback, and without a word of what lies outside."""
    assert ended.code == code, (ended.code, ended.err[-2_000:])
    assert "Traceback" not in ended.out + ended.err
    assert CANARY not in ended.out + ended.err
    assert all(each.isprintable() or each in "\n\r\t" for each in ended.out), "control characters reach a terminal"


def test_hostile_lines_end_in_1_within_bounded_memory(folder: Path) -> None:
    lines = list(hostile_lines(3, 1_000, folder / "root", make_folder(folder / "root"), endless_lines=3))
    changeset = folder / "hostile.jsonl.zst"
    changeset.write_bytes(zstandard.compress(b"".join(line.raw + b"\n" for line in lines)))
    ended = sync(folder, changeset)
    assert_decent(ended, 1)
    assert ended.peak_mb < MEMORY_MB, ended.peak_mb
    for command in (["failed"], ["status", "--summary"], ["status", "--json"]):
        assert_decent(elysiactl(folder, *command), 0)


def test_a_line_of_nothing_but_lists_takes_memory_in_proportion(folder: Path) -> None:
    good = b'{"repo": "r", "op": "add", "path": "a.py", "content": "a = 1\\n"}\n'
    (folder / "plain.jsonl").write_bytes(good)
    plain = sync(folder, folder / "plain.jsonl")
    assert_decent(plain, 0)
    size = 12_000_000
    line = b'{"repo": "r", "path": "../x", "x": [' + b"[]," * (size // 3) + b"0]}\n"
    (folder / "lists.jsonl").write_bytes(line + good)
    ended = sync(folder, folder / "lists.jsonl")
    assert_decent(ended, 1)
    assert ended.peak_mb - plain.peak_mb < AMPLIFIED * size / (1 << 20), (ended.peak_mb, plain.peak_mb)


def members(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[start : start + 100_000]) for start in range(0, len(data), 100_000))


ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], int, str]] = {
    "truncated gzip": (lambda data: gzip.compress(data)[:-5], 2, "is broken: it ends in the middle"),
    "truncated zstd": (lambda data: zstandard.compress(data)[:-5], 2, "is broken"),
    "garbage behind gzip": (lambda data: gzip.compress(data) + b"garbage", 2, "is broken"),
    "garbage behind zstd": (lambda data: zstandard.compress(data) + b"garbage", 2, "is broken"),
    "concatenated members": (members, 0, ""),
    "a bomb of gzip": (lambda _: gzip.compress(bytes(1 << 28)), 2, "ELYSIACTL_MAX_EXPANSION"),
    "a bomb of zstd": (lambda _: zstandard.compress(bytes(1 << 28)), 2, "ELYSIACTL_MAX_EXPANSION"),
    "a bomb of many small ones": (lambda _: gzip.compress(bytes(1 << 22)) * 70, 2, "ELYSIACTL_MAX_EXPANSION"),
}


@pytest.mark.parametrize("packing", ARCHIVES)
def test_an_archive_that_means_harm_ends_in_2_and_leaves_nothing(
    packing: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(folder / "state"))
    pack, code, said = ARCHIVES[packing]
    line = b'{"repo": "r", "op": "add", "path": "a.py", "content": "a = 1\\n"}\n'
    archive = folder / "changeset.packed"
    archive.write_bytes(pack(line + b"\n" * 200_000))
    ended = run(["index", "sync", str(archive), "--root", str(folder / "root"), "--collection", "Demo"])
    out, err = capsys.readouterr()
    assert_decent(Ended(code=ended, out=out, err=err, peak_mb=0), code)
    if code:
        assert str(archive) in err
        assert said in err
        assert not any((folder / "state" / "work").iterdir())


def test_a_bomb_is_not_held_in_memory(folder: Path) -> None:
    archive = folder / "bomb.zst"
    archive.write_bytes(zstandard.compress(bytes(1 << 30)))
    ended = sync(folder, archive)
    assert_decent(ended, 2)
    assert ended.peak_mb < MEMORY_MB, ended.peak_mb


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_files_that_say_they_are_empty_and_grow_as_they_are_read(folder: Path) -> None:
    (folder / "c.txt").write_text("status\nsmaps\nenviron\nfd/0\nmem\nroot/etc/passwd\ncwd/x\n")
    before = time.monotonic()
    ended = elysiactl(folder, "sync", str(folder / "c.txt"), "--root", f"/proc/{os.getpid()}")
    assert_decent(ended, 1)
    assert time.monotonic() - before < 200
    assert "passes through a symbolic link" in ended.out
