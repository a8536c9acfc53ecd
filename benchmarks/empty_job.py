"""A job of six ops that do nothing, with the imports of the real one: what Dagster itself costs."""

import lancedb  # noqa: F401  what the real job imports when it opens its store
from dagster import Definitions, job, op

import elysia_dagster.definitions
import elysia_dagster.embedders.hashing
import elysia_dagster.stores.lancedb
import elysia_dagster.sync.drive  # noqa: F401
from elysia_dagster.defs.executor import sync_executor


@op
def begin() -> int:
    """The first."""
    return 0


@op
def go_on(before: int) -> int:
    """The five after it."""
    return before + 1


@job(executor_def=sync_executor)
def six_empty_ops() -> None:
    """A line of six."""
    value = begin()
    for number in range(5):
        value = go_on.alias(f"go_on_{number}")(value)


definitions = Definitions(jobs=[six_empty_ops])
