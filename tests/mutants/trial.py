"""Tries mutants: a copy of the tree, one file of it changed at a time, and the tests that must notice."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from .mutant import PACKAGE, ROOT, Mutant

COPIED = (PACKAGE, "tests", "pyproject.toml")

HANGS_AFTER_S = 120
"""Seconds after which a test is taken for hanging; none of those that are named takes a tenth of it."""

_BROKEN = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError")
"""A test that fails so says that the mutant is no program, not that the line matters."""


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
    """A copy of package and tests below ``folder``, in which mutants are tried."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copy = folder / "tree"
        for name in COPIED:
            place = ROOT / name
            if place.is_dir():
                shutil.copytree(place, self._copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(place, self._copy / name)
        # a changed file may have the time and the size of the one before, which is all that a cache looks at
        self._environment = {**os.environ, "PYTHONPATH": str(self._copy), "PYTHONDONTWRITEBYTECODE": "1"}

    def untouched(self, mutants: Sequence[Mutant]) -> list[str]:
        """Runs every mutant's tests as the tree is; those that fail, or do not run."""
        wanted = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        cases = self._run(wanted)
        wrong = [f"{case.id}: {case.complaint}" for case in cases if not case.passed and case.ran]
        return wrong + [f"{test}: no case of it ran" for test in wanted if not any(map(_ran, _of(test, cases)))]

    def try_out(self, mutant: Mutant) -> Trial:
        """Applies a mutant, runs its tests, and takes it back."""
        place = self._copy / PACKAGE / mutant.file
        source = place.read_text()
        try:
            place.write_text(mutant.applied(source))
            if complaint := self._import(mutant):
                return Trial(name=mutant.name, result=Result.BROKEN, detail=complaint)
            return self._judge(mutant, self._run(mutant.tests))
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

    def _import(self, mutant: Mutant) -> str:
        """Why the changed module cannot be imported, or is not the copy's; '' where all is well."""
        program = f"import {mutant.module} as module; print(module.__file__)"
        done = self._python("-c", program)
        if done.returncode:
            return done.stderr.strip().rpartition("\n")[2]
        found = done.stdout.strip()
        return "" if found == str(self._copy / PACKAGE / mutant.file) else f"{found} was imported"

    def _run(self, tests: Sequence[str]) -> list[_Case]:
        report = self._folder / "report.xml"
        report.unlink(missing_ok=True)
        shutil.rmtree(self._folder / "pytest", ignore_errors=True)
        self._python(
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--timeout={HANGS_AFTER_S}",
            f"--basetemp={self._folder / 'pytest'}",
            f"--junitxml={report}",
            *(f"tests/{test}" for test in tests),
        )
        if not report.exists():
            return []
        return [_case(each) for each in ElementTree.parse(report).iter("testcase")]

    def _python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self._copy,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )


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
