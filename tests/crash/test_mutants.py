"""The short form of ``make mutants``: the table is true of the sources, and the tool tells what is caught from what is
not. Every mutant is tried by ``make mutants`` alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS, Mutant, Result
from mutants.__main__ import exit_code
from mutants.mutant import PACKAGE, ROOT, table

QUICK = ("version-not-compared", "boot-not-compared")

BY_NAME = [pytest.param(each, id=each.name) for each in MUTANTS]

PROGRAM = """
import sys, tempfile
from dataclasses import replace
from pathlib import Path
from tests.mutants import MUTANTS
from tests.mutants.__main__ import try_all

first, second = (each for each in MUTANTS if each.name in sys.argv[1:])
mutants = [
    first,
    second,
    replace(second, name="harmless", after=second.before + "            pass\\n"),
    replace(second, name="gone", before="no such text"),
    replace(second, name="no program", after="def"),
]
with tempfile.TemporaryDirectory() as folder:
    try_all(Path(folder).resolve(), mutants)
"""


@pytest.mark.parametrize("mutant", BY_NAME)
def test_its_text_stands_once_and_its_tests_are_there(mutant: Mutant) -> None:
    source = (ROOT / PACKAGE / mutant.file).read_text()
    ast.parse(mutant.applied(source))
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / "tests" / file).read_text(), test


def test_each_has_a_name_of_its_own() -> None:
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)


def test_the_readme_has_their_table() -> None:
    assert table(MUTANTS) in Path(__file__).with_name("README.md").read_text(), "python -m tests.mutants --table"


def test_some_are_caught_and_what_is_not_is_said() -> None:
    """In a process of its own, since this one has imported the package."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *QUICK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = [line.split()[:2] for line in done.stdout.splitlines()]
    assert said[1:-1] == [
        ["caught", QUICK[0]],
        ["caught", QUICK[1]],
        ["survived", "harmless"],
        ["broken", "gone"],
        ["broken", "no"],
    ], done.stdout + done.stderr
    assert done.stdout.endswith("5 mutants: 2 caught, 1 survived, 2 broken.\n")


def test_only_where_all_are_caught_it_ends_with_0() -> None:
    assert exit_code([Result.CAUGHT, Result.CAUGHT]) == 0
    assert exit_code([]) == 1, "the tests fail without any mutant"
    assert all(exit_code([Result.CAUGHT, each]) == 1 for each in Result if each is not Result.CAUGHT)
