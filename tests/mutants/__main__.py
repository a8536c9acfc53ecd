"""Every mutant, or those that are named, tried in a copy of the tree: `python -m tests.mutants [NAME…]`.

Ends with 0 where each is caught, and with 1 where one survives, is not to be found once, is no program, or where a test
fails without any mutant. ``--list`` names them, ``--table`` prints what stands in ``tests/crash/README.md``.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from . import MUTANTS, Mutant, Result, Tree
from .mutant import table


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; every one where none is named")
    parser.add_argument("--list", action="store_true", help="their names")
    parser.add_argument("--table", action="store_true", help="the table of tests/crash/README.md")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {each.name for each in MUTANTS}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}. See: python -m tests.mutants --list")
    mutants = [each for each in MUTANTS if each.name in asked.names or not asked.names]
    if asked.list:
        print("\n".join(each.name for each in mutants))
        return 0
    if asked.table:
        print(table(mutants), end="")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        return exit_code(try_all(Path(folder).resolve(), mutants))


def exit_code(results: Iterable[Result]) -> int:
    """0 where every mutant is caught, and there is one at all."""
    return 0 if set(results) == {Result.CAUGHT} else 1


def try_all(folder: Path, mutants: list[Mutant]) -> list[Result]:
    """Prints a line for each as it is tried; what became of them, of none where the tests fail without any."""
    tree = Tree(folder)
    begun = time.monotonic()
    if wrong := tree.untouched(mutants):
        print("Without any mutant these tests do not pass:", *wrong, sep="\n  ")
        return []
    print(f"Without any mutant the tests pass ({time.monotonic() - begun:.0f} s).", flush=True)
    longest = max(len(each.name) for each in mutants)
    results: list[Result] = []
    for each in mutants:
        begun = time.monotonic()
        trial = tree.try_out(each)
        results.append(trial.result)
        seconds = time.monotonic() - begun
        said = " ".join(trial.detail.split())[:100]
        print(f"{trial.result.value:9} {each.name:{longest}} {seconds:5.1f} s  {said}", flush=True)
    counts = ", ".join(f"{count} {result.value}" for result, count in Counter(results).items())
    print(f"{len(mutants)} mutants: {counts}.")
    return results


if __name__ == "__main__":
    sys.exit(main())
