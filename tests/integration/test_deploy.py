"""The configurations under ``deploy/``, started as a deployment would: web server, daemon, runs through the queue."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from dagster_client import DagsterClient
from dagster_processes import TREE, running_dagster
from dagster_world import DOCUMENTS, World
from lacking import lacking
from sqlalchemy import create_engine
from waiting import wait_until

PASSWORD = "a-password-that-is-in-no-file"
QUEUE = "query { instance { runQueuingSupported runQueueConfig { maxConcurrentRuns tagConcurrencyLimitsYaml } } }"
LIMITED = {"elysiactl/collection": "Demo"}


def config_of(world: World) -> dict[str, Any]:
    """Applies the world's changeset to the state of that world."""
    return {**world.run_config(), "resources": {"checkpoint": {"config": {"state_folder": str(world.state)}}}}


def queue_of(client: DagsterClient) -> dict[str, Any]:
    """How many runs the instance starts at once."""
    instance = client.query(QUEUE)["instance"]
    assert instance["runQueuingSupported"]
    found: dict[str, Any] = instance["runQueueConfig"]
    return found


def test_on_sqlite_runs_of_one_collection_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = []
    for name in ("a", "b", "c", "other"):
        (tmp_path / name).mkdir()
        worlds.append(World(tmp_path / name, monkeypatch))
    fault = tmp_path / "fault"
    fault.write_text("pause:inserted:1")
    with running_dagster(
        tmp_path,
        environment={"ELYSIACTL_CHECKPOINT_DB_DIR": str(tmp_path / "state"), "FAULT_FILE": str(fault)},
        definitions=["-f", str(TREE / "tests" / "faulty_definitions.py"), "-a", "definitions"],
    ) as dagster:
        client = dagster.client
        assert queue_of(client)["maxConcurrentRuns"] == 4
        *runs, other = [
            client.launch("sync_changeset", config_of(world), {"elysiactl/collection": collection})
            for world, collection in zip(worlds, ["Demo", "Demo", "Demo", "Other"], strict=True)
        ]
        for run_id in (*runs[:2], other):
            client.wait(run_id, ["STARTED"])
        assert client.status(runs[2]) == "QUEUED"
        fault.unlink()
        for run_id in (*runs, other):
            assert client.wait(run_id) == "SUCCESS"
    for world in worlds:
        world.assert_applied()


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a PostgreSQL server, with the two databases that the file asks for."""
    if not postgres_server.is_installed():
        lacking("needs PostgreSQL's initdb and postgres, and psycopg")
    with postgres_server.running_server() as address:
        engine = create_engine(f"{address}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in ("dagster", "elysiactl"):
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        yield address.partition("@")[2]


def test_on_postgres_one_server_keeps_all_and_no_file_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    world = World(tmp_path, monkeypatch)
    checkpoint = f"postgresql+psycopg://test:{PASSWORD}@{server}/elysiactl"
    with running_dagster(
        tmp_path,
        environment={
            "ELYSIACTL_CHECKPOINT_DB_DIR": str(world.state),
            "ELYSIACTL_CHECKPOINT_DB_URL": checkpoint,
            "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://test:{PASSWORD}@{server}/dagster",
        },
        instance_config=(TREE / "deploy" / "postgres" / "dagster.yaml").read_text(),
    ) as dagster:
        queue = queue_of(dagster.client)
        assert queue["maxConcurrentRuns"] == 10
        assert "elysiactl/collection" in queue["tagConcurrencyLimitsYaml"]
        run_id = dagster.client.launch("sync_changeset", world.run_config(), LIMITED)
        assert dagster.client.wait(run_id) == "SUCCESS"
        dagster.kill_daemon()
        dagster.start_daemon()
        wait_until("A tick of the sensor after a kill", lambda: dagster.client.sensor("inbox")["ticks"])
    engine = create_engine(checkpoint)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT status, success_count, error_count FROM sync_runs").all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [("completed", DOCUMENTS + 2, 0)]
    assert world.held() == world.truth()
    assert not list(tmp_path.rglob("*.db")), "a SQLite file beside PostgreSQL"
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file
