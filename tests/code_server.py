"""A code server of the driver's job, and runs that it starts in processes of their own, as the web server asks it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun
from dagster._cli.job import _create_run
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from waiting import wait_until

DRIVER = Path(__file__).parent / "crash" / "dagster_driver.py"


@contextmanager
def code_server(instance: DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """A process with the environment that this one has now."""
    target = PythonFileTarget(
        python_file=str(DRIVER), attribute="repository", working_directory=None, location_name="driver"
    )
    with create_test_daemon_workspace_context(target, instance) as context:
        yield context


def launch(context: WorkspaceProcessContext, run_config: dict[str, Any]) -> DagsterRun:
    """Starts a run of the job; does not wait for it."""
    workspace = context.create_request_context()
    (location,) = workspace.code_locations
    (repository,) = location.get_repositories().values()
    job = repository.get_full_job("sync_changeset")
    run = _create_run(context.instance, location, repository, job, run_config, None, None, None)
    context.instance.launch_run(run.run_id, workspace)
    return run


def ended(instance: DagsterInstance, run_id: str) -> DagsterRun:
    """The run, when it has come to its end."""
    wait_until("The end of the run", lambda: instance.get_run_by_id(run_id).is_finished)
    return instance.get_run_by_id(run_id)
