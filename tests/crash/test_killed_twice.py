"""Killed, and killed again while that is gone on with, at places drawn by a seed; replay one with ``-k seed-<n>``."""

import random
from collections import Counter

import pytest
from crash import points
from crash.scenario import BASE, KILLED, NEWER
from crash.stage import Stage

SEEDS = range(12)
FIRST = [place for place in points.PLACES if place[0] not in (*points.NO_RUN_YET, *points.RUN_CLOSED)]


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed-{seed}") for seed in SEEDS])
def test_killed_twice(after_base: Stage, seed: int) -> None:
    stage, draw = after_base, random.Random(seed)
    killed = stage.changeset("killed", KILLED)
    point, passing = draw.choice(FIRST)
    stage.kill(stage.start_sync(killed, fault=f"kill:{point}:{passing}"), point)
    run_id = stage.run_ids()[1]
    restore = stage.snapshot()

    passed = stage.do("resume", run_id=run_id).points()  # to know which points there are to die at
    restore()
    counts: Counter[str] = Counter()
    places = [(each, counts.update([each]) or counts[each]) for each in passed if each not in points.RUN_CLOSED]
    again, passing_again = draw.choice(places)
    ending = draw.choice(["sync", "resume", "newer first"])
    print(f"seed {seed}: {point}:{passing}, then {again}:{passing_again}, then {ending}")
    stage.kill(stage.start("resume", run_id=run_id, fault=f"kill:{again}:{passing_again}"), again)

    if ending == "newer first":
        stage.sync(stage.changeset("newer", NEWER))
        stage.do("resume", run_id=run_id)
        stage.assert_everything(BASE, KILLED, NEWER)
        return
    if ending == "sync":
        stage.sync(killed)
    else:
        stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE, KILLED)
