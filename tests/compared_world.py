"""A collection of three documents that is damaged, compared and mended; what then has to be true."""

from typing import Any

from crash.held import lancedb_holds
from crash.oracle import Oracle, assert_collection
from crash.scenario import inline, text_of
from sync_world import COLLECTION, World

from elysia_dagster.sync.reconcile import Comparison, compared
from elysia_dagster.sync.repair import RepairReport, repair

BIG, SMALL, OTHER = ("repo", "big.py"), ("repo", "small.py"), ("other", "pkg/a.py")
TEXTS = {BIG: text_of("big", 5), SMALL: text_of("small"), OTHER: text_of("other", 2)}
LINES = tuple(inline(key, text, "add") for key, text in TEXTS.items())
TRUTH = Oracle().apply(LINES)


def found(world: World, **which: Any) -> tuple[dict[str, dict[str, int]], Comparison]:
    """What differs, by document, and the counts."""
    with compared(world.engine, COLLECTION, **which) as comparison:
        return (
            {
                "/".join((each.held.repository, each.held.path)): {
                    kind.value: count for kind, count in each.differences.items()
                }
                for each in comparison.first_findings()
            },
            comparison,
        )


def mended(world: World, **options: Any) -> RepairReport:
    with compared(world.engine, COLLECTION) as comparison:
        return repair(comparison, **options)


def assert_true(world: World, oracle: Oracle) -> None:
    """The collection is the model's, the ledger knows it, and a comparison agrees."""
    assert_collection(lancedb_holds(world.state, COLLECTION), oracle, tolerance=0.0)
    rows = world.query("SELECT repository, path, state FROM documents WHERE state != 'absent'")
    assert {(repository, path): state for repository, path, state in rows} == dict.fromkeys(oracle.documents, "present")
    assert found(world)[0] == {}
    assert not list((world.state / "work").glob("reconcile-*"))
    assert world.query("SELECT * FROM repository_claims") == []
