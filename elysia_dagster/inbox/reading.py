"""A file of the inbox read before its turn: is it a changeset, of which bytes, and which repositories does it name?"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from elysia_dagster.errors import InputError, LineError
from elysia_dagster.sync.confine import check_repository_name
from elysia_dagster.sync.parse import read_object
from elysia_dagster.sync.spool import decompressed, open_changeset

_PACKED = {".gz": ("gzip", b"\x1f\x8b"), ".zst": ("zstd", b"\x28\xb5\x2f\xfd")}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """``digest`` is the SHA-256 of the decompressed bytes in hex, ``repositories`` are sorted. ``lines`` counts blank
    ones too."""

    digest: str
    lines: int
    repositories: tuple[str, ...]


class InboxReader:
    """Reads one file a block at a time, so that a tick may stop in the middle and the next one go on. Bounded memory:
    a block and the longest line."""

    def __init__(self, path: Path, *, default_repository: str, max_expansion: int, max_line_bytes: int) -> None:
        """Raises ``InputError`` for a file that cannot be opened, or is not what its name says."""
        self.path = path
        self._default = default_repository
        self._max_line_bytes = max_line_bytes
        self._file: BinaryIO = open_changeset(path)
        self._blocks: Iterator[bytes] = decompressed(self._file, str(path), max_expansion)
        self._digest = hashlib.sha256()
        self._rest = b""
        self._skips = False
        self._lines = self._records = self._filled = 0
        self._repositories: set[str] = set()
        self._check_suffix()

    def close(self) -> None:
        """Gives the file back; may be called twice."""
        self._file.close()

    def read_block(self) -> int:
        """Takes one more block in; how many bytes it has, 0 at the end. Raises ``InputError`` for a broken archive."""
        block = next(self._blocks, None)
        if block is None:
            return 0
        self._digest.update(block)
        pieces = block.split(b"\n")
        if len(pieces) == 1:
            self._keep(block)
        else:
            self._line(self._rest + pieces[0])
            self._rest, self._skips = b"", False
            for piece in pieces[1:-1]:
                self._line(piece)
            self._keep(pieces[-1])
        return len(block) or 1  # a piece of an archive may give nothing yet

    def contents(self) -> Contents:
        """What was found, once all is read. Raises ``InputError`` where no line is a record though the name says so."""
        if self._rest or self._skips:
            self._line(self._rest)
            self._rest, self._skips = b"", False
        if self._filled and not self._records and ".jsonl" in self.path.suffixes:
            raise InputError(
                f"{self.path} is no changeset: none of its {self._filled:,} lines is a JSON object.",
                next_step="Let its producer write it again; a list of paths must not be named .jsonl.",
            )
        return Contents(
            digest=self._digest.hexdigest(), lines=self._lines, repositories=tuple(sorted(self._repositories))
        )

    def _check_suffix(self) -> None:
        packing = _PACKED.get(self.path.suffix)
        if packing is None:
            return
        name, magic = packing
        with open_changeset(self.path) as file:
            if file.read(len(magic)) != magic:
                self.close()
                raise InputError(f"{self.path} is no {name} archive.", next_step="Let its producer write it again.")

    def _keep(self, piece: bytes) -> None:
        """A line that goes on in the next block; of one that is too long only its start is kept."""
        if len(self._rest) <= self._max_line_bytes:
            self._rest += piece
        else:
            self._skips = True

    def _line(self, line: bytes) -> None:
        self._lines += 1
        if len(line) > self._max_line_bytes or self._skips:
            self._filled += 1
            return  # settled as too long: it changes no document
        if line.startswith(b"\xef\xbb\xbf") and self._lines == 1:
            line = line[3:]
        if not line or line.isspace():
            return
        self._filled += 1
        repository = self._default
        if line.startswith(b"{"):
            with suppress(LineError):  # a path that begins so, or unreadable: the default's at most
                record = read_object(line)
                self._records += 1
                named = record.get("repo")
                if named is not None and not isinstance(named, str):
                    return
                repository = named or self._default
        if repository not in self._repositories:
            with suppress(LineError):  # such a line is settled without a document
                self._repositories.add(check_repository_name(repository))
