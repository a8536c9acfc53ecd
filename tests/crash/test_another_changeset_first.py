"""An older run that comes late, after a newer one: resumed, retried, or both of them killed. Nothing goes back."""

import pytest
from crash.scenario import BASE, KILLED, LATE, MISSING, NEWER, on_disk, rename, text_of
from crash.stage import Stage

_COME = {8: on_disk(MISSING, text_of("missing")), 23: rename("beta", "stay.py", "away.py", text_of("stay"))}
MENDED = tuple(_COME.get(place, line) for place, line in enumerate(KILLED))
"""``KILLED`` when the files have come that two of its lines had missed."""


@pytest.mark.parametrize("older_first", [True, False], ids=["older first", "newer first"])
@pytest.mark.parametrize("point", ["intended", "inserted", "removed", "settled"])
def test_both_killed(after_base: Stage, point: str, older_first: bool) -> None:
    stage = after_base
    stage.kill(stage.start_sync(stage.changeset("killed", KILLED), fault=f"kill:{point}:2"), point)
    stage.kill(stage.start_sync(stage.changeset("newer", NEWER), fault=f"kill:{point}:2"), point)
    _, older, newer = stage.run_ids()
    for run_id in (older, newer) if older_first else (newer, older):
        stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE, KILLED, NEWER)


def test_retried_late(after_base: Stage) -> None:
    """The files that were missing have come: what the newer run has not touched is indexed, the rest stays as it is."""
    stage = after_base
    stage.sync(stage.changeset("killed", KILLED))
    stage.sync(stage.changeset("newer", NEWER))
    stage.assert_everything(BASE, KILLED, NEWER)
    run_id = stage.run_ids()[1]
    with stage.more_files(MISSING, ("beta", "away.py"), LATE):
        stage.do("retry", run_id=run_id, every=True, permanent=True)
    stage.assert_everything(BASE, MENDED, NEWER)


def test_a_retry_is_superseded_by_what_came_between(after_base: Stage) -> None:
    """Asked for again, killed, and then answered by a newer run: the older line writes nothing and is completed."""
    stage = after_base
    lines = (on_disk(MISSING, None), on_disk(LATE, None))
    stage.sync(stage.changeset("older", lines))
    run_id = stage.run_ids()[1]
    with stage.more_files(MISSING, LATE):
        retry = stage.start("retry", run_id=run_id, fault="kill:embedded:1")
        stage.kill(retry, "embedded")
        stage.sync(stage.changeset("newer", NEWER))
        stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE, (on_disk(MISSING, text_of("missing")), on_disk(LATE, text_of("late"))), NEWER)
    assert stage.rows("SELECT outcome FROM completed_lines WHERE run_id = ? AND file_path = 'late.py'", run_id) == [
        ("superseded",)
    ]


@pytest.mark.parametrize(
    ("point", "passing"),
    [("retry-asked", 1), ("plan-drafted", 1), ("planned", 1), ("intended", 1), ("inserted", 1), ("settled", 1)],
)
def test_killed_in_a_late_retry(after_base: Stage, point: str, passing: int) -> None:
    """The same retry again, or a resume, goes on with it."""
    stage = after_base
    stage.sync(stage.changeset("killed", KILLED))
    run_id = stage.run_ids()[1]
    with stage.more_files(MISSING, ("beta", "away.py")):
        retry = stage.start("retry", run_id=run_id, permanent=True, fault=f"kill:{point}:{passing}")
        stage.kill(retry, point)
        restore = stage.snapshot()
        stage.do("retry", run_id=run_id, permanent=True)
        stage.assert_everything(BASE, MENDED)

        restore()
        stage.do("resume", run_id=run_id)
        stage.assert_everything(BASE, MENDED)

        restore()
        stage.sync(stage.changeset("newer", NEWER))
        stage.do("resume", run_id=run_id)
        stage.assert_everything(BASE, MENDED, NEWER)
