"""A repair that is killed: the next one, or a sync and the next one, come to the truth; so does a sync of the rest."""

import json

import pytest
from crash import points
from crash.oracle import COLLECTION
from crash.scenario import BASE, BIG, DUP, GONE, GROW, KILLED, READD, REVERT, SAME, SHRINK
from crash.stage import Stage
from damage import Damage


def damage(stage: Stage) -> Damage:
    """One of each kind, all of which can be mended."""
    made = Damage(stage.state)
    made.remove(BIG, 3)
    made.remove(GROW)
    made.double(DUP)
    made.make_stale(REVERT, 1)
    made.take_vector(SAME)
    made.leave_over(GONE, 7)
    made.leave_over(("beta", "unknown.py"), 0)
    made.set_row(READD, state="suspect")
    made.set_row(SHRINK, state="writing", write_hash=None)
    made.add_foreign()
    return made


@pytest.mark.parametrize("point", points.RECONCILE)
def test_a_repair_that_is_killed(after_base: Stage, point: str) -> None:
    stage = after_base
    damage(stage)
    child = stage.start("reconcile", collection=COLLECTION, fault=f"kill:{point}:1")
    stage.kill(child, point)
    restore = stage.snapshot()

    assert stage.do("reconcile", collection=COLLECTION).result() == 0
    stage.assert_documents(BASE)
    assert {row[0] for row in stage.rows("SELECT status FROM sync_runs")} == {"completed"}
    assert stage.rows("SELECT * FROM repository_claims") == []

    restore()
    stage.sync(stage.changeset("killed", KILLED))
    assert stage.do("reconcile", collection=COLLECTION).result() == 0
    stage.assert_documents(BASE, KILLED)


@pytest.mark.parametrize("point", points.RECONCILE_REST)
def test_what_is_not_to_be_had_is_listed_by_the_next_one(after_base: Stage, point: str) -> None:
    stage = after_base
    made = damage(stage)
    made.double(("alpha", "old.py"))
    (run_id,) = stage.run_ids()
    (stage.state / "work" / run_id / "changeset.jsonl").unlink()
    stage.kill(stage.start("reconcile", collection=COLLECTION, fault=f"kill:{point}:1"), point)

    assert stage.do("reconcile", collection=COLLECTION).result() > 0
    listed = {
        (line["repo"], line["path"])
        for file in stage.state.glob("send-again-*.jsonl")
        for line in map(json.loads, file.read_text().splitlines())
    }
    assert {BIG, GROW, DUP, REVERT, SHRINK, ("alpha", "old.py")} <= listed
    assert SAME not in listed, "its file lies in the working tree as it was"
    stage.sync(stage.changeset("base", BASE), repo="")
    stage.assert_documents(BASE)
    assert stage.do("reconcile", collection=COLLECTION).result() == 0


def test_a_sync_that_meets_a_repair_is_refused(after_base: Stage) -> None:
    stage = after_base
    damage(stage)
    repairing = stage.start("reconcile", collection=COLLECTION, fault="stop:reconcile-deleted:1")
    repairing.wait_for("reconcile-deleted")
    refused = stage.start_sync(stage.changeset("killed", KILLED))
    assert refused.wait() == 4
    assert "is held by run reconcile-" in refused.error()
    second = stage.start("reconcile", collection=COLLECTION)
    assert second.wait() == 4
    assert "index reconcile --collection Demo" in second.error()
    repairing.go_on()
    assert repairing.wait() == 0
    stage.sync(stage.changeset("killed", KILLED))
    assert stage.do("reconcile", collection=COLLECTION).result() == 0
    stage.assert_documents(BASE, KILLED)


def test_an_unfinished_run_is_gone_on_with_after_a_repair(after_base: Stage) -> None:
    """The repair moves no version: what the older run still has to say counts."""
    stage = after_base
    killed = stage.changeset("killed", KILLED)
    stage.kill(stage.start_sync(killed, fault="kill:inserted:2"), "inserted")
    damage_after = Damage(stage.state)
    damage_after.remove(GROW)
    assert stage.do("reconcile", collection=COLLECTION).result() == 0
    stage.do("resume", run_id=stage.run_ids()[1])
    stage.assert_documents(BASE, KILLED)
