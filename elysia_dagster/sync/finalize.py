"""The last stage: every line settled, counters true, ledger and store alike? Then commits move, the run is closed."""

import json
from dataclasses import dataclass, field
from typing import Any

from elysia_dagster.checkpoint import collections, ledger, lookup, queries, reconciling, runs, suspects
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.doubts import verify_suspects
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.plans import RunPlan


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that must be so; a difference is reported and fails the check, not the run."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What became of a run. ``outcomes`` counts lines; ``commits`` gives by repository the new commit, ``stood_at``
    the one before."""

    run: RunRecord
    outcomes: dict[str, int]
    checks: tuple[Check, ...] = ()
    commits: dict[str, str | None] = field(default_factory=dict)
    stood_at: dict[str, str] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    failures: tuple[dict[str, Any], ...] = ()
    objects: int | None = None

    @property
    def repair_command(self) -> str:
        """What to type next, or '' where nothing is left to do."""
        if self.run.status is RunStatus.FAILED:
            return queries.retry_command(self.run, self.failures)
        return ""


FIRST_FAILURES = 20
"""Failed lines that a report shows."""


COUNTED_ONE_BY_ONE = 10
"""Repositories of a run that the store is asked about each; of more, it counts all that it holds at once."""


def finalize_run(work: Work) -> SyncReport:
    """Closes the run. Raises ``CheckpointError`` where a line is unsettled or a counter untrue, ``LeaseLost``."""
    database = work.engine.database
    checks: list[Check] = []
    gaps: list[str] = []
    commits: dict[str, str | None] = {}
    stood_at: dict[str, str] = {}
    objects = None
    if work.collection is not None and not work.run.dry_run:
        work.engine.faults("before-finalize")
        work.check_incarnation()  # a batch of unchanged documents asks the store nothing
        with RunPlan(work.folder) as plan:
            repositories = plan.repositories
        verify_suspects(work)
        checks += _compare(work, repositories)
        objects = work.store.count(work.collection.name)
        failed = collections.repositories_with_failures(database, work.run.run_id)
        changesets: dict[str, Any] = json.loads(lookup.load_run(database, work.run.run_id).changeset_info or "{}")
        stood_at = reconciling.commits_of(database, work.collection.collection_id)
        for repository, record in changesets.items():
            if repository not in failed:
                gap = collections.move_commit(database, work.lease, repository, record)
                commits[repository] = record.get("commit")
                gaps += [gap] if gap else []
                work.engine.faults("commit-moved")
        work.engine.faults("commits-moved")
        # before the run is closed: a finished run is looked at by nobody again
        collections.mark_incomplete(database, work.collection.collection_id)
        work.engine.faults("commits-marked")
    run = runs.finish_run(database, work.lease)
    work.engine.faults("finished")
    return SyncReport(
        run=run,
        outcomes=queries.count_outcomes(database, run.run_id),
        checks=tuple(checks),
        commits=commits,
        stood_at={name: commit for name, commit in stood_at.items() if name in commits},
        gaps=tuple(gaps),
        failures=tuple(queries.failed_lines_of(database, run.run_id, limit=FIRST_FAILURES)),
        objects=objects,
    )


def finished_report(database: Database, run: RunRecord) -> SyncReport:
    """The report of a run that is finished already."""
    return SyncReport(
        run=run,
        outcomes=queries.count_outcomes(database, run.run_id),
        failures=tuple(queries.failed_lines_of(database, run.run_id, limit=FIRST_FAILURES)),
    )


def _compare(work: Work, repositories: list[str]) -> list[Check]:
    """Objects of each claimed repository, by the ledger and by the store."""
    assert work.collection is not None
    checks = []
    # each count reads the column of the whole collection
    counts = work.store.count_by_repository(work.collection.name) if len(repositories) > COUNTED_ONE_BY_ONE else None
    for repository in repositories:
        expected = ledger.count_chunks(work.engine.database, work.collection.collection_id, repository)
        unsure = suspects.count_unsettled(work.engine.database, work.collection.collection_id, repository)
        if counts is None:
            found = work.store.count(work.collection.name, repository=repository)
        else:
            found = counts.get(repository, 0)
        if expected != found or unsure:
            checks.append(
                Check(
                    name=f"ledger equals store: {repository}",
                    passed=False,
                    detail=f"the ledger has {expected} objects ({unsure} documents unsure), the store {found}; "
                    "a document that was being written when a process died is written anew by its own run, one that "
                    "was taken over when it is next synced",
                )
            )
    if not checks:
        checks.append(Check(name="ledger equals store", passed=True, detail=f"{len(repositories)} repositories"))
    return checks
