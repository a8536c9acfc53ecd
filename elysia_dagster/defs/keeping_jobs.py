"""The jobs beside ``sync_changeset``: one step each."""

from dagster import GraphDefinition, JobDefinition, OpDefinition

from elysia_dagster.defs.executor import sync_executor
from elysia_dagster.defs.jobs import OUTAGE_RETRIES
from elysia_dagster.defs.keeping_ops import (
    collect_changesets,
    drop_expired_runs,
    reconcile_collection,
    retry_failed_lines,
)


def one_step_job(name: str, step: OpDefinition, description: str) -> JobDefinition:
    """A job of one step, tried again where a store is out."""
    # a graph and a step of one name are refused
    return GraphDefinition(name=f"{step.name}_alone", node_defs=[step]).to_job(
        name=name, description=description, executor_def=sync_executor, op_retry_policy=OUTAGE_RETRIES
    )


RETRY, RECONCILE, CLEANUP, COLLECT = (
    "retry_failed_lines",
    "reconcile_collection",
    "cleanup_checkpoints",
    "collect_changesets",
)

KEEPING_JOBS = [
    one_step_job(
        RETRY,
        retry_failed_lines,
        "Tries failed lines again that are due, of every sync run, or what the config names. What elysiactl index "
        "retry does. A retry that died goes on where it was: launch the job again.",
    ),
    one_step_job(
        RECONCILE,
        reconcile_collection,
        "Compares a collection with the ledger; with repair, mends it. What elysiactl index reconcile does.",
    ),
    one_step_job(
        CLEANUP,
        drop_expired_runs,
        "Drops old finished runs and gives their space back. What elysiactl index cleanup does.",
    ),
    one_step_job(
        COLLECT,
        collect_changesets,
        "Runs a command that prints a changeset (mgit diff), and drops it whole into the inbox.",
    ),
]
