"""The real job, for ``reconstructable``."""

from dagster import JobDefinition

from elysia_dagster.definitions import definitions


def the_job() -> JobDefinition:
    """``sync_changeset`` as it is deployed."""
    return definitions.get_job_def("sync_changeset")
