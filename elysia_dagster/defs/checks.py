"""The checks of a collection: executable by themselves, and logged by every run that it closed."""

from collections.abc import Iterator, Mapping

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetMaterialization,
    asset_check,
)

from elysia_dagster.defs.assets import collection_key, configured_collection
from elysia_dagster.defs.metadata import materialization_metadata
from elysia_dagster.defs.resources import EngineResource
from elysia_dagster.errors import ElysiaError, UsageError
from elysia_dagster.sync.checks import CHECKS, Answer, look
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import Check, SyncReport
from elysia_dagster.sync.measures import Measures

LEDGER_CHECK = "ledger_equals_store"
"""The check that a run makes of its own repositories, under its claim: objects by the ledger and by the store."""

DESCRIPTIONS = {
    "every_line_settled": "No run waits to be resumed for longer than ELYSIACTL_SETTLE_HOURS.",
    "counters_true": "The counters of every run are its tables' numbers of rows.",
    LEDGER_CHECK: "The store holds as many objects of every repository as the ledger says.",
    "no_failed_line_due": "No failed line waits for a try whose time has come.",
    "freshness": "The last completed run is younger than ELYSIACTL_FRESH_HOURS.",
}


def collection_checks() -> list[AssetChecksDefinition]:
    """Every check of the configured collection."""
    return [_check(name) for name in CHECKS]


def _check(name: str) -> AssetChecksDefinition:
    @asset_check(asset=collection_key(configured_collection()), name=name, description=DESCRIPTIONS[name])
    def check(engine: EngineResource) -> AssetCheckResult:
        """A check that cannot look fails, with the sentence that says why."""
        try:
            answer = _look(engine, name)
        except ElysiaError as error:
            answer = Answer(passed=False, sentence=str(error))
        return AssetCheckResult(
            passed=answer.passed,
            severity=AssetCheckSeverity.WARN,
            description=answer.sentence,
            metadata=answer.numbers,
        )

    return check


def _look(resource: EngineResource, name: str) -> Answer:
    settings = resource.settings()
    if settings.find_database() is None:  # looking makes none
        raise UsageError(
            "There is no checkpoint database: no changeset was applied yet, or the state folder is another one.",
            next_step="Apply a changeset, or set ELYSIACTL_CHECKPOINT_DB_DIR.",
        )
    engine = Engine.open(settings)
    try:
        return look(engine, name)
    finally:
        engine.close()


def events_of(
    report: SyncReport, measures: Measures, answers: Mapping[str, Answer]
) -> Iterator[AssetMaterialization | AssetCheckEvaluation]:
    """The materialization of the run's collection, then what the run knows of its checks.

    A difference fails a check and not the run: a document that another run was writing when it died is mended by that
    run's own resume.
    """
    key = collection_key(report.run.collection_name)
    yield AssetMaterialization(
        asset_key=key,
        description=f"Run {report.run.run_id}: {report.run.status.value}.",
        metadata=materialization_metadata(report, measures),
    )
    known = dict(answers)
    if report.checks:
        known[LEDGER_CHECK] = _compared(report.checks)
    for name, answer in known.items():
        yield AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=answer.passed,
            severity=AssetCheckSeverity.WARN,
            description=answer.sentence,
            metadata=answer.numbers,
        )


def _compared(checks: tuple[Check, ...]) -> Answer:
    different = [check for check in checks if not check.passed]
    sentence = "; ".join(f"{check.name}: {check.detail}" for check in different)
    sentence = sentence or f"{checks[0].detail} of this run are alike in both."
    return Answer(passed=not different, sentence=sentence, numbers={"repositories that differ": len(different)})
