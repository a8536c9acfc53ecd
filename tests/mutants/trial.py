"""Tries mutants: a copy of the tree, one file of it changed at a time, and the tests that must notice."""

import contextlib
import importlib
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from xml.etree import ElementTree

from .mutant import PACKAGE, ROOT, Mutant

COPIED = (PACKAGE, "tests", "pyproject.toml")

HANGS_AFTER_S = 120
"""Seconds after which a test is taken for hanging; none of those that are named takes a tenth of it."""

_BROKEN = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError")
"""A test that fails so says that the mutant is no program, not that the line matters."""


_IMPORTED_ONCE = (
    "hypothesis",
    "lancedb",
    "numpy",
    "orjson",
    "pandas",
    "pyarrow",
    "pytest",
    "sklearn.feature_extraction",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
)
"""What takes most of a test's first seconds, and is the same for every mutant: nothing of the package itself."""


class Result(Enum):
    """What became of a mutant."""

    CAUGHT = "caught"  # every test that is named beside it failed
    SURVIVED = "survived"  # one of them passed: a hole in the tests
    BROKEN = "broken"  # its text is not to be found once, or the changed module is no program
    HANGS = "hangs"  # a test did not end: nobody would learn from it what is wrong
    UNTRIED = "untried"  # one of its tests did not run


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of one mutant, and the words for it: of a caught one the first test's complaint."""

    name: str
    result: Result
    detail: str


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One case of a test as pytest reports it; ``complaint`` is None where it passed, and says why it was skipped."""

    id: str
    passed: bool
    ran: bool
    complaint: str


class Tree:
    """A copy of package and tests below ``folder``, in which mutants are tried.

    Each trial is a fork of this process, which has imported what all of them import, and must not have imported the
    package.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copy = folder / "tree"
        for name in COPIED:
            place = ROOT / name
            if place.is_dir():
                shutil.copytree(place, self._copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(place, self._copy / name)
        assert PACKAGE not in sys.modules
        for name in _IMPORTED_ONCE:
            importlib.import_module(name)

    def untouched(self, mutants: Sequence[Mutant]) -> list[str]:
        """Runs every mutant's tests as the tree is; those that fail, or do not run."""
        wanted = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        try:
            cases = self._run(wanted)
        except ValueError as error:
            return [str(error)]
        wrong = [f"{case.id}: {case.complaint}" for case in cases if not case.passed and case.ran]
        return wrong + [f"{test}: no case of it ran" for test in wanted if not any(map(_ran, _of(test, cases)))]

    def try_out(self, mutant: Mutant) -> Trial:
        """Applies a mutant, runs its tests, and takes it back."""
        place = self._copy / PACKAGE / mutant.file
        source = place.read_text()
        try:
            place.write_text(mutant.applied(source))
            return self._judge(mutant, self._run(mutant.tests, mutant.module))
        except ValueError as error:
            return Trial(name=mutant.name, result=Result.BROKEN, detail=str(error))
        finally:
            place.write_text(source)

    def _judge(self, mutant: Mutant, cases: Sequence[_Case]) -> Trial:
        complaints = []
        for test in mutant.tests:
            ran = [case for case in _of(test, cases) if case.ran]
            failed = [case for case in ran if not case.passed]
            if not ran:
                return Trial(name=mutant.name, result=Result.UNTRIED, detail=test)
            if not failed:
                return Trial(name=mutant.name, result=Result.SURVIVED, detail=f"{test} passes")
            complaints += [case.complaint for case in failed]
        for result, words in ((Result.BROKEN, _BROKEN), (Result.HANGS, ("Failed: Timeout",))):
            if said := next((each for each in complaints if each.startswith(words)), None):
                return Trial(name=mutant.name, result=result, detail=said)
        return Trial(name=mutant.name, result=Result.CAUGHT, detail=complaints[0])

    def _run(self, tests: Sequence[str], module: str = "") -> list[_Case]:
        """What became of some tests. Raises ``ValueError`` where ``module`` cannot be imported."""
        report, output = self._folder / "report.xml", self._folder / "output"
        report.unlink(missing_ok=True)
        shutil.rmtree(self._folder / "pytest", ignore_errors=True)
        arguments = [
            "-q",
            "-p",
            "no:cacheprovider",
            # of what is imported already, pytest would rewrite the assertions
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            f"--timeout={HANGS_AFTER_S}",
            f"--basetemp={self._folder / 'pytest'}",
            f"--junitxml={report}",
            *(f"tests/{test}" for test in tests),
        ]
        with warnings.catch_warnings():  # of LanceDB, which has opened nothing yet
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            child = os.fork()
        if not child:
            with _ending_here(output):
                self._enter()
                if module:
                    _import_from(self._copy, module)
                import pytest

                if pytest.main(arguments) not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                    report.unlink(missing_ok=True)  # not of all tests, or of none
        os.waitpid(child, 0)
        if not report.exists():
            raise ValueError(output.read_text().strip().rpartition("\n")[2] or "The tests did not run.")
        return [_case(each) for each in ElementTree.parse(report).iter("testcase")]

    def _enter(self) -> None:
        """Makes the copy what this process, and what it starts, finds the package and the tests in."""
        os.chdir(self._copy)
        # a changed file may have the time and the size of the one before, which is all that a cache looks at
        sys.dont_write_bytecode = True
        os.environ.update(PYTHONPATH=str(self._copy), PYTHONDONTWRITEBYTECODE="1")
        sys.path[:] = [str(self._copy), *(each for each in sys.path if each and Path(each).resolve() != ROOT)]
        for name in [each for each in sys.modules if each == "tests" or each.startswith("tests.")]:
            del sys.modules[name]


@contextlib.contextmanager
def _ending_here(output: Path) -> Iterator[None]:
    """Ends this process, a fork, with the block, whatever happens in it; what it prints goes to ``output``."""
    descriptor = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        yield
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _import_from(tree: Path, module: str) -> None:
    """Imports a module, which must be the one in ``tree``. Raises what its import raises."""
    found = Path(importlib.import_module(module).__file__ or "")
    if not found.is_relative_to(tree):
        raise ImportError(f"{module} was imported from {found}")


def _case(element: ElementTree.Element) -> _Case:
    id_ = f"{element.get('classname', '').removeprefix('tests.').replace('.', '/')}.py::{element.get('name')}"
    failure = element.find("failure")
    skipped = element.find("skipped")
    error = element.find("error")  # of a fixture, or of the import of the test's file: the test has not run
    told = next((each for each in (failure, error, skipped) if each is not None), None)
    return _Case(
        id=id_,
        passed=told is None,
        ran=skipped is None and error is None,
        complaint="" if told is None else (told.get("message") or told.text or "").strip(),
    )


def _of(test: str, cases: Sequence[_Case]) -> list[_Case]:
    return [case for case in cases if case.id == test or case.id.startswith(f"{test}[")]


def _ran(case: _Case) -> bool:
    return case.ran
