"""The checkpoint over weeks: what cleanup takes and leaves, writers side by side, status beside a writer."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from checkpoint_world import Checkpoint, completed
from sync_world import World, sha256

from elysia_dagster.checkpoint import ledger, queries, retention, runs
from elysia_dagster.checkpoint.database import open_database
from elysia_dagster.errors import RepositoriesHeld, TransientError, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.cleanup import ORPHAN_AGE_S, cleanup_checkpoints
from elysia_dagster.sync.plan import plan_batches

ALL = {"keep_days": -1.0}
"""A retention by which every finished run is old."""


def change(path: str, **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": path, **fields}


def ledger_rows(world: World) -> dict[str, str]:
    return dict(world.query("SELECT path, state FROM documents"))


def test_finished_runs_go_after_their_days_with_their_files(light_world: World) -> None:
    run = light_world.sync(change("a.py", content="a\n"), change("missing.py"))
    folder = light_world.state / "work" / run.run_id
    assert (folder / "changeset.jsonl").exists()
    assert cleanup_checkpoints(light_world.engine, keep_days=7).runs == ()
    assert folder.exists()
    report = cleanup_checkpoints(light_world.engine, **ALL)
    assert (report.runs, report.completed_lines, report.failed_lines) == ((run.run_id,), 1, 1)
    assert report.freed_bytes > 0
    assert not folder.exists()
    for table in ("sync_runs", "completed_lines", "failed_lines", "run_repositories", "repository_claims"):
        assert light_world.query(f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert ledger_rows(light_world) == {"a.py": "present"}, "what the collection holds is known all the same"
    again = light_world.sync(change("a.py", content="a\n"))
    assert light_world.outcomes(again) == {1: "unchanged"}


def test_unfinished_runs_stay_however_old(light_world: World) -> None:
    manifest = light_world.begin(change("a.py", content="a\n"))
    assert cleanup_checkpoints(light_world.engine, **ALL).runs == ()
    assert light_world.resume(manifest.run_id).status is RunStatus.COMPLETED


def test_a_run_that_is_excepted_stays(light_world: World) -> None:
    run = light_world.sync(change("a.py", content="a\n"))
    report = cleanup_checkpoints(light_world.engine, **ALL, except_runs=frozenset({run.run_id}))
    assert report.runs == ()


def test_a_tombstone_stays_while_an_older_run_could_still_write_it(light_world: World) -> None:
    older = light_world.sync(change("a.py"), change("b.py", content="b\n"))  # a.py fails: it is not there
    assert older.status is RunStatus.FAILED
    light_world.sync({"repo": "repo", "op": "delete", "path": "b.py"}, {"repo": "repo", "op": "delete", "path": "c.py"})
    assert ledger_rows(light_world) == {"b.py": "absent", "c.py": "absent"}
    assert cleanup_checkpoints(light_world.engine, keep_days=7).tombstones == 0
    assert ledger_rows(light_world) == {"b.py": "absent", "c.py": "absent"}
    light_world.write("repo/a.py", "a\n")
    assert light_world.retry(older.run_id).status is RunStatus.COMPLETED
    assert cleanup_checkpoints(light_world.engine, keep_days=7).tombstones == 2
    assert ledger_rows(light_world) == {"a.py": "present"}


def test_a_tombstone_fences_an_older_run_that_comes_late(light_world: World) -> None:
    older = light_world.begin(change("a.py", content="old\n"))
    light_world.sync({"repo": "repo", "op": "delete", "path": "a.py"})
    cleanup_checkpoints(light_world.engine, **ALL)
    run = light_world.resume(older.run_id)
    assert light_world.outcomes(run) == {1: "superseded"}
    assert light_world.held() == {}


def test_tombstones_of_other_collections_do_not_wait(light_world: World) -> None:
    light_world.sync(change("missing.py"), collection="Other")
    light_world.sync({"repo": "repo", "op": "delete", "path": "a.py"})
    assert cleanup_checkpoints(light_world.engine, keep_days=7).tombstones == 1


def test_folders_that_no_run_names_go_once_they_are_old(light_world: World) -> None:
    run = light_world.sync(change("a.py", content="a\n"))
    work = light_world.state / "work"
    for name in (".incoming-killed", "sync-dropped", "fresh"):
        (work / name).mkdir()
        (work / name / "changeset.jsonl").write_bytes(b"x" * 1000)
    old = time.time() - ORPHAN_AGE_S - 10
    for name in (".incoming-killed", "sync-dropped", run.run_id):
        os.utime(work / name, (old, old))
    report = cleanup_checkpoints(light_world.engine, keep_days=7)
    assert report.freed_bytes == 2000
    assert {each.name for each in work.iterdir()} == {"fresh", run.run_id}


def test_space_is_given_back(light_world: World) -> None:
    light_world.sync(*(change(f"{number}.py", skip_index=True) for number in range(5000)))
    database = light_world.state / "sync_checkpoints.db"
    light_world.engine.database.close()  # the write-ahead log is copied back
    before = database.stat().st_size
    cleanup_checkpoints(light_world.engine, **ALL, give_back_space=True)
    assert database.stat().st_size < before / 2
    assert light_world.query("PRAGMA integrity_check") == [("ok",)]


def test_a_run_that_was_reopened_meanwhile_is_not_dropped(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(0)
    assert retention.drop_run(checkpoint.database, lease.run_id, checkpoint.host) is None
    runs.finish_run(checkpoint.database, lease)
    assert retention.drop_run(checkpoint.database, lease.run_id, checkpoint.host) == (0, 0)
    assert retention.drop_run(checkpoint.database, lease.run_id, checkpoint.host) is None


def test_a_collection_is_forgotten_when_nobody_works_on_it(light_world: World) -> None:
    light_world.sync(change("a.py", content="a\n"))
    url, host = light_world.engine.store_url(), light_world.engine.host
    manifest = light_world.begin(change("b.py", content="b\n"))
    with light_world.engine.work_on(manifest.run_id), pytest.raises(RepositoriesHeld):
        retention.forget_collection(light_world.engine.database, url, "Demo", host)
    assert retention.forget_collection(light_world.engine.database, url, "Demo", host) == 1
    assert ledger_rows(light_world) == {}
    with pytest.raises(UsageError, match="knows no collection Demo"):
        retention.forget_collection(light_world.engine.database, url, "Demo", host)


def test_two_threads_write_at_once_and_none_is_locked_out(checkpoint: Checkpoint) -> None:
    leases = [checkpoint.held(2000), checkpoint.held(2000)]
    start = threading.Barrier(2)

    def work(number: int) -> None:
        start.wait()
        for first in range(1, 2001, 20):
            checkpoint.intend(leases[number], f"{number}-{first}.py", first)
            ledger.settle_batch(
                checkpoint.database,
                leases[number],
                completed=[completed(line) for line in range(first, first + 20)],
            )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    for lease in leases:
        assert runs.finish_run(checkpoint.database, lease).success_count == 2000


def test_status_is_read_while_a_writer_holds_a_transaction(checkpoint: Checkpoint) -> None:
    lease = checkpoint.held(3)
    with checkpoint.database.write() as connection:
        connection.exec_driver_sql("UPDATE sync_runs SET success_count = 2, status = 'failed'")
        [run] = queries.list_runs(checkpoint.database)
        assert (run.run_id, run.success_count, run.status) == (lease.run_id, 0, RunStatus.RUNNING)
        assert queries.summarize(checkpoint.database)["running_runs"] == 1
        assert queries.failed_lines_of(checkpoint.database) == []
    assert queries.list_runs(checkpoint.database)[0].success_count == 2


def test_a_writer_that_holds_on_too_long_is_said_and_nothing_is_lost(target: Any) -> None:
    holder, waiting = open_database(target), open_database(target, timeout_s=0.2)
    with holder.write(), pytest.raises(TransientError, match="held by another writer for too long"), waiting.write():
        pass
    with waiting.write() as connection:
        connection.exec_driver_sql("INSERT INTO sequences VALUES ('x', 1)")
    holder.close()
    waiting.close()


def test_two_worlds_sync_disjoint_repositories_side_by_side(world: World) -> None:
    """Two engines on one state, as two processes have them: both end, and the collection holds both."""
    engines = [world.open_engine(), world.open_engine()]
    lines = [
        [{"repo": f"r{which}", "op": "add", "path": f"{n}.py", "content": f"{which} {n}\n"} for n in range(60)]
        for which in range(2)
    ]
    manifests = [world.begin(*lines[which], engine=engines[which], batch_size=7) for which in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(world.finish, manifests, engines))
    assert [run.status for run in done] == [RunStatus.COMPLETED] * 2
    assert world.held() == {f"r{which}/{n}.py": sha256(f"{which} {n}\n") for which in range(2) for n in range(60)}


def test_an_overlapping_run_is_refused_until_the_other_is_done(world: World) -> None:
    first = world.begin(change("a.py", content="first\n"))
    second = world.begin(change("a.py", content="second\n"))
    with world.engine.work_on(first.run_id) as work:
        plan_batches(work)
        with pytest.raises(RepositoriesHeld, match=f"Repository repo is held by run {first.run_id}") as held:
            world.finish(second)
        assert held.value.exit_code == 4
    assert world.resume(first.run_id).status is RunStatus.COMPLETED
    assert world.resume(second.run_id).status is RunStatus.COMPLETED
    assert world.held() == {"repo/a.py": sha256("second\n")}
