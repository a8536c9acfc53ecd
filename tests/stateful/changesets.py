"""Changesets as hypothesis draws them: few documents, so that runs meet in them, and every kind of line."""

import json
from collections.abc import Sequence

from crash.oracle import Key, Line
from crash.scenario import BLANK, delete, folder, inline, on_disk, record, rename, text_of, unreadable
from hypothesis import strategies as st
from soak.changesets import DropBelow

REPOSITORIES = ("alpha", "beta")

TEXTS = tuple(text_of(f"text{number}", chunks) for number, chunks in enumerate((1, 1, 2, 3, 9)))
"""What documents hold. They grow, shrink, and are taken back to what they were."""

PACKAGE = ("f0.py", "f1.py")

Drawn = tuple[str, int, int, int]
"""The kind of a line, and numbers: of its repository, of its document, of a text."""

KINDS = {
    "put": 8,
    "remove": 4,
    "from disk": 3,
    "missing": 3,
    "rename": 2,
    "rename to nothing": 2,
    "folder": 1,
    "remove folder": 2,
    "below folder": 2,
    "not indexed": 1,
    "unreadable": 1,
    "blank": 1,
}

LINES = st.lists(
    st.tuples(
        st.sampled_from([kind for kind, weight in KINDS.items() for _ in range(weight)]),
        st.integers(0, len(REPOSITORIES) - 1),
        st.integers(0, 2),
        st.integers(0, len(TEXTS) - 1),
    ),
    min_size=1,
    max_size=6,
)


def files() -> dict[Key, str]:
    """What is below the root from the beginning."""
    found: dict[Key, str] = {}
    for number, repository in enumerate(REPOSITORIES):
        found[repository, "d0.py"] = text_of(f"disk{number}", 2)
        found[repository, "r0.py"] = text_of(f"renamed{number}", 1 + number)
        for name in PACKAGE:
            found[repository, f"pkg/{name}"] = text_of(f"{repository}_{name[:2]}", 1)
    return found


def late_file(number: int) -> tuple[Key, str]:
    """A file that is not there in the beginning, of those that lines ask for."""
    name = ("late.py", "r1.py")[number // len(REPOSITORIES) % 2]
    return (REPOSITORIES[number % len(REPOSITORIES)], name), text_of(f"late{number % 4}", 2)


def changeset(drawn: Sequence[Drawn], number: int, disk: dict[Key, str]) -> tuple[Line, ...]:
    """The lines, with a record of each repository at the end, which makes the bytes unlike those of any other."""
    renamed: set[Key] = set()
    lines = [_line(each, disk, renamed) for each in drawn]
    names = dict.fromkeys([*(line.repository for line in lines if line.repository in REPOSITORIES)])
    names = names or {REPOSITORIES[0]: None}
    return (*lines, *(record(each, f"{each}-{number}") for each in names))


def _line(drawn: Drawn, disk: dict[Key, str], renamed: set[Key]) -> Line:
    kind, place, document, text = drawn
    repository = REPOSITORIES[place]
    key = (repository, f"m{document}.py")
    if kind in ("rename", "rename to nothing"):
        if key in renamed:  # each side has one rename: which of two counts is for the crash tests to say
            return inline(key, TEXTS[text])
        renamed.add(key)
        new = "r0.py" if kind == "rename" else "r1.py"
        return rename(repository, key[1], new, disk.get((repository, new)))
    if kind == "remove":
        return delete(key)
    if kind == "from disk":
        return on_disk((repository, "d0.py"), disk[repository, "d0.py"])
    if kind == "missing":
        late = (repository, "late.py")
        return inline(late, TEXTS[text]) if document == 0 else on_disk(late, None)
    if kind == "folder":
        return folder(repository, "pkg", {name: disk[repository, f"pkg/{name}"] for name in PACKAGE})
    if kind == "remove folder":
        raw = json.dumps({"repo": repository, "path": "pkg/", "op": "delete"}).encode()
        return Line(raw, (DropBelow((repository, "pkg")),), repository=repository)  # type: ignore[arg-type]
    if kind == "below folder":
        return inline((repository, f"pkg/m{document}.py"), TEXTS[text])
    if kind == "not indexed":
        raw = json.dumps({"repo": repository, "path": key[1], "op": "modify", "skip_index": True}).encode()
        return Line(raw, inline(key, "").effects, repository=repository)
    if kind == "unreadable":
        return unreadable(b'{"path": "cut off %d' % text)
    return BLANK if kind == "blank" else inline(key, TEXTS[text])
