"""Three repositories and three changesets of them: one that is there, one that is killed, and one that comes after it.

Between them they hold what a changeset can: adds, modifies, deletes, a rename, a document that shrinks from ten chunks
to two and one that grows, one named twice, unchanged and skipped ones, a folder with more files than a batch, lines
that cannot be read or applied, blank lines and changeset records.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crash.oracle import Drop, Key, Line, Put

BATCH_SIZE = 4
FOLDER_FILES = 6


def text_of(name: str, chunks: int = 1) -> str:
    """A Python text that is cut into that many chunks; another ``name`` gives another text."""
    return "".join(_function(name, number) for number in range(chunks))


def _function(name: str, number: int) -> str:
    body = "".join(f"    {name}_value_{step} = weigh(parcel, {number * step}, '{name}')\n" for step in range(32))
    return f"def {name}_{number}(parcel):\n{body}    return {name}_value_0\n\n\n"


def _line(fields: dict[str, Any], *effects: Put | Drop, **of_line: Any) -> Line:
    return Line(json.dumps(fields).encode(), effects, repository=fields.get("repo", ""), **of_line)


def inline(key: Key, text: str, op: str = "modify") -> Line:
    """A line that carries its content."""
    return _line({"repo": key[0], "path": key[1], "op": op, "content": text}, Put(key, text))


def on_disk(key: Key, text: str | None, op: str = "modify") -> Line:
    """A line whose content lies below the root; ``None`` says that it does not."""
    return _line({"repo": key[0], "path": key[1], "op": op}, Put(key, text))


def delete(key: Key) -> Line:
    """A line that removes a document."""
    return _line({"repo": key[0], "path": key[1], "op": "delete"}, Drop(key))


def rename(repository: str, old: str, new: str, text: str | None) -> Line:
    """A rename as git prints it, the new side's content below the root."""
    fields = {"repo": repository, "path": f"{old} -> {new}", "op": "modify"}
    return _line(fields, Drop((repository, old)), Put((repository, new), text))


def folder(repository: str, path: str, files: dict[str, str]) -> Line:
    """An untracked folder; ``files`` are those below it."""
    fields = {"repo": repository, "path": f"{path}/", "op": "add"}
    return _line(fields, *(Put((repository, f"{path}/{name}"), text) for name, text in files.items()))


def record(repository: str, commit: str, parent: str | None = None) -> Line:
    """Where a repository stands."""
    return _line({"repo": repository, "new_changeset": {"commit": commit, "parent": parent}}, commit=commit)


def unreadable(raw: bytes, repository: str = "") -> Line:
    """A line that no second try can mend."""
    return Line(raw, repository=repository, unreadable=True)


BLANK = Line(b"")

BIG, GROW, SHRINK, GONE = ("alpha", "big.py"), ("alpha", "grow.py"), ("alpha", "shrink.py"), ("alpha", "gone.py")
DUP, NEW, LOGO = ("alpha", "dup.py"), ("alpha", "new.py"), ("alpha", "logo.bin")
REVERT, READD, SAME = ("beta", "revert.py"), ("beta", "readd.py"), ("beta", "same.py")
LATE, MISSING = ("beta", "late.py"), ("beta", "missing.py")
PACKAGE = {f"f{number}.py": text_of(f"package{number}") for number in range(FOLDER_FILES)}

BASE: tuple[Line, ...] = (
    inline(BIG, text_of("big", 10), "add"),
    inline(GROW, text_of("grow"), "add"),
    inline(SHRINK, text_of("shrink"), "add"),
    inline(GONE, text_of("gone", 2), "add"),
    inline(DUP, text_of("dup"), "add"),
    inline(LOGO, text_of("logo", 2), "add"),
    inline(("alpha", "old.py"), text_of("renamed"), "add"),
    inline(REVERT, text_of("revert", 2), "add"),
    inline(READD, text_of("readd", 2), "add"),
    inline(SAME, text_of("same"), "add"),
    inline(("beta", "stay.py"), text_of("stay"), "add"),
    inline(("gamma", "tail.py"), text_of("tail"), "add"),
    inline(("gamma", "pkg/f1.py"), text_of("before", 3), "add"),
    record("alpha", "a1"),
    record("beta", "b1"),
    record("gamma", "g1"),
)
"""What is in the collection to begin with."""

KILLED: tuple[Line, ...] = (
    on_disk(BIG, text_of("big", 2)),
    inline(NEW, text_of("new"), "add"),
    delete(GONE),
    on_disk(GROW, text_of("grow", 6)),
    rename("alpha", "old.py", "moved.py", text_of("renamed")),
    BLANK,
    unreadable(b'{"path": "cut off'),
    inline(DUP, text_of("first")),
    on_disk(MISSING, None),
    folder("gamma", "pkg", PACKAGE),
    inline(DUP, text_of("second", 2)),
    on_disk(SAME, text_of("same")),
    inline(("gamma", "pkg/f2.py"), text_of("named")),
    _line(
        {
            "repo": "alpha",
            "path": "logo.bin",
            "op": "modify",
            "content_base64": base64.b64encode(bytes(range(256)) * 8).decode(),
        },
        Put(LOGO, ""),
    ),
    record("alpha", "a2", "a1"),
    unreadable(b'{"repo": "beta", "path": "../../etc/passwd", "op": "modify"}', "beta"),
    record("beta", "b2", "b1"),
    delete(("gamma", "never.py")),
    on_disk(REVERT, text_of("revert", 3)),
    delete(READD),
    on_disk(LATE, None, "add"),
    record("gamma", "g2", "g1"),
    inline(("gamma", "tail.py"), text_of("longer", 2)),
    rename("beta", "stay.py", "away.py", None),
    inline(SHRINK, text_of("shrink", 10)),
)
"""What is killed: eight batches, four lines that fail."""

NEWER: tuple[Line, ...] = (
    inline(BIG, text_of("big", 10)),  # reverted to its old bytes
    delete(GROW),
    inline(GONE, text_of("gone", 2), "add"),  # added again
    inline(SHRINK, text_of("shrink", 2)),  # from ten chunks to two
    inline(REVERT, text_of("revert", 2)),
    inline(LATE, text_of("late"), "add"),  # answers a line of the older run that fails
    delete(("alpha", "moved.py")),
    inline(("alpha", "old.py"), text_of("renamed"), "add"),
    delete(("gamma", "pkg/f1.py")),
    inline(("gamma", "pkg/f3.py"), text_of("other", 3)),
    record("alpha", "a3", "a2"),
    inline(READD, text_of("readd", 2), "add"),
    inline(NEW, text_of("new")),  # just what the older run writes
)
"""What comes after it, and undoes much of it."""


def write_files(root: Path) -> None:
    """The repositories' files as they are when ``KILLED`` is applied, and from then on."""
    for name in ("alpha", "beta", "gamma"):
        (root / name).mkdir(parents=True)
    _write(root, BIG, text_of("big", 2))
    _write(root, GROW, text_of("grow", 6))
    _write(root, ("alpha", "moved.py"), text_of("renamed"))
    _write(root, SAME, text_of("same"))
    _write(root, REVERT, text_of("revert", 3))
    for name, text in PACKAGE.items():
        _write(root, ("gamma", f"pkg/{name}"), text)


def _write(root: Path, key: Key, text: str) -> None:
    place = root / key[0] / key[1]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def write_changeset(place: Path, lines: Sequence[Line]) -> Path:
    """The lines as a file, each ended by a newline."""
    place.write_bytes(b"".join(line.raw + b"\n" for line in lines))
    return place
