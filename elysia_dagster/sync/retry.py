"""Failed lines again: the run is reopened and its failed lines are unsettled until they are settled anew."""

from collections.abc import Sequence

from elysia_dagster.checkpoint import lookup, runs
from elysia_dagster.errors import UsageError
from elysia_dagster.sync.budget import FailureLimit
from elysia_dagster.sync.collection import open_collection
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.request import SPOOL_NAME, ChangesetManifest, manifest_of
from elysia_dagster.sync.resume import with_max_failures


def retry_run(
    engine: Engine,
    run_id: str,
    *,
    lines: Sequence[int] = (),
    every: bool = False,
    permanent: bool = False,
    due_only: bool = False,
    max_failures: str | None = None,
) -> ChangesetManifest | None:
    """Asks for failed lines of a run to be tried again; None where none of them is eligible.

    By default those with tries left; ``every`` whatever their count; ``permanent`` also those that no second try can
    mend; ``lines`` just these; ``due_only`` those whose next try is due; ``max_failures`` stands from now on for
    what the run began with. Raises ``UsageError`` (no such run or line,
    the spool is gone), ``RepositoriesHeld``, ``CollectionMismatch``.
    """
    FailureLimit.parse(max_failures or "")
    run = lookup.load_run(engine.database, run_id)
    if run.options is None or not (engine.run_folder(run_id) / SPOOL_NAME).exists():
        raise UsageError(
            f"The input of run {run_id} is no longer there.", next_step="Send its lines again as a new changeset."
        )
    open_collection(engine, run)  # before the run is reopened: what cannot be written must not wait for it
    asked = runs.request_retry(
        engine.database,
        run,
        host=engine.host,
        max_retries=None if every else run.options.max_retries,
        lines=lines,
        permanent=permanent,
        due_only=due_only,
    )
    engine.faults("retry-asked")
    if not asked:
        return None
    return manifest_of(with_max_failures(engine, lookup.load_run(engine.database, run_id), max_failures), resumed=True)


def none_eligible(run_id: str) -> str:
    """The sentence for a run of which ``retry_run`` tries nothing."""
    return (
        f"Run {run_id} has failed lines, but none that may be tried again: --all asks for those whose tries "
        "are used up, --permanent for those that cannot mend by themselves."
    )
