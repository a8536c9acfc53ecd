"""Checkpoint, store and embedder as resources. Nothing is opened before a step asks for it in its body."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dagster import ConfigurableResource, DagsterLogManager
from pydantic import Field

from elysia_dagster.checkpoint import lookup
from elysia_dagster.defs.executor import die_with_run_worker, keeper
from elysia_dagster.defs.failures import INTERRUPTS
from elysia_dagster.models import RunStatus
from elysia_dagster.settings import Settings
from elysia_dagster.sync.engine import Engine, Work, interrupted, no_fault


class CheckpointResource(ConfigurableResource):  # type: ignore[type-arg]
    """Where the state is kept. Empty fields mean the settings of the environment."""

    state_folder: str = Field(
        default="", description="Folder of the checkpoint database, spools and vectors (ELYSIACTL_CHECKPOINT_DB_DIR)."
    )
    database_url: str = Field(
        default="",
        description="Database URL in place of the SQLite file (ELYSIACTL_CHECKPOINT_DB_URL). It may hold a password: "
        'set the environment variable, or give EnvVar("…").',
    )


class StoreResource(ConfigurableResource):  # type: ignore[type-arg]
    """The vector store of runs whose config names none."""

    url: str = Field(
        default="",
        description="Store URL (ELYSIACTL_STORE; default lancedb:<state folder>/vectors). A server's key is no part of "
        "it: it is read from ELYSIACTL_WEAVIATE_API_KEY when it is needed and never enters a run config.",
    )


class EmbedderResource(ConfigurableResource):  # type: ignore[type-arg]
    """The embedder of runs whose config names none."""

    spec: str = Field(
        default="", description="hashing, openai:<model>, fastembed:<model> or store (ELYSIACTL_EMBEDDER)."
    )
    base_url: str = Field(default="", description="OpenAI-compatible endpoint (ELYSIACTL_OPENAI_BASE_URL).")
    api_key: str = Field(
        default="",
        description="Key of that endpoint. Left empty it is read from ELYSIACTL_OPENAI_API_KEY when it is needed and "
        'never enters a run config; another variable is named by EnvVar("…").',
    )


class EngineResource(ConfigurableResource):  # type: ignore[type-arg]
    """The three together: what a step works with."""

    checkpoint: CheckpointResource
    store: StoreResource
    embedder: EmbedderResource

    def settings(self) -> Settings:
        """The environment's settings, with what the resources say in their place. Raises ``UsageError``."""
        given = {
            "checkpoint_db_dir": self.checkpoint.state_folder,
            "checkpoint_db_url": self.checkpoint.database_url,
            "store": self.store.url,
            "embedder": self.embedder.spec,
            "openai_base_url": self.embedder.base_url,
            "openai_api_key": self.embedder.api_key,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value}
        return replace(Settings.from_environment(), **changes)

    def faults(self) -> Callable[[str], None]:
        """Called at every point between two side effects; a test's subclass kills the process at one of them."""
        return no_fault

    @contextmanager
    def opened(self, log: DagsterLogManager) -> Iterator[Engine]:
        """The engine for the block. Raises ``CheckpointError`` and ``UsageError``."""
        die_with_run_worker()
        engine = Engine.open(self.settings(), faults=self.faults(), say=log.info)
        try:
            yield engine
        finally:
            engine.close()

    @contextmanager
    def work_on(self, run_id: str, *, dagster_run_id: str, log: DagsterLogManager) -> Iterator[Work | None]:
        """The work on a run under its lease, which is left parked for the next step of the same Dagster run.

        None, and a sentence in the log, where the run is finished: there is nothing left to work on. Raises what
        ``Engine.work_on`` raises, and ``Interrupted`` where Dagster ends the step.
        """
        with self.opened(log) as engine:
            run = lookup.load_run(engine.database, run_id)
            if run.status is not RunStatus.RUNNING:
                log.info(f"Run {run_id} is {run.status.value} since {run.completed_at}: nothing is left to do here.")
                yield None
                return
            with engine.work_on(run_id, label=dagster_run_id, keeper=keeper(engine.host)) as work:
                try:
                    yield work
                except INTERRUPTS as error:
                    raise interrupted(run_id) from error
