"""A finished run as Dagster's asset events: the collection was written, and what was checked of it."""

from collections.abc import Iterator

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetKey, AssetMaterialization

from elysia_dagster.defs.metadata import report_metadata
from elysia_dagster.sync.finalize import Check, SyncReport

LEDGER_CHECK = "ledger_equals_store"
"""The check of every run that it closed: objects by the ledger and by the store, for each claimed repository."""


def collection_key(collection: str) -> AssetKey:
    """The asset that a collection is."""
    return AssetKey(["collections", collection])


def events_of(report: SyncReport) -> Iterator[AssetMaterialization | AssetCheckEvaluation]:
    """The materialization of the run's collection, then the check of its repositories.

    A difference fails the check and not the run: a document that another run was writing when it died is mended by
    that run's own resume.
    """
    key = collection_key(report.run.collection_name)
    yield AssetMaterialization(
        asset_key=key,
        description=f"Run {report.run.run_id}: {report.run.status.value}.",
        metadata=report_metadata(report),
    )
    if report.checks:
        yield _evaluation(key, report.checks)


def _evaluation(key: AssetKey, checks: tuple[Check, ...]) -> AssetCheckEvaluation:
    different = [check for check in checks if not check.passed]
    return AssetCheckEvaluation(
        asset_key=key,
        check_name=LEDGER_CHECK,
        passed=not different,
        severity=AssetCheckSeverity.WARN,
        description="; ".join(check.detail for check in different) or None,
        metadata={check.name: check.detail for check in checks},
    )
