"""The changeset on disk: whatever it is packed in, its lines come out with their places, in bounded memory."""

import gzip
import hashlib
import io
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.errors import InputError
from elysia_dagster.settings import Settings
from elysia_dagster.sync import spool as spooling
from elysia_dagster.sync.spool import OversizedLine, Spooled, iterate_lines, open_changeset, read_span, spool

TEXT = b"".join(b"src/module_%d.py\n" % n for n in range(5000))
NOISE = b"\n".join(random.Random(7).randbytes(900).replace(b"\n", b" ") for _ in range(3000))


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def pieces(data: bytes) -> list[bytes]:
    return [data[start : start + 9999] for start in range(0, len(data), 9999)]


def spooled(data: bytes, tmp_path: Path, *, null_separated: bool = False) -> tuple[Spooled, bytes]:
    target = tmp_path / "spool"
    found = spool(io.BytesIO(data), target, source="here", null_separated=null_separated)
    return found, target.read_bytes()


def lines_of(
    path: Path, limit: int = 1 << 20, separator: bytes = b"\n"
) -> list[tuple[int, int, bytes | OversizedLine]]:
    return list(iterate_lines(path, separator=separator, max_line_bytes=limit))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip of many members": lambda data: b"".join(map(gzip.compress, [*pieces(data), b"", b""])),
    "gzip padded with zeros": lambda data: gzip.compress(data) + b"\0" * 3000,
    "zstd": zst,
    "zstd of many frames": lambda data: b"".join(map(zst, pieces(data))),
    "zstd without a size": lambda data: zstandard.ZstdCompressor(write_content_size=False).compress(data),
}


@pytest.mark.parametrize("data", [TEXT, NOISE], ids=["text", "noise"])
@pytest.mark.parametrize("packing", PACKED)
def test_every_packing_gives_the_same_bytes_and_digest(packing: str, data: bytes, tmp_path: Path) -> None:
    found, written = spooled(PACKED[packing](data), tmp_path)
    assert written == data
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert found.lines == (5000 if data is TEXT else 3000)
    assert found.size_bytes == len(data)


@pytest.mark.parametrize("block_bytes", [1, 7, 1000])
@pytest.mark.parametrize("packing", PACKED)
def test_packings_read_in_small_blocks(
    packing: str, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TEXT[:2000]
    monkeypatch.setattr(spooling, "BLOCK_BYTES", block_bytes)
    _, written = spooled(PACKED[packing](data), tmp_path)
    assert written == data


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("packing", ["gzip", "gzip of many members", "zstd", "zstd of many frames"])
def test_a_truncated_archive_is_refused(packing: str, cut: float, tmp_path: Path) -> None:
    packed = PACKED[packing](NOISE)
    with pytest.raises(InputError, match=r"archive here is broken.*nothing of it was applied"):
        spooled(packed[: int(len(packed) * cut)], tmp_path)


@pytest.mark.parametrize(("packing", "place"), [("gzip", -6), ("gzip", 10), ("zstd", 4)])
def test_a_damaged_archive_is_refused(packing: str, place: int, tmp_path: Path) -> None:
    packed = bytearray(PACKED[packing](TEXT))
    packed[place] ^= 0xFF
    with pytest.raises(InputError, match="broken"):
        spooled(bytes(packed), tmp_path)


def test_garbage_behind_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="broken"):
        spooled(gzip.compress(TEXT) + b"garbage", tmp_path)
    with pytest.raises(InputError, match="broken"):
        spooled(zst(TEXT) + b"garbage", tmp_path)


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_a_pipe_that_gives_little_at_a_time_is_read_to_its_end(packing: str, tmp_path: Path) -> None:
    packed = PACKED[packing](TEXT)
    read_end, write_end = os.pipe()

    def write() -> None:
        for start in [0, 1, 2, 3, *range(4, len(packed), 777)]:
            os.write(write_end, packed[start : start + (1 if start < 4 else 777)])
            time.sleep(0.001)  # so that the first read finds less than a whole magic number
        os.close(write_end)

    with ThreadPoolExecutor(1) as pool, open(read_end, "rb") as stream:
        written = pool.submit(write)
        found = spool(stream, tmp_path / "spool", source="<stdin>", null_separated=False)
        written.result()
    assert (tmp_path / "spool").read_bytes() == TEXT
    assert found.lines == 5000


def test_a_stream_that_fails_is_an_input_error(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match=r"Reading here failed: Input/output error"):
        spool(Broken(), tmp_path / "spool", source="here", null_separated=False)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        open_changeset(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        open_changeset(tmp_path / "missing.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Not a directory"):
        open_changeset(tmp_path / "file" / "inner")


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"a\r\nb\r\n", 2), (b"\n\n", 2), (b"a\0b\n", 1)],
)
def test_lines_are_counted_as_they_are_read(data: bytes, lines: int, tmp_path: Path) -> None:
    found, _ = spooled(data, tmp_path)
    assert found.lines == lines == len(lines_of(tmp_path / "spool"))
    assert not found.null_separated


@pytest.mark.parametrize(
    ("data", "is_null_separated"),
    [
        (b"a\0b\0", True),
        (b"a\0", True),
        (b"a\0b", False),
        (b"a\n\0", False),
        (b"a\0b\n\0", False),
        (b"new\nline\0", True),
        (b"a\nb\nc\0", False),
    ],
)
def test_a_list_separated_by_nul_is_told_by_its_bytes(data: bytes, is_null_separated: bool, tmp_path: Path) -> None:
    found, _ = spooled(data, tmp_path)
    assert found.null_separated is is_null_separated


def test_lines_keep_carriage_returns_and_places(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfone\r\n\r\ntwo"
    spooled(data, tmp_path)
    lines = lines_of(tmp_path / "spool")
    assert lines == [(1, 0, b"\xef\xbb\xbfone\r"), (2, 8, b"\r"), (3, 10, b"two")]


@given(
    data=st.lists(st.binary(max_size=40), max_size=30).map(b"\n".join),
    block_bytes=st.integers(1, 64),
    limit=st.integers(1, 50),
    separator=st.sampled_from([b"\n", b"\0"]),
)
def test_lines_are_those_of_split_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block_bytes: int, limit: int, separator: bytes
) -> None:
    data = data.replace(b"\n", separator)
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(data)
    wanted = data.split(separator)
    if not wanted[-1]:
        wanted.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spooling, "BLOCK_BYTES", block_bytes)
        found = lines_of(path, limit, separator)
    assert [number for number, _, _ in found] == list(range(1, len(wanted) + 1))
    descriptor = os.open(path, os.O_RDONLY)
    for line, (_, offset, piece) in zip(wanted, found, strict=True):
        assert read_span(descriptor, offset, len(line)) == line
        if len(line) <= limit:
            assert piece == line
        else:
            assert isinstance(piece, OversizedLine)
            assert piece.size_bytes == len(line)
            assert piece.sha256 == hashlib.sha256(line).hexdigest()
            assert line.startswith(piece.start)
            assert len(piece.start) <= block_bytes
    os.close(descriptor)


def test_a_long_line_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "BLOCK_BYTES", 1000)
    spooled(b"short\n" + b"x" * 500_000 + b"\nshort again", tmp_path)
    first, long, last = (line for _, _, line in lines_of(tmp_path / "spool", limit=2000))
    assert (first, last) == (b"short", b"short again")
    assert isinstance(long, OversizedLine)
    assert long.size_bytes == 500_000
    assert len(long.start) == 1000


def test_a_spool_shorter_than_its_plan_says_so(tmp_path: Path) -> None:
    spooled(b"abc\n", tmp_path)
    descriptor = os.open(tmp_path / "spool", os.O_RDONLY)
    with pytest.raises(InputError, match="shorter than its plan"):
        read_span(descriptor, 2, 10)
    os.close(descriptor)


BOMBS: dict[str, Callable[[int], bytes]] = {
    "gzip": lambda size: gzip.compress(bytes(size)),
    "gzip of many members": lambda size: gzip.compress(bytes(size // 8)) * 8,
    "zstd": lambda size: zst(bytes(size)),
    "zstd of many frames": lambda size: zst(bytes(size // 8)) * 8,
    "zstd without a size": lambda size: zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size)),
}


@pytest.mark.parametrize("packing", BOMBS)
def test_an_archive_that_swells_out_of_proportion_is_refused_early(
    packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "FREE_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"The archive here gives .* over the limit of 200 .*ELYSIACTL_MAX_EXPANSION"):
        spooled(BOMBS[packing](1 << 28), tmp_path)
    assert (tmp_path / "spool").stat().st_size < 1 << 26


@pytest.mark.parametrize("packing", BOMBS)
def test_what_swells_little_or_to_little_is_read(packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "FREE_BYTES", 1 << 20)
    assert spooled(BOMBS[packing](1 << 20), tmp_path)[0].size_bytes == 1 << 20
    data = b"".join(b"src/module_%d.py\n" % n for n in range(500_000))
    assert spooled(gzip.compress(data), tmp_path)[0].size_bytes == len(data)


def test_the_proportion_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "FREE_BYTES", 1 << 10)
    packed = gzip.compress(bytes(1 << 22))
    found = spool(io.BytesIO(packed), tmp_path / "s", source="here", null_separated=False, max_expansion=1100)
    assert found.size_bytes == 1 << 22
    with pytest.raises(InputError, match="over the limit of 10 for each"):
        spool(io.BytesIO(packed), tmp_path / "s", source="here", null_separated=False, max_expansion=10)


def test_the_default_proportion_is_the_settings() -> None:
    assert Settings().max_expansion == spooling.MAX_EXPANSION
