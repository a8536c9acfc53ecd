"""The power goes in the middle of a run: of the state there remains what was synced, and of the rest none or some.

A line that is settled is in the store; what the store holds the database knows of, since *intend* is on the disk before
anything is sent. So the same command again, or a newer changeset first, gives the truth.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from crash.power import Power
from crash.scenario import BASE, KILLED, NEWER
from crash.stage import Stage
from lacking import lacking

from elysia_dagster.settings import DATABASE_NAME

IS_LONG = os.environ.get("LONG") == "1"
RESTS = ("lost", "names", "zeros", *map(str, range(5)))
PLACES = (
    "unsent-removed:1",
    "batch-saved:2",
    "intended:2",
    "committed:1",
    "committed:4",
    "inserted:2",
    "removed:5",
    "unlinked:2",
    "unlinked:5",
    "finished:1",
)
EVERY = [(place, rest) for place in PLACES for rest in RESTS]
SHORT = [
    ("unsent-removed:1", "0"),
    ("committed:4", "lost"),
    ("committed:4", "zeros"),
    ("unlinked:5", "lost"),
    ("inserted:2", "names"),
]
REBOOTED = {"boot": "the one after"}


@pytest.fixture(autouse=True)
def can_record(recorder: Path | None) -> None:
    """Skips without a compiler; in continuous integration that is a failure."""
    if recorder is None:
        lacking("there is no C compiler to build the recorder of syncs with")


@pytest.mark.parametrize(("place", "rest"), EVERY if IS_LONG else SHORT)
def test_power_lost(after_base: Stage, tmp_path: Path, place: str, rest: str) -> None:
    stage = after_base
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    power = Power(stage.state, tmp_path / "kept")
    stage.kill(stage.start_sync(killed, fault=f"kill:{place}", environment=power.environment), place.partition(":")[0])
    power.lose(rest)
    with closing(sqlite3.connect(stage.state / DATABASE_NAME)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    restore = stage.snapshot()
    statuses = [row[0] for row in stage.rows("SELECT status FROM sync_runs ORDER BY sequence")]

    stage.sync(killed, **REBOOTED)
    stage.assert_everything(*([BASE, KILLED, KILLED] if statuses[1:] == ["completed"] else [BASE, KILLED]))

    restore()
    stage.sync(newer, **REBOOTED)
    if statuses[1:] == ["running"]:
        stage.do("resume", run_id=stage.run_ids()[1], **REBOOTED)
        stage.assert_everything(BASE, KILLED, NEWER)
    elif statuses[1:]:
        stage.assert_everything(BASE, KILLED, NEWER)
    else:
        stage.sync(killed, **REBOOTED)
        stage.assert_everything(BASE, NEWER, KILLED)
