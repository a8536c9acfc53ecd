"""The resources as the job's ops name them, each configurable at launch."""

from typing import Any

from elysia_dagster.defs.io_manager import BatchIOManager
from elysia_dagster.defs.resources import CheckpointResource, EmbedderResource, EngineResource, StoreResource


def resources(engine: type[EngineResource] = EngineResource) -> dict[str, Any]:
    """Resources by name. The parts are shared: what a run config says of one reaches every op and the IO manager."""
    checkpoint = CheckpointResource.configure_at_launch()
    store = StoreResource.configure_at_launch()
    embedder = EmbedderResource.configure_at_launch()
    whole = engine(checkpoint=checkpoint, store=store, embedder=embedder)
    return {
        "checkpoint": checkpoint,
        "store": store,
        "embedder": embedder,
        "engine": whole,
        "io_manager": BatchIOManager(engine=whole),
    }
