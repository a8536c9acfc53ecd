"""The short form of ``make mutants``: the table is true of the sources, and the tool tells what is caught from what is
not. Every mutant is tried by ``make mutants`` alone."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS, Mutant
from mutants.mutant import PACKAGE, ROOT, table

QUICK = ("version-not-compared", "boot-not-compared", "batch-file-of-other-lines")

BY_NAME = [pytest.param(each, id=each.name) for each in MUTANTS]

PROGRAM = """
import json, sys, tempfile
from dataclasses import replace
from pathlib import Path
from tests.mutants import MUTANTS
from tests.mutants.__main__ import try_all
from tests.mutants.trial import Tree

quick = [each for each in MUTANTS if each.name in sys.argv[1:]]
first = quick[0]
wrong = {
    "harmless": replace(first, after=first.before + "# nothing\\n"),
    "gone": replace(first, before="no such text"),
    "no program": replace(first, after="def"),
    "without its test": replace(first, tests=("unit/test_owner.py::test_that_is_not_there",)),
}
with tempfile.TemporaryDirectory() as folder:
    tree = Tree(Path(folder).resolve())
    results = {name: tree.try_out(each).result.value for name, each in wrong.items()}
with tempfile.TemporaryDirectory() as folder:
    results["quick"] = try_all(Path(folder).resolve(), quick)
with tempfile.TemporaryDirectory() as folder:
    results["one survives"] = try_all(Path(folder).resolve(), [wrong["harmless"]])
print(json.dumps(results))
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


def test_some_are_caught_and_what_is_not_is_said(tmp_path: Path) -> None:
    """In a process of its own, since this one has imported the package."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *QUICK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *said, results = done.stdout.splitlines()
    assert json.loads(results) == {
        "harmless": "survived",
        "gone": "broken",
        "no program": "broken",
        "without its test": "broken",
        "quick": 0,
        "one survives": 1,
    }, said
    assert f"{len(QUICK)} mutants: {len(QUICK)} caught." in said
