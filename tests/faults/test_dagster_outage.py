"""The same by the other driver: a Dagster job whose server dies for good in the middle of its upsert."""

import logging
from pathlib import Path

import pytest
from code_server import code_server, ended, launch
from crash.held import drop_collection
from crash.oracle import COLLECTION, Oracle, assert_everything
from crash.scenario import BLANK, delete, on_disk
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution
from faults.mortal import MortalServer
from loading import load

pytestmark = [
    pytest.mark.weaviate,
    pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
        "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
    ),
]


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("dagster_driver", TESTS / "crash" / "dagster_driver.py")


def test_gone_in_upsert_and_re_executed_from_failure(
    tmp_path: Path, server: MortalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_collection(server.url, COLLECTION)
    world = world_module.World(tmp_path, monkeypatch)
    monkeypatch.setenv("ELYSIACTL_STORE", server.url)
    monkeypatch.setenv("ELYSIACTL_STORE_RETRY", "1")
    monkeypatch.setenv("VICTIM", str(server.pid))
    monkeypatch.setenv("FAULT", "kill-victim:intended:3")
    success, metadata, reason = driver.attempt(world.run_config())
    assert not success
    assert server.address in reason
    assert "finalize_run" not in metadata
    assert metadata["upsert_batches"]["error"].value == "StoreUnavailable"
    assert world.rows("SELECT * FROM failed_lines") == []
    ((status, processed, succeeded),) = world.rows("SELECT status, processed_lines, success_count FROM sync_runs")
    assert (status, processed) == ("running", succeeded)
    # the third batch is intended while the two before it are on their way
    assert succeeded - 1 in (0, world_module.BATCH_SIZE, 2 * world_module.BATCH_SIZE)
    assert world.rows("SELECT COUNT(*) FROM completed_lines") == [(succeeded,)]

    monkeypatch.delenv("FAULT")
    server.start()
    success, _, reason = driver.attempt(world.run_config(), parent=metadata["run"])
    assert success, reason
    assert world.count("before-batch-saved") == world_module.EMBEDDED_BATCHES, "an embedding was made again"
    written = [on_disk(("repo", path), text) for path, text in world.documents.items()]
    lines = [*written, delete(("repo", world_module.DELETED)), BLANK]
    assert_everything(world.state, Oracle().apply(lines), weaviate=server.url)


def test_dagsters_own_retry_takes_the_run_up_whole_at_the_line(
    tmp_path: Path, server: MortalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_collection(server.url, COLLECTION)
    world = world_module.World(tmp_path, monkeypatch)
    with (world.home / "dagster.yaml").open("a") as file:
        file.write("run_retries:\n  enabled: true\n  max_retries: 1\n")
    monkeypatch.setenv("ELYSIACTL_STORE", server.url)
    monkeypatch.setenv("ELYSIACTL_STORE_RETRY", "1")
    monkeypatch.setenv("VICTIM", str(server.pid))
    monkeypatch.setenv("FAULT", "kill-victim:intended:3")
    with DagsterInstance.get() as instance:
        with code_server(instance) as before:
            failed = ended(instance, launch(before, world.run_config()).run_id)
        assert failed.status is DagsterRunStatus.FAILURE
        ((settled,),) = world.rows("SELECT success_count FROM sync_runs WHERE status = 'running'")
        assert world.rows("SELECT * FROM failed_lines") == []

        monkeypatch.delenv("FAULT")
        server.start()
        with code_server(instance) as after:
            records = instance.get_run_records(RunsFilter(run_ids=[failed.run_id]))
            list(consume_new_runs_for_automatic_reexecution(after, records, logging.getLogger("retries")))
            (again,) = instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": failed.run_id}))
            if again.status is DagsterRunStatus.QUEUED:
                instance.launch_run(again.run_id, after.create_request_context())
            assert ended(instance, again.run_id).status is DagsterRunStatus.SUCCESS
        assert again.step_keys_to_execute is None, "whole, not from failure"
        written = instance.all_logs(again.run_id, of_type=DagsterEventType.STEP_OUTPUT)
        (upsert,) = [each.dagster_event for each in written if each.step_key == "upsert_batches"]
        lines = upsert.event_specific_data.metadata["lines settled"].value
        assert settled + lines == world_module.DOCUMENTS + 2, "a line that was settled is not applied again"
    assert world.count("before-batch-saved") == world_module.EMBEDDED_BATCHES, "an embedding was made again"
    written = [on_disk(("repo", path), text) for path, text in world.documents.items()]
    lines = [*written, delete(("repo", world_module.DELETED)), BLANK]
    assert_everything(world.state, Oracle().apply(lines), weaviate=server.url)
