"""This project's sync as a contender's script: engine, SQLite checkpoint, batch files and Weaviate store as they are.

``python -m benchmarks.on_weaviate.own_sync ORDER``. Two things are put in: the embedder that all contenders have, and,
where the order wants a rejection, a vector that is cut by one value on its way to the server.
"""

import time

BEGAN = time.perf_counter()

from collections.abc import Sequence  # noqa: E402
from contextlib import closing  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.peers.embedder import DIMENSIONS, CountingEmbedder  # noqa: E402
from benchmarks.peers.orders import WorkOrder, carry_out  # noqa: E402
from benchmarks.world import REPOSITORY_NAME  # noqa: E402
from elysia_dagster.checkpoint.queries import list_runs  # noqa: E402
from elysia_dagster.models import StoreObject  # noqa: E402
from elysia_dagster.settings import Settings  # noqa: E402
from elysia_dagster.stores import weaviate_objects, weaviate_write  # noqa: E402
from elysia_dagster.sync import drive  # noqa: E402
from elysia_dagster.sync.engine import Engine  # noqa: E402
from elysia_dagster.sync.finalize import SyncReport  # noqa: E402
from elysia_dagster.sync.request import ChangesetManifest, SyncRequest  # noqa: E402
from elysia_dagster.sync.retry import retry_run  # noqa: E402


class CommonEmbedder:
    """The contenders' common embedder as this project takes one."""

    model_id = f"bytes-{DIMENSIONS}"
    dimensions = DIMENSIONS

    def __init__(self, embedder: CountingEmbedder) -> None:
        self._embedder = embedder

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Embedder``."""
        return self._embedder.array(texts)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """See ``Embedder``."""
        return sum(len(text.split()) for text in texts)

    def check(self) -> None:
        """It always answers."""

    def close(self) -> None:
        """It holds nothing."""


def sync(order: WorkOrder, embedder: CountingEmbedder) -> dict[str, int]:
    """One run, or (``retry``) the failed lines of the last one again; how many documents had which outcome.

    Raises ``RuntimeError`` where lines failed or ledger and store differ.
    """
    if order.short_text is not None:
        _shorten_on_the_way(order.short_text)
    server = order.server
    store = f"weaviate:http://{server.host}:{server.http_port}?grpc_port={server.grpc_port}"
    with closing(Engine.open(Settings(checkpoint_db_dir=str(order.state), store=store))) as engine:
        engine._embedders[engine.settings.embedder] = CommonEmbedder(embedder)
        report = drive.carry_out(engine, _manifest(engine, order), lambda _work, _report: None)
    assert isinstance(report, SyncReport)
    if len(report.failures) or not all(check.passed for check in report.checks):
        raise RuntimeError(f"{len(report.failures)} failed lines, {report.checks}")
    return report.outcomes


def _manifest(engine: Engine, order: WorkOrder) -> ChangesetManifest:
    if order.options["retry"]:
        (last,) = list_runs(engine.database, limit=1)
        manifest = retry_run(engine, last.run_id)
        assert manifest is not None
        return manifest
    changeset = Path(order.options["changeset"])
    request = SyncRequest(
        changeset=changeset,
        collection=order.collection,
        roots=(changeset.parent,),
        repo=REPOSITORY_NAME,
        batch_size=order.options["batch_size"],
    )
    return drive.sync(engine, request)


def _shorten_on_the_way(text: str) -> None:
    """The adapter would not send such a vector: that the server rejects it can only be had behind its back."""
    made_by_adapter = weaviate_objects.to_data_object

    def shortened(item: StoreObject, vector_name: str | None) -> Any:
        made = made_by_adapter(item, vector_name)
        if item.content == text:
            assert isinstance(made.vector, dict)
            made.vector = {name: values[:-1] for name, values in made.vector.items()}
        return made

    vars(weaviate_write)["to_data_object"] = shortened


if __name__ == "__main__":
    carry_out(sync, ["weaviate", "weaviate-client"], BEGAN)
