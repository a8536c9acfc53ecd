"""What one step hands to the next: never values, only which sync run it worked on. The rest lies in the run's folder.

A value is made anew for the step that asks for it, from the checkpoint and the files of the run, so that a step of a
re-execution sees what is so now: what another process settled meanwhile is not given again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dagster import ConfigurableIOManager, InputContext, OutputContext

from elysia_dagster.checkpoint import lookup, steps
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.defs.failures import failing_in_words
from elysia_dagster.defs.metadata import embedding_metadata
from elysia_dagster.defs.resources import EngineResource
from elysia_dagster.errors import CheckpointError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.batch import EmbeddedBatch
from elysia_dagster.sync.embed import BatchMaker
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport, finished_report
from elysia_dagster.sync.measures import CHUNKS_EMBEDDED, counted, measured
from elysia_dagster.sync.plan import BatchPlan
from elysia_dagster.sync.plans import PLAN_NAME, RunPlan
from elysia_dagster.sync.request import ChangesetManifest, manifest_of


def no_batches(_maker: BatchMaker) -> Iterator[EmbeddedBatch]:
    """What a finished run, and a dry one, has to embed."""
    return iter(())


@dataclass(frozen=True, kw_only=True)
class BatchStream:
    """The batches of a run that are not settled, made one by one while they are asked for, under the asker's lease.

    A class of its own, since Dagster refuses an op that returns a generator.
    """

    run_id: str
    batches: Callable[[BatchMaker], Iterator[EmbeddedBatch]] = BatchMaker.batches


class BatchIOManager(ConfigurableIOManager):
    """Every edge of the job."""

    engine: EngineResource

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Remembers the sync run of the step; every batch of a ``BatchStream`` is made and saved before.

        Raises ``Failure`` in the words of the stage that failed.
        """
        run_id = obj.run.run_id if isinstance(obj, SyncReport) else obj.run_id
        with failing_in_words():
            if isinstance(obj, BatchStream):
                self._drain(context, obj)
            with self.engine.opened(context.log) as engine:
                steps.record_step(
                    engine.database, dagster_run_id=context.run_id, step_key=context.step_key, run_id=run_id
                )

    def load_input(self, context: InputContext) -> Any:
        """What the next step takes, by the type it asks for. Raises ``Failure`` where the step is not known here."""
        upstream = context.upstream_output
        assert upstream is not None
        with failing_in_words(), self.engine.opened(context.log) as engine:
            run_id = steps.find_step(engine.database, dagster_run_id=upstream.run_id, step_key=upstream.step_key)
            if run_id is None:
                raise CheckpointError(
                    f"Step {upstream.step_key} of Dagster run {upstream.run_id} is not known in "
                    f"{engine.database.name}: its sync run was cleaned up, or the state folder is another one.",
                    next_step="Launch the job again with its changeset.",
                )
            return _make[context.dagster_type.typing_type](engine, lookup.load_run(engine.database, run_id))

    def _drain(self, context: OutputContext, stream: BatchStream) -> None:
        with self.engine.work_on(stream.run_id, dagster_run_id=context.run_id, log=context.log) as work:
            if work is None:
                return
            batches = changes = 0
            began = time.monotonic()
            with (
                measured(work.folder, "embed") as counts,
                RunPlan(work.folder) as plan,
                BatchMaker(work, plan) as maker,
            ):
                for batch in counted(stream.batches(maker), counts):
                    batches += 1
                    changes += len(batch.changes)
            embedded = counts[CHUNKS_EMBEDDED]
            context.log.info(f"{batches} batches with {changes} changes are ready, {embedded} chunks embedded now.")
            context.add_output_metadata(embedding_metadata(batches, changes, counts, time.monotonic() - began))


def _manifest(_engine: Engine, run: RunRecord) -> ChangesetManifest:
    return manifest_of(run, resumed=False, finished=run.status is not RunStatus.RUNNING)


def _plan(engine: Engine, run: RunRecord) -> BatchPlan:
    folder = engine.run_folder(run.run_id)
    if not (folder / PLAN_NAME).exists():  # only a finished run has none: its files may be gone
        return BatchPlan(run_id=run.run_id, batches=0, repositories=())
    with RunPlan(folder) as plan:
        return BatchPlan(run_id=run.run_id, batches=plan.batches, repositories=tuple(plan.repositories))


def _stream(_engine: Engine, run: RunRecord) -> BatchStream:
    if run.status is not RunStatus.RUNNING or run.dry_run:
        return BatchStream(run_id=run.run_id, batches=no_batches)
    return BatchStream(run_id=run.run_id)


def _report(engine: Engine, run: RunRecord) -> SyncReport:
    return finished_report(engine.database, run)


_make: dict[Any, Callable[[Engine, RunRecord], Any]] = {
    ChangesetManifest: _manifest,
    BatchPlan: _plan,
    BatchStream: _stream,
    SyncReport: _report,
}
