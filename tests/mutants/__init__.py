"""Are the tests able to fail? The most delicate lines removed or reversed, one at a time, in a copy of the tree: each
time the tests that are named beside the line must fail. ``python -m tests.mutants --help`` lists what it does."""

from .keeping import KEEPING
from .mutant import Mutant
from .overlapping import OVERLAPPING
from .recording import RECORDING
from .sending import SENDING
from .trial import Result, Tree, Trial

MUTANTS: tuple[Mutant, ...] = (*SENDING, *OVERLAPPING, *RECORDING, *KEEPING)

__all__ = ["MUTANTS", "Mutant", "Result", "Tree", "Trial"]
