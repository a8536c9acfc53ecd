"""Killed while a collection is taken over: refused until that is done again, and then as true as any other."""

import shutil
import uuid
from collections.abc import Sequence

import pytest
from crash import points
from crash.oracle import COLLECTION, Key, Line, Oracle, assert_store
from crash.scenario import BASE, KILLED, NEWER, inline
from crash.stage import Stage

from elysia_dagster.embedders import open_embedder
from elysia_dagster.stores import open_store

UNTOUCHED: Key = ("beta", "stay.py")
"""The one document of ``BASE`` that no line of ``KILLED`` or ``NEWER`` changes: its rename fails."""


def lose_the_state(stage: Stage) -> None:
    """Nothing is left but the store."""
    for each in stage.state.iterdir():
        if each.name != "vectors":
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def give_it_to_another(stage: Stage) -> None:
    """Another checkpoint has taken the collection over: this one knows it under an incarnation that it has no more."""
    store = open_store(f"lancedb:{stage.state / 'vectors'}")
    embedder = open_embedder("hashing")
    there = store.describe(COLLECTION)
    assert there is not None
    store.adopt_collection(
        COLLECTION,
        incarnation=str(uuid.uuid4()),
        model_id=embedder.model_id,
        dimensions=embedder.dimensions,
        expected=there.incarnation,
    )
    store.close()


def refused(stage: Stage, task: str, **arguments: object) -> str:
    """What a start is told that does not adopt."""
    child = stage.start(task, **arguments) if task == "resume" else stage.start_sync(**arguments)  # type: ignore[arg-type]
    assert child.wait() == 2, child.error()
    assert "--adopt" in child.error()
    return child.error()


def assert_true(stage: Stage, *changesets: Sequence[Line]) -> None:
    """A document that was not synced since is suspect; once all are synced, everything is as it should be."""
    oracle = Oracle()
    for lines in changesets:
        oracle.apply(lines)
    assert_store(stage.state, oracle)
    states = {
        (repository, path): state
        for repository, path, state in stage.rows("SELECT repository, path, state FROM documents")
    }
    held = {key for key, state in states.items() if state != "absent"}
    assert held == set(oracle.documents)
    assert {key for key in held if states[key] != "present"} == {UNTOUCHED}
    assert states[UNTOUCHED] == "suspect"
    rest = [inline(key, text) for key, text in oracle.documents.items()]
    stage.sync(stage.changeset("rest", rest))
    stage.assert_documents(*changesets, rest)


@pytest.mark.parametrize("lose", [lose_the_state, give_it_to_another], ids=["state lost", "another's"])
@pytest.mark.parametrize("point", points.ADOPTION)
def test_killed_while_it_is_taken_over(after_base: Stage, point: str, lose: object) -> None:
    stage = after_base
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    assert callable(lose)
    lose(stage)
    stage.kill(stage.start_sync(killed, adopt=True, fault=f"kill:{point}:1"), point)
    restore = stage.snapshot()
    run_id = stage.run_ids()[-1]
    if point == "adopted":
        stage.do("resume", run_id=run_id)
    else:
        refused(stage, "sync", changeset=killed)
        refused(stage, "sync", changeset=newer)
        told = refused(stage, "resume", run_id=run_id)
        assert ("is being taken over" in told) == (point != "adoption-fenced")
        stage.sync(killed, adopt=True)
    assert_true(stage, BASE, KILLED)

    restore()
    stage.sync(newer, adopt=True)
    stage.do("resume", run_id=run_id)
    assert_true(stage, BASE, KILLED, NEWER)


@pytest.mark.parametrize("point", points.REMOVING_UNSURE)
def test_killed_while_a_taken_over_document_is_removed(after_base: Stage, point: str) -> None:
    stage = after_base
    lose_the_state(stage)
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    stage.kill(stage.start_sync(killed, adopt=True, fault=f"kill:{point}:1"), point)
    restore = stage.snapshot()
    (run_id,) = stage.run_ids()

    stage.sync(killed)
    assert_true(stage, BASE, KILLED)

    restore()
    stage.sync(newer)
    stage.do("resume", run_id=run_id)
    assert_true(stage, BASE, KILLED, NEWER)
