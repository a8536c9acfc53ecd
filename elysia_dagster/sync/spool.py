"""The changeset on disk: copied in whole and decompressed, then read line by line in bounded memory."""

import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from elysia_dagster.errors import InputError, Interrupted
from elysia_dagster.sync.files import resources_named, sync_folder

BLOCK_BYTES = 1 << 20
_TOGETHER_BYTES = 4 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# zstd may give 128 KiB for 4 bytes: small slices in, so that what comes out of one stays below 32 MiB
_ZSTD_SLICE_BYTES = 1024
# What a member of a gzip leaves is copied for the next one: of a large block with many small members, too often.
_GZIP_SLICE_BYTES = 1 << 16

FREE_BYTES = 64 << 20
"""An archive may give so many bytes whatever its size: as long as that it can do no harm."""

MAX_EXPANSION = 200
"""By default, bytes that an archive may give for each of its own beyond that. Changesets of a million lines give 10 to
60; gzip can give 1,032 and zstd over 30,000, which fill a disk from a file that fits into a mail."""


@dataclass(frozen=True, kw_only=True)
class Spooled:
    """What the copy found out. ``digest`` is the SHA-256 of the decompressed bytes, in hex."""

    digest: str
    lines: int
    size_bytes: int
    null_separated: bool


def open_changeset(path: Path) -> BinaryIO:
    """Opens a changeset file. Raises ``InputError`` for one that is missing, a folder, or cannot be read."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise InputError(f"{path} is a folder, not a changeset.", next_step="Name a file, or pipe into --stdin.")
        return open(path, "rb")
    except OSError as error:
        raise InputError(
            f"The changeset {path} cannot be read: {error.strerror}.", next_step="Check the path and its mode."
        ) from error


def spool(
    stream: BinaryIO, target: Path, *, source: str, null_separated: bool, max_expansion: int = MAX_EXPANSION
) -> Spooled:
    """Copies ``stream`` to ``target``, decompressing gzip and zstd (told by their first bytes), and syncs it to disk.

    ``git ls-files -z`` is told from lines by its bytes: a NUL at the end, and no fewer of them than newlines, which a
    file's name may hold. Read as lines, nothing of such an input could be applied.
    Raises ``InputError`` for a broken archive, one that gives more than ``FREE_BYTES`` and more than ``max_expansion``
    bytes for each of its own, or a failing stream; ``ResourceExhausted`` when the disk is full.
    """
    digest = hashlib.sha256()
    newlines = nulls = size = 0
    end = b""
    with resources_named(str(target)), open(target, "wb") as file:
        for block in decompressed(stream, source, max_expansion):
            file.write(block)
            digest.update(block)
            newlines += block.count(b"\n")
            nulls += block.count(b"\0")
            size += len(block)
            end = (end + block[-2:])[-2:]  # the end of an archive may give nothing
        file.flush()
        os.fsync(file.fileno())
        sync_folder(target.parent)
    if end.endswith(b"\0") and end != b"\n\0" and nulls >= newlines:
        null_separated = True
    separator, count = (b"\0", nulls) if null_separated else (b"\n", newlines)
    lines = count + (size > 0 and not end.endswith(separator))
    return Spooled(digest=digest.hexdigest(), lines=lines, size_bytes=size, null_separated=null_separated)


def decompressed(stream: BinaryIO, source: str, max_expansion: int = MAX_EXPANSION) -> Iterator[bytes]:
    """The stream's bytes in blocks, unpacked where it is a gzip or zstd. Raises ``InputError`` as ``spool`` does."""
    try:
        first = _read_magic(stream)
        if first.startswith(_GZIP):
            yield from _bounded(_gunzip(stream, first), source, max_expansion)
        elif first.startswith(_ZSTD):
            yield from _bounded(_unzstd(stream, first), source, max_expansion)
        else:
            while first:
                yield first
                first = _read(stream)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise InputError(
            f"The archive {source} is broken: {error}.", next_step="Fetch it again; nothing of it was applied."
        ) from error
    except OSError as error:
        raise InputError(
            f"Reading {source} failed: {error.strerror}.", next_step="Give it again; nothing of it was applied."
        ) from error


def _bounded(blocks: Iterator[tuple[int, bytes]], source: str, max_expansion: int) -> Iterator[bytes]:
    """The blocks as long as they are in proportion; each comes with the archive's bytes that were taken before it."""
    size = 0
    for taken, block in blocks:
        size += len(block)
        if size > max(FREE_BYTES, taken * max_expansion):
            raise InputError(
                f"The archive {source} gives {size:,} bytes and more for its first {taken:,}, over the limit of "
                f"{max_expansion:,} for each (ELYSIACTL_MAX_EXPANSION); nothing of it was applied.",
                next_step="If it is what you mean to apply, set ELYSIACTL_MAX_EXPANSION higher, or unpack it first.",
            )
        yield block


def _read(stream: BinaryIO) -> bytes:
    """Some bytes, b'' at the end. ``read1`` gives what a pipe has without waiting for a whole block."""
    read = getattr(stream, "read1", stream.read)
    return bytes(read(BLOCK_BYTES))


def _read_magic(stream: BinaryIO) -> bytes:
    """The first bytes, as many as tell an archive: a pipe may give them one by one."""
    first = b""
    while len(first) < len(_ZSTD) and (more := _read(stream)):
        first += more
    return first


def _gunzip(stream: BinaryIO, block: bytes) -> Iterator[tuple[int, bytes]]:
    inflate = zlib.decompressobj(wbits=31)
    taken = 0
    while block:
        taken += len(block)
        for start in range(0, len(block), _GZIP_SLICE_BYTES):
            piece = block[start : start + _GZIP_SLICE_BYTES]
            while piece:
                if inflate.eof:  # another member of the same file, or the padding after the last
                    piece = piece.lstrip(b"\0")
                    if not piece:
                        break
                    inflate = zlib.decompressobj(wbits=31)
                yield taken, inflate.decompress(piece, BLOCK_BYTES)
                piece = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        block = _read(stream)
    if not inflate.eof:
        raise EOFError("it ends in the middle")


def _unzstd(stream: BinaryIO, block: bytes) -> Iterator[tuple[int, bytes]]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    taken = 0
    while block:
        taken += len(block)
        for start in range(0, len(block), _ZSTD_SLICE_BYTES):
            piece = block[start : start + _ZSTD_SLICE_BYTES]
            while piece:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                yield taken, frame.decompress(piece)
                piece = frame.unused_data if frame.eof else b""
        block = _read(stream)
    if not frame.eof:
        raise EOFError("it ends in the middle")


@dataclass(frozen=True, kw_only=True, slots=True)
class OversizedLine:
    """A line that is longer than allowed: only its start is kept. ``sha256`` is of all its bytes, in hex."""

    start: bytes
    size_bytes: int
    sha256: str


def iterate_lines(
    path: Path, *, separator: bytes, max_line_bytes: int
) -> Iterator[tuple[int, int, bytes | OversizedLine]]:
    """(number from 1, byte offset, line without its separator) of every line, in bounded memory."""
    number = 0
    offset = 0
    rest = b""
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            pieces = (rest + block).split(separator) if rest else block.split(separator)
            rest = pieces.pop()
            for piece in pieces:
                number += 1
                yield number, offset, piece if len(piece) <= max_line_bytes else _oversized(piece)
                offset += len(piece) + 1
            if len(rest) > max_line_bytes:
                line, after = _skip_oversized(file, rest, separator)
                number += 1
                yield number, offset, line
                offset += line.size_bytes + 1
                rest = after
        pieces = rest.split(separator)
        if not pieces[-1]:
            pieces.pop()
        for piece in pieces:
            number += 1
            yield number, offset, piece if len(piece) <= max_line_bytes else _oversized(piece)
            offset += len(piece) + 1


def _skip_oversized(file: BinaryIO, start: bytes, separator: bytes) -> tuple[OversizedLine, bytes]:
    digest = hashlib.sha256(start)
    size = len(start)
    while block := file.read(BLOCK_BYTES):
        head, found, after = block.partition(separator)
        digest.update(head)
        size += len(head)
        if found:
            return OversizedLine(start=start[:BLOCK_BYTES], size_bytes=size, sha256=digest.hexdigest()), after
    return OversizedLine(start=start[:BLOCK_BYTES], size_bytes=size, sha256=digest.hexdigest()), b""


def _oversized(line: bytes) -> OversizedLine:
    return OversizedLine(start=line[:BLOCK_BYTES], size_bytes=len(line), sha256=hashlib.sha256(line).hexdigest())


def read_span(descriptor: int, offset: int, length: int) -> bytes:
    """One line of the spool by its place. Raises ``InputError`` where the spool is shorter than the plan says."""
    line = os.pread(descriptor, length, offset)
    if len(line) != length:
        raise InputError(
            "The spool is shorter than its plan.",
            next_step="Sync the same changeset again, which puts it back; or give the run up (elysiactl index abandon) "
            "and sync it anew.",
        )
    return line


def incomplete_input() -> Interrupted:
    """The error of an interruption before the spool was whole."""
    return Interrupted(
        "Interrupted before the input was read whole: nothing of it was applied, and there is no run to resume.",
        next_step="Give the same command again, with its input.",
    )


def span_reader(descriptor: int, spans: Sequence[tuple[int, int]]) -> Callable[[int, int], bytes]:
    """``read_span`` for lines of which some (offset, length) are known to be asked for: read at once where they lie
    close together, since every read gives the interpreter lock away."""
    if spans:
        first = min(offset for offset, _ in spans)
        end = max(offset + length for offset, length in spans)
        if end - first <= _TOGETHER_BYTES:
            block = read_span(descriptor, first, end - first)
            return lambda offset, length: block[offset - first : offset - first + length]
    return partial(read_span, descriptor)
