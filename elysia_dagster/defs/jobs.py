"""The job: the stages in a line.

A line and not a dynamic map: killed and re-executed from failure, a map drops the mapped steps that had not begun and
still ends as a success (Dagster 1.13; dagster issues 20925, 30077, 30248).
"""

from dagster import Backoff, Jitter, RetryPolicy, graph

from elysia_dagster.defs.executor import sync_executor
from elysia_dagster.defs.ops import (
    cleanup_checkpoints,
    embed_batches,
    finalize_run,
    plan_batches,
    read_changeset,
    upsert_batches,
)
from elysia_dagster.sync.finalize import SyncReport

OUTAGE_RETRIES = RetryPolicy(max_retries=3, delay=10.0, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS)
"""For an outage of store or embedder, above the adapters' own retries: about 10, 30 and 70 s. The lease stays parked
for longer than that (``Settings.park_s``)."""

RUN_TAGS = {"dagster/retry_strategy": "ALL_STEPS"}
"""How Dagster's own run retries, where they are switched on, take a failed run up: whole. It goes on at its line."""


@graph
def changeset_to_collection() -> SyncReport:
    """The stages, each fed by the one before."""
    stream = embed_batches(plan_batches(read_changeset()))
    return finalize_run(cleanup_checkpoints(upsert_batches(stream)))  # type: ignore[no-any-return]


sync_changeset = changeset_to_collection.to_job(
    name="sync_changeset",
    description="Applies a changeset to a collection. A run that died goes on at the line it had reached: launch the "
    "job again, re-execute it, or give its run_id.",
    tags=RUN_TAGS,
    executor_def=sync_executor,
    op_retry_policy=OUTAGE_RETRIES,
)
