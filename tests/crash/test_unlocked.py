"""A run that another host holds is taken from it: killed over that, and with a holder that still lives."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from crash import points
from crash.oracle import COLLECTION
from crash.scenario import BASE, KILLED, NEWER
from crash.stage import Stage

from elysia_dagster.settings import DATABASE_NAME


def move_holder_elsewhere(state: Path) -> None:
    """As if the process that holds a run were one of another host: it cannot be told whether it lives."""
    with closing(sqlite3.connect(state / DATABASE_NAME)) as connection, connection:
        ((owner,),) = connection.execute("SELECT lease_owner FROM sync_runs WHERE lease_owner NOTNULL").fetchall()
        fields = json.loads(owner)
        fields["host"]["name"] = "elsewhere"
        connection.execute(
            "UPDATE sync_runs SET lease_owner = ? WHERE lease_owner NOTNULL", [json.dumps(fields, sort_keys=True)]
        )


@pytest.mark.parametrize("point", points.UNLOCK)
@pytest.mark.parametrize("held_at", ["intended", "inserted"])
def test_killed_while_a_run_is_taken_from_its_holder(after_base: Stage, held_at: str, point: str) -> None:
    stage = after_base
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    stage.kill(stage.start_sync(killed, fault=f"kill:{held_at}:2"), held_at)
    move_holder_elsewhere(stage.state)
    run_id = stage.run_ids()[1]
    for refused in (stage.start("resume", run_id=run_id), stage.start_sync(newer), stage.start_sync(killed)):
        assert refused.wait() == 4
        assert "on elsewhere" in refused.error()
    (refused_run,) = set(stage.run_ids()) - set(stage.run_ids()[:2])

    stage.kill(stage.start("unlock", run_id=run_id, fault=f"kill:{point}:1"), point)
    assert stage.rows("SELECT COUNT(*) FROM documents WHERE state = 'writing'") == [(0,)]
    assert stage.rows("SELECT COUNT(*) FROM documents WHERE state = 'suspect'") != [(0,)]
    restore = stage.snapshot()
    assert stage.do("unlock", run_id=run_id).result() == 0, "it is free"

    stage.do("resume", run_id=run_id)
    stage.do("resume", run_id=refused_run)
    stage.assert_everything(BASE, KILLED, NEWER)

    restore()
    stage.sync(killed)
    stage.sync(newer)
    stage.assert_everything(BASE, KILLED, NEWER)

    restore()
    stage.sync(newer)
    stage.do("resume", run_id=run_id)
    stage.assert_everything(BASE, KILLED, NEWER)


@pytest.mark.parametrize("held_at", ["intended", "inserted", "removed"])
def test_a_holder_that_lives_all_the_same_is_refused(after_base: Stage, held_at: str) -> None:
    stage = after_base
    killed, newer = stage.changeset("killed", KILLED), stage.changeset("newer", NEWER)
    holder = stage.start_sync(killed, fault=f"stop:{held_at}:2")
    holder.wait_for(held_at)
    run_id = stage.run_ids()[1]
    alive = stage.start("unlock", run_id=run_id)
    assert alive.wait() == 4
    assert f"kill {holder.pid}" in alive.error()

    move_holder_elsewhere(stage.state)
    assert stage.do("unlock", run_id=run_id).result() == 1
    stage.sync(newer)
    holder.go_on()
    assert holder.wait() == 4
    assert "was taken over by another process" in holder.error()

    stage.do("resume", run_id=run_id)
    assert stage.do("reconcile", collection=COLLECTION).result() == 0
    stage.assert_documents(BASE, KILLED, NEWER)
