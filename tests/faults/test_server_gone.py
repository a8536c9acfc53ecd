"""The server dies and stays away: exit 3 within the budget, nothing charged, and the same command completes later."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.interposed import interpose
from crash.oracle import Line
from crash.scenario import BASE, BATCH_SIZE, NEWER, delete, inline, on_disk, text_of
from crash.within import apply, run_ids
from faults.mortal import MortalServer
from faults.weaviate_world import LARGE, WeaviateWorld, assert_searchable, assert_truth
from sync_world import COLLECTION

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import RunStatus

pytestmark = pytest.mark.weaviate

BUDGET_S = 2.0
PATIENCE_S = 45.0
"""What such a budget comes to, at the very most, on a machine that does much else."""

STOPPED_WITHIN_S = 20.0
"""What half a second comes to on such a machine; the wait would go on for 30."""

COMMAND = [sys.executable, "-c", "from elysia_dagster.cli import main; main()", "index", "sync"]
MANY: tuple[Line, ...] = tuple(inline(("repo", f"d{n}.py"), text_of(f"d{n}")) for n in range(120))


@pytest.fixture
def world(server: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world whose store is not waited for long."""
    with WeaviateWorld(tmp_path, server.url, store_retry_s=BUDGET_S) as opened:
        yield opened


@pytest.mark.parametrize("moment", ["intended:2", "inserted:1", "removed:1", "before-finalize:1"])
def test_gone_in_the_middle_of_a_run(world: WeaviateWorld, server: MortalServer, moment: str) -> None:
    apply(world, BASE)
    passed: list[str] = []
    killed_at: list[float] = []

    def at(point: str) -> None:
        passed.append(point)
        if moment == f"{point}:{passed.count(point)}":
            server.kill()
            killed_at.append(time.monotonic())

    world.engine.faults = at
    with pytest.raises(StoreUnavailable) as error:
        apply(world, NEWER, batch_size=BATCH_SIZE)
    assert time.monotonic() - killed_at[0] < PATIENCE_S
    assert error.value.exit_code == 3
    assert server.address in str(error.value)
    assert_nothing_charged(world)
    assert world.query("SELECT status, lease_owner FROM sync_runs ORDER BY sequence") == [
        ("completed", None),
        ("running", None),
    ]
    server.start()
    run = apply(world, NEWER, batch_size=BATCH_SIZE)
    assert (run.run_id, run.status) == (run_ids(world)[1], RunStatus.COMPLETED), "the same run goes on"
    assert_truth(world, BASE, NEWER)


def test_gone_while_failed_lines_are_tried_again(world: WeaviateWorld, server: MortalServer) -> None:
    """An outage in a retry is no try."""
    (world.root / "repo").mkdir()
    late = ("repo", "late.py")
    run = apply(world, [*BASE, on_disk(late, None)])
    assert run.status is RunStatus.FAILED
    world.write("repo/late.py", text_of("late"))
    before = world.query("SELECT line_number, retry_count, error_message FROM failed_lines")
    assert [(line, count) for line, count, _ in before] == [(len(BASE) + 1, 0)]
    server.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            world.retry(run.run_id)
        assert world.query("SELECT line_number, retry_count, error_message FROM failed_lines") == before
    server.start()
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert_truth(world, [*BASE, on_disk(late, text_of("late"))])


def test_the_command_without_a_server_and_with_one(world: WeaviateWorld, server: MortalServer) -> None:
    """Exit 3 in the middle of a run and again while nothing answers; then the same command exits 0."""
    changeset = world.changeset(*(line.raw for line in MANY))
    process = start(world, changeset, server.url)
    while settled(world) < 10:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    server.kill()
    assert_said(process, world, server)
    assert 10 <= settled(world) < len(MANY)
    assert_said(start(world, changeset, server.url), world, server)
    server.start()
    process = start(world, changeset, server.url)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert len(run_ids(world)) == 1
    assert_truth(world, MANY)


@pytest.mark.parametrize("settled_before", [10, 0])
def test_the_command_is_asked_to_stop_while_it_waits(
    world: WeaviateWorld, server: MortalServer, settled_before: int
) -> None:
    """Exit 130 at once, in the middle of a run and before one has begun; nothing charged, and it can go on."""
    changeset = world.changeset(*(line.raw for line in MANY))
    if not settled_before:
        server.kill()
    process = start(world, changeset, server.url, retry_s=30.0)
    while settled(world) < settled_before or not run_ids(world):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    if settled_before:
        server.kill()
    time.sleep(2.0)  # it waits by now
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    said, _ = process.communicate(timeout=120)
    assert time.monotonic() - asked < STOPPED_WITHIN_S, said
    assert process.returncode == 130, said
    assert "Traceback" not in said
    if settled_before:
        assert f"elysiactl index resume --run-id {run_ids(world)[0]}" in said
    assert_nothing_charged(world)
    server.start()
    process = start(world, changeset, server.url)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert_truth(world, MANY)


def test_the_command_that_never_saw_a_server(world: WeaviateWorld, server: MortalServer) -> None:
    """Nothing was made yet, neither collection nor plan; what was asked for is kept all the same."""
    lines = (inline(("repo", "a.py"), text_of("a", 2)), delete(("repo", "b.py")))
    changeset = world.changeset(*(line.raw for line in lines))
    server.kill()
    assert_said(start(world, changeset, server.url), world, server)
    assert len(run_ids(world)) == 1
    server.start()
    process = start(world, changeset, server.url)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert_truth(world, lines)


def start(world: WeaviateWorld, changeset: Path, url: str, *, retry_s: float = BUDGET_S) -> "subprocess.Popen[str]":
    """``elysiactl index sync`` as a process."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().startswith("elysiactl_")}
    environment |= {
        "ELYSIACTL_CHECKPOINT_DB_DIR": str(world.state),
        "ELYSIACTL_STORE_RETRY": str(retry_s),
        "ELYSIACTL_STORE_CONNECT_TIMEOUT": "5",
    }
    arguments = [str(changeset), "--store", url, "--collection", COLLECTION, "--root", str(world.root)]
    return subprocess.Popen(
        [*COMMAND, *arguments, "--batch-size", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
    )


def settled(world: WeaviateWorld) -> int:
    """Lines of the latest run that are settled."""
    rows = world.query("SELECT processed_lines FROM sync_runs ORDER BY sequence DESC LIMIT 1")
    return int(rows[0][0]) if rows else 0


def assert_said(process: "subprocess.Popen[str]", world: WeaviateWorld, server: MortalServer) -> None:
    """It ended as one that found no store: which one, and what to type next; nothing was charged."""
    began = time.monotonic()
    said, _ = process.communicate(timeout=120)
    assert time.monotonic() - began < PATIENCE_S
    assert process.returncode == 3, said
    assert server.address in said
    assert "elysiactl index resume" in said or "again" in said, said
    assert "Traceback" not in said
    assert_nothing_charged(world)


def assert_nothing_charged(world: WeaviateWorld) -> None:
    """No line failed, and the counters of every run are its rows."""
    assert world.query("SELECT * FROM failed_lines") == [], "an outage was charged to a line"
    counted = world.query("SELECT run_id, processed_lines, success_count, error_count FROM sync_runs")
    for run_id, processed, succeeded, failed in counted:
        ((rows,),) = world.query("SELECT COUNT(*) FROM completed_lines WHERE run_id = ?", run_id)
        assert (processed, succeeded, failed) == (rows, rows, 0)


@pytest.mark.parametrize("after_s", [0.02, 0.06, 0.12])
def test_what_a_killed_server_has_half_written_is_searchable_once_the_run_went_on(
    tmp_path: Path, after_s: float
) -> None:
    """A server of its own: what it acknowledged before, its vector index may have lost (see docs/stores.md)."""
    with (
        MortalServer(tmp_path / "server") as server,
        WeaviateWorld(tmp_path, server.url, store_retry_s=0.2) as world,
    ):
        store, _ = interpose(world.engine)

        def before(name: str) -> None:
            if name == "upsert":
                store.before = lambda _name: None
                server.kill_and_start(after_s=after_s)

        store.before = before
        with pytest.raises(StoreUnavailable):
            apply(world, LARGE, batch_size=40)
        server.join()
        assert_nothing_charged(world)
        assert apply(world, LARGE, batch_size=40).status is RunStatus.COMPLETED
        assert_truth(world, LARGE)
        assert_searchable(server.url)
