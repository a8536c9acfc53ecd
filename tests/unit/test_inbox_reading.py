"""A file of the inbox, read before its turn."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import zstandard

from elysia_dagster.errors import InputError
from elysia_dagster.inbox.reading import Contents, InboxReader
from elysia_dagster.sync.spool import BLOCK_BYTES


def read(path: Path, max_line_bytes: int = 1 << 20) -> Contents:
    """The whole file, block by block."""
    reader = InboxReader(path, default_repository="here", max_expansion=200, max_line_bytes=max_line_bytes)
    try:
        while reader.read_block():
            pass
        return reader.contents()
    finally:
        reader.close()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_repositories_are_those_that_lines_name(tmp_path: Path) -> None:
    lines = [
        {"repo": "web", "path": "a"},
        {"repo": "billing", "new_changeset": {"commit": "c"}},
        {"path": "b"},
        {"repo": "../out", "path": "a"},
        {"repo": 7, "path": "a"},
    ]
    data = "".join(json.dumps(each) + "\n" for each in lines).encode() + b'\n{"not json\n'
    found = read(write(tmp_path / "a.jsonl", data))
    assert found == Contents(digest=hashlib.sha256(data).hexdigest(), lines=7, repositories=("billing", "here", "web"))


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_lines_go_across_blocks_and_archives_are_unpacked(tmp_path: Path, name: str, end: bytes) -> None:
    lines = [json.dumps({"repo": f"r{n % 7}", "path": f"{n}", "content": "x" * (n % 3000)}) for n in range(3000)]
    data = "\n".join(lines).encode() + end
    assert len(data) > 2 * BLOCK_BYTES
    packed = {".jsonl": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[Path(name).suffix](data)
    found = read(write(tmp_path / name, packed))
    assert found == Contents(
        digest=hashlib.sha256(data).hexdigest(), lines=3000, repositories=tuple(f"r{n}" for n in range(7))
    )


def test_a_line_over_the_limit_counts_and_names_no_repository(tmp_path: Path) -> None:
    long = json.dumps({"repo": "long", "path": "a", "content": "x" * (3 * BLOCK_BYTES)}).encode()
    short = json.dumps({"repo": "short", "path": "a"}).encode()
    found = read(write(tmp_path / "a.jsonl", short + b"\n" + long + b"\n" + short), max_line_bytes=BLOCK_BYTES)
    assert (found.lines, found.repositories) == (3, ("short",))


def test_a_byte_order_mark_belongs_to_no_line(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"repo": "web", "path": "a"}\n')).repositories == ("web",)


def test_an_empty_file_and_one_of_blanks_hold_no_repository(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", b"")).lines == 0
    assert read(write(tmp_path / "b.jsonl", b"\n \n")) == Contents(
        digest=hashlib.sha256(b"\n \n").hexdigest(), lines=2, repositories=()
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", b"\x00\x01garbage\nmore\n", "none of its 2 lines is a JSON object"),
        ("a.jsonl.gz", gzip.compress(b"just/a/path\n"), "none of its 1 lines is a JSON object"),
        ("a.jsonl.gz", b"no archive", "no gzip archive"),
        ("a.zst", gzip.compress(b"{}"), "no zstd archive"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 1000)[:-12], "is broken"),
        ("a.jsonl.zst", zstandard.compress(b"{}\n" * 1000)[:-3], "is broken"),
    ],
    # named: a packed file holds the second in which it was packed, and every worker has to collect the same tests
    ids=["no-record", "no-record-packed", "no-gzip", "gzip-as-zstd", "cut-gzip", "cut-zstd"],
)
def test_a_file_that_is_no_changeset_is_told(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read(write(tmp_path / name, data))
    assert str(tmp_path / name) in str(error.value)
    assert error.value.next_step


def test_a_packed_list_of_paths_belongs_to_the_default_repository(tmp_path: Path) -> None:
    found = read(write(tmp_path / "paths.gz", gzip.compress(b"a.py\nb.py\n")))
    assert (found.lines, found.repositories) == (2, ("here",))
