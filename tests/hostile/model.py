"""What a hostile line is, and what its makers have to work with."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from hostile import folder as made

COMPLETED = "completed"
"""Any outcome but failed."""


@dataclass(frozen=True, kw_only=True)
class HostileLine:
    """A line, what it must come to, and what it leaves: content by ``repository/path``, None where nothing may be.

    ``document`` is what several lines name: the last of them counts, the earlier are superseded.
    """

    raw: bytes
    verdict: str
    leaves: dict[str, bytes | None] = field(default_factory=dict)
    kind: str = ""
    document: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the makers of lines know: chance, the line's number, the root, the files of ``repo`` and what each gives."""

    chance: random.Random
    number: int
    root: Path
    files: dict[str, tuple[str, bytes]]

    @property
    def name(self) -> str:
        """A name that no other line has."""
        return f"line{self.number}"


def bad(line: str | bytes | dict[str, object]) -> HostileLine:
    """A line that must fail."""
    return HostileLine(raw=encoded(line), verdict=made.FAILED)


def good(line: str | bytes | dict[str, object], path: str, content: bytes) -> HostileLine:
    """A line that must be applied: ``repo/path`` then holds the content."""
    return HostileLine(raw=encoded(line), verdict=made.INDEXED, leaves={f"repo/{path}": content})


def encoded(line: str | bytes | dict[str, object]) -> bytes:
    """A line as it is written."""
    if isinstance(line, dict):
        return json.dumps(line).encode()
    return line if isinstance(line, bytes) else line.encode()


def record(path: object, **fields: object) -> dict[str, object]:
    """A record of the repository ``repo``."""
    return {"repo": "repo", "op": "modify", "path": path, **fields}
