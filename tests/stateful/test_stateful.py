"""Sequences of all that can be done to a collection, drawn by hypothesis. ``make stateful`` plays more of them."""

import itertools
import os
from collections import Counter
from pathlib import Path

import pytest
from crash.zygote import Zygote
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from stateful.machine import Machine

EXAMPLES = int(os.environ.get("EXAMPLES") or 0)
"""Sequences of the long form, other ones each time; 0 for the suite's form, always the same few."""

pytestmark = pytest.mark.timeout(0 if EXAMPLES else 1800)  # a child that hangs ends by its own limit

SHORT, LONG_STEPS = (10, 14), 30
"""The suite's sequences and their steps; the steps of the long form."""


PLAYED = (
    "synced",
    "killed",
    "resumed",
    "retried",
    "abandoned",
    "in doubt",
    "cleaned up",
    "damaged and repaired",
    "rebuilt",
)
"""What must have happened at least once, or the sequences say less than they seem to."""


def test_whatever_is_done_in_whatever_order(zygote: Zygote, tmp_path: Path) -> None:
    numbers = itertools.count()
    played: Counter[str] = Counter()
    examples, steps = (EXAMPLES, LONG_STEPS) if EXAMPLES else SHORT
    run_state_machine_as_test(
        lambda: Machine(zygote, tmp_path / str(next(numbers)), played),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            print_blob=bool(EXAMPLES),
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
        ),
    )
    print(f"{examples} sequences: " + ", ".join(f"{count} {what}" for what, count in sorted(played.items())))
    assert not [what for what in PLAYED if not played[what]], played
