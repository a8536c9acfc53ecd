"""What a mutant is, and the table of all of them for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The tree that this file lies in; nothing is ever changed there."""

PACKAGE = "elysia_dagster"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A place in the sources that is wrong once ``before`` is replaced by ``after``.

    ``file`` is relative to the package; ``before`` stands in it once. ``tests`` are ids below ``tests/``, without or
    with the part in brackets: each of them must fail, one without brackets in one of its cases at least.
    """

    name: str
    file: str
    before: str
    after: str
    loses: str
    """What would be lost, as a phrase for the table."""
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """The source with the mutant in it. Raises ``ValueError`` unless ``before`` stands there just once."""
        found = source.count(self.before)
        if found != 1:
            raise ValueError(f"{self.name}: its text stands {found} times in {PACKAGE}/{self.file}, not once.")
        return source.replace(self.before, self.after)

    @property
    def module(self) -> str:
        """The module that the file is."""
        return f"{PACKAGE}/{self.file}".removesuffix(".py").replace("/", ".")


def table(mutants: Sequence[Mutant]) -> str:
    """A Markdown table, one row each."""
    rows = [f"| `{each.name}` | `{each.file}` | {each.loses} | {_tests(each)} |" for each in mutants]
    return "\n".join(["| mutant | in | what is lost | fails |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _tests(mutant: Mutant) -> str:
    """The tests without their cases, which have no place in a table."""
    names = dict.fromkeys(test.partition("[")[0].rpartition("/")[2] for test in mutant.tests)
    return ", ".join(f"`{name}`" for name in names)
