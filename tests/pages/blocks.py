"""The blocks of a page that hold commands, and what stands above them in an HTML comment.

    <!-- not run: why -->        it needs what a test has not, or never ends; the suite knows how many there are
    <!-- long form only: why --> ``make docs-check`` runs it, the suite does not
    <!-- exit 1 -->              it ends with that

Blocks are ``sh`` (lines of a shell), ``console`` (lines behind ``$``, and what they print) and ``sql``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

KINDS = ("sh", "console", "sql")

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>not run|long form only|exit)(?::? (?P<why>.*?))? -->\n)?```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Commands of a page. ``mark`` and ``why`` are the comment's; ``exit_code`` is what they end with."""

    page: str
    line: int
    kind: str
    body: str
    mark: str
    why: str

    @property
    def place(self) -> str:
        """For people."""
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether any form runs it."""
        return self.mark != "not run"

    @property
    def is_short(self) -> bool:
        """Whether the suite runs it."""
        return self.is_run and self.mark != "long form only"

    @property
    def exit_code(self) -> int:
        """0 where nothing is said."""
        return int(self.why) if self.mark == "exit" else 0

    @property
    def commands(self) -> str:
        """What is typed."""
        if self.kind != "console":
            return self.body
        return "".join(line[2:] for line in self.body.splitlines(keepends=True) if line.startswith(("$ ", "> ")))


def pages() -> list[Path]:
    """README and what lies in ``docs``."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Its blocks of commands, in order."""
    text = page.read_text()
    name = page.relative_to(ROOT).as_posix()
    found = [
        Block(
            page=name,
            line=text[: each.start()].count("\n") + 1,
            kind=each["kind"],
            body=each["body"],
            mark=each["mark"] or "",
            why=each["why"] or "",
        )
        for each in _BLOCK.finditer(text)
    ]
    return [each for each in found if each.kind in KINDS]
