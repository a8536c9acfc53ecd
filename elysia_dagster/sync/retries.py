"""Failed lines of many runs again, one run after the other; what cannot be tried now does not stop the rest."""

from collections.abc import Iterator
from dataclasses import dataclass

from elysia_dagster.checkpoint import lookup
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import (
    ElysiaError,
    Interrupted,
    LeaseLost,
    RepositoriesHeld,
    ResourceExhausted,
    TransientError,
    UsageError,
)
from elysia_dagster.sync.drive import Progress, carry_out
from elysia_dagster.sync.due import find_due
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.request import ChangesetManifest
from elysia_dagster.sync.resume import resume_run
from elysia_dagster.sync.retry import none_eligible, retry_run


@dataclass(frozen=True, kw_only=True)
class RetryRequest:
    """Which failed lines are asked for: of every run those that are due, unless more is said. See ``retry_run``."""

    run_id: str | None = None
    lines: tuple[int, ...] = ()
    every: bool = False
    permanent: bool = False
    max_failures: str | None = None

    def check(self) -> None:
        """Raises ``UsageError`` for what makes no sense together."""
        if self.lines and self.run_id is None:
            raise UsageError(
                "Lines are named, and not the run that they are of.",
                next_step="Add --run-id (in a job's config: run_id).",
            )
        if self.lines and (self.every or self.permanent):
            raise UsageError(
                "Lines that are named are tried whatever their kind.",
                next_step="Leave out --all and --permanent (in a job's config: every and permanent).",
            )


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What came of one run. ``failed_before`` counts its failed lines before the retry.

    ``report`` is None where it was not tried: ``left_out`` then says why as a sentence, and ``error`` is what is not to
    be passed over.
    """

    run_id: str
    failed_before: int = 0
    report: SyncReport | None = None
    left_out: str = ""
    error: ElysiaError | None = None


def retry_runs(engine: Engine, request: RetryRequest, progress: Progress) -> Iterator[Retried]:
    """Tries what is asked for. A run that is named is tried whether its lines are due or not.

    While a store or an embedder is out, the other runs that need it are left out. Raises ``UsageError`` for a request
    that makes no sense, for a run that is named whatever ``retry_run`` and ``carry_out`` raise; ``Interrupted``,
    ``ResourceExhausted``.
    """
    request.check()
    if request.run_id is not None:
        yield _retry(engine, request.run_id, request, progress)
        return
    work = engine.run_folder("x").parent
    due = find_due(engine.database, engine.host, work, every=request.every, permanent=request.permanent)
    for run_id, reason in due.left_out.items():
        yield Retried(run_id=run_id, left_out=reason)
    out: dict[tuple[str | None, str], str] = {}
    for tally in due.runs:
        run_id = tally.run.run_id
        needs = (tally.run.store, tally.run.options.embedder if tally.run.options else "")
        if needs in out:
            yield Retried(run_id=run_id, left_out=f"Left out: run {run_id} needs what run {out[needs]} waits for.")
            continue
        try:
            done = _retry(engine, run_id, request, progress)
        except (Interrupted, ResourceExhausted):
            raise
        except (RepositoriesHeld, LeaseLost) as error:
            done = Retried(run_id=run_id, left_out=f"Left out: {error}")
        except ElysiaError as error:
            if isinstance(error, TransientError):
                out[needs] = run_id
            done = Retried(run_id=run_id, error=error)
        yield done


def _retry(engine: Engine, run_id: str, request: RetryRequest, progress: Progress) -> Retried:
    before = lookup.load_run(engine.database, run_id)
    if not before.error_count and not before.is_half_retried:
        return Retried(run_id=run_id, left_out=f"Run {run_id} has no failed line.")
    manifest = _begin(engine, before, request)
    if manifest is None:
        return Retried(run_id=run_id, failed_before=before.error_count, left_out=none_eligible(run_id))
    report = carry_out(engine, manifest, progress)
    assert isinstance(report, SyncReport)  # a dry run has no failed line
    return Retried(run_id=run_id, failed_before=before.error_count, report=report)


def _begin(engine: Engine, run: RunRecord, request: RetryRequest) -> ChangesetManifest | None:
    """Asks for the lines; a run that an earlier retry has left half way goes on even where none is left to ask for."""
    manifest = retry_run(
        engine,
        run.run_id,
        lines=request.lines,
        every=request.every,
        permanent=request.permanent,
        due_only=request.run_id is None and not request.every,
        max_failures=request.max_failures,
    )
    if manifest is None and run.is_half_retried:
        return resume_run(engine, run.run_id, max_failures=request.max_failures)
    return manifest
