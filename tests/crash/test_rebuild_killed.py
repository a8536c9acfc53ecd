"""A rebuild that is killed: the same command goes on, also after a changeset of the old collection in between."""

from collections.abc import Sequence

import pytest
from crash import points
from crash.oracle import COLLECTION, Line
from crash.scenario import BASE, BATCH_SIZE, NEWER
from crash.stage import Stage
from other_embedder import SPEC

NEW = "Anew"
CLOSED = {"switch-begun", *points.REBUILD[points.REBUILD.index("switch-finished") :]}
"""Killed here the old collection takes no changeset any more."""

REBUILD = {"collection": COLLECTION, "into": NEW, "batch_size": BATCH_SIZE, "switch": True, "drop_old": True}


def assert_rebuilt(stage: Stage, *changesets: Sequence[Line]) -> None:
    """The new collection is whole and in its place, the old one gone."""
    oracle = stage.assert_documents(*changesets, collection=NEW, spec=SPEC)
    stands = stage.rows(
        "SELECT name, repository, commit_id, incomplete FROM repository_changesets NATURAL JOIN collections"
    )
    assert set(stands) == {(NEW, name, commit, 0) for name, (commit, _) in oracle.commits.items()}
    assert stage.rows("SELECT name FROM collections WHERE rebuilt_from IS NOT NULL") == []
    assert stage.rows("SELECT name FROM collections WHERE replaced_by IS NULL") == [(NEW,)]
    assert [each.name for each in (stage.state / "vectors").iterdir() if each.is_dir()] == [f"{NEW}.lance"]
    assert {row[0] for row in stage.rows("SELECT status FROM sync_runs")} <= {"completed", "canceled"}
    assert stage.rows("SELECT * FROM repository_claims") == []


@pytest.mark.parametrize("point", [*points.REBUILD_RUN, *points.REBUILD])
def test_a_rebuild_that_is_killed(after_base: Stage, point: str) -> None:
    stage = after_base
    stage.kill(stage.start("rebuild", fault=f"kill:{point}:1", **REBUILD), point)
    restore = stage.snapshot()

    assert stage.do("rebuild", **REBUILD).result()["switched"]
    assert_rebuilt(stage, BASE)

    restore()
    newer = stage.changeset("newer", NEWER)
    if point not in CLOSED:
        stage.sync(newer)
        assert stage.do("rebuild", **REBUILD).result()["dropped"]
        assert_rebuilt(stage, BASE, NEWER)
        return
    refused = stage.start_sync(newer)
    assert refused.wait() == (4 if point == "switch-begun" else 2)
    assert f"switched over to {NEW}" in refused.error() or f"was rebuilt as {NEW}" in refused.error()
    if point == "switch-begun":  # given again without the switch, it is taken back
        stage.do("rebuild", **{**REBUILD, "switch": False, "drop_old": False})
        stage.sync(newer)
        assert stage.do("rebuild", **REBUILD).result()["dropped"]
        assert_rebuilt(stage, BASE, NEWER)


@pytest.mark.parametrize("point", points.REBUILD_REST)
def test_what_is_not_to_be_had_is_listed_by_the_next_one(after_base: Stage, point: str) -> None:
    stage = after_base
    (run_id,) = stage.run_ids()
    (stage.state / "work" / run_id / "changeset.jsonl").unlink()
    stage.kill(stage.start("rebuild", fault=f"kill:{point}:1", **REBUILD), point)
    done = stage.do("rebuild", **REBUILD).result()
    assert (done["switched"], done["missing"]) == (False, 12), "one file lies in the working tree as it was"
    stage.sync(stage.changeset("base", BASE), force=True)
    assert stage.do("rebuild", **REBUILD).result()["dropped"]
    assert_rebuilt(stage, BASE, BASE)


def test_killed_in_the_middle_and_overtaken_by_what_the_old_collection_says_then(after_base: Stage) -> None:
    """The run that was killed is brought to its end first: its documents are older than what follows."""
    stage = after_base
    stage.kill(stage.start("rebuild", fault="kill:inserted:3", **REBUILD), "inserted")
    stage.sync(stage.changeset("newer", NEWER))
    second = stage.start("rebuild", fault="kill:intended:4", **REBUILD)
    stage.kill(second, "intended")
    assert stage.do("rebuild", **REBUILD).result()["dropped"]
    assert_rebuilt(stage, BASE, NEWER)


def test_two_at_once(after_base: Stage) -> None:
    """The one that comes second is refused, or finds nothing to do; neither brings back what is older."""
    stage = after_base
    first = stage.start("rebuild", fault="stop:inserted:2", **REBUILD)
    first.wait_for("inserted")
    second = stage.start("rebuild", **REBUILD)
    assert second.wait() == 4
    assert "is held by" in second.error()
    first.go_on()
    assert first.wait() == 0, first.error()
    assert_rebuilt(stage, BASE)
