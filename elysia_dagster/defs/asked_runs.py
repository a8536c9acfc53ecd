"""What became of the Dagster runs that the inbox asked for."""

from collections.abc import Mapping, Sequence

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from elysia_dagster.inbox.outcome import Asked

KEY_TAG = "elysiactl/inbox_key"
"""On every run of a file of the inbox, and on its re-executions: which attempt of which file it is."""

_TOLD = {DagsterEventType.STEP_FAILURE, DagsterEventType.PIPELINE_CANCELING, DagsterEventType.PIPELINE_FAILURE}


def asked_runs(instance: DagsterInstance, keys: Sequence[str]) -> Mapping[str, Asked]:
    """The runs under each key; one query, and one more for each key whose runs have all ended."""
    found: dict[str, list[DagsterRun]] = {}
    if keys:
        for run in instance.get_runs(filters=RunsFilter(tags={KEY_TAG: list(keys)})):  # the newest first
            found.setdefault(run.tags[KEY_TAG], []).append(run)
    return {key: _asked(instance, runs) for key, runs in found.items()}


def _asked(instance: DagsterInstance, runs: Sequence[DagsterRun]) -> Asked:
    run_ids = [run.run_id for run in runs]
    if not all(run.is_finished for run in runs):
        return Asked(dagster_run_ids=run_ids, is_finished=False)
    newest = runs[0]
    error, reason, was_canceling = _last_words(instance, newest)
    return Asked(
        dagster_run_ids=run_ids,
        is_finished=True,
        succeeded=any(run.status is DagsterRunStatus.SUCCESS for run in runs),
        # a run that ends in an error while it is being canceled is called a failure
        was_canceled=newest.status is DagsterRunStatus.CANCELED or was_canceling,
        error=error,
        reason=reason,
    )


def _last_words(instance: DagsterInstance, run: DagsterRun) -> tuple[str, str, bool]:
    """Type and sentence of the error that ended the run, as far as a step told them; whether it was being canceled."""
    if run.status is DagsterRunStatus.SUCCESS:
        return "", "", False
    error = reason = ""
    was_canceling = False
    for record in instance.get_records_for_run(run.run_id, of_type=_TOLD).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type is DagsterEventType.PIPELINE_CANCELING:
            was_canceling = True
            continue
        if event.event_type is DagsterEventType.PIPELINE_FAILURE:
            reason = reason or event.message or ""  # no step has told: a worker that died, a resource
            continue
        told = event.step_failure_data.user_failure_data
        if told is not None:
            kind = told.metadata.get("error")
            error = str(kind.value) if kind is not None else ""
            reason = told.description or ""
        else:
            failed = event.step_failure_data.error
            error, reason = "", failed.message.strip().splitlines()[0] if failed is not None else ""
    return error, reason, was_canceling
