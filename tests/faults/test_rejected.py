"""The server itself refuses one object of a full request: its line alone is charged, in the server's words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash.oracle import Line
from crash.scenario import BASE, inline, text_of
from crash.within import apply
from faults.mortal import MortalServer
from faults.weaviate_world import WeaviateWorld, assert_truth
from weaviate.collections.batch.grpc_batch import _BatchGRPC

from elysia_dagster.models import RunStatus, object_id

pytestmark = pytest.mark.weaviate

LINES: tuple[Line, ...] = tuple(inline(("repo", f"d{n}.py"), text_of(f"d{n}")) for n in range(200))
POISONED = 117
WORDS = "The store rejected 1 of 1 objects: "


@pytest.fixture
def world(server: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world on a healthy server."""
    with WeaviateWorld(tmp_path, server.url) as opened:
        yield opened


def shorten(monkeypatch: pytest.MonkeyPatch, *ids: str) -> None:
    """Below everything that we check, the client sends another vector for these objects: one of three numbers."""
    whole = _BatchGRPC.grpc_object
    short = np.ones(3, dtype="<f4").tobytes()

    def grpc_object(self: Any, item: Any) -> Any:
        made = whole(self, item)
        if made.uuid in ids:
            if made.vector_bytes:
                made.vector_bytes = short
            for each in made.vectors:
                each.vector_bytes = short
        return made

    monkeypatch.setattr(_BatchGRPC, "grpc_object", grpc_object)


def test_one_of_200_objects_is_rejected(world: WeaviateWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(world, BASE)
    with monkeypatch.context() as patch:
        shorten(patch, object_id(world.collection, "repo", f"d{POISONED}.py", 0))
        run = apply(world, LINES)
        assert (run.status, run.success_count, run.error_count) == (RunStatus.FAILED, 199, 1)
        ((line, count, kind, reason),) = world.query(
            "SELECT line_number, retry_count, error_kind, error_message FROM failed_lines"
        )
        assert (line, count, kind) == (POISONED + 1, 0, "retryable")
        assert reason.startswith(WORDS)
        assert "vector" in reason, "the server's own words"
        assert "length" in reason or "dimension" in reason, reason
        assert world.query("SELECT path FROM documents WHERE state = 'suspect'") == [(f"d{POISONED}.py",)]
        assert world.retry(run.run_id).error_count == 1
        assert world.query("SELECT retry_count FROM failed_lines") == [(1,)]
    assert world.retry(run.run_id).status is RunStatus.COMPLETED
    assert_truth(world, BASE, LINES)


def test_one_object_of_a_document_that_was_there_is_rejected(
    world: WeaviateWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of it beside the refused object is made true by the next run that names it."""
    apply(world, BASE)
    lines = (inline(("alpha", "big.py"), text_of("changed", 5)), inline(("alpha", "dup.py"), text_of("other")))
    with monkeypatch.context() as patch:
        shorten(patch, object_id(world.collection, "alpha", "big.py", 3))
        run = apply(world, lines)
    assert (run.success_count, run.error_count) == (1, 1)
    ((reason,),) = world.query("SELECT error_message FROM failed_lines")
    assert reason.startswith("The store rejected 1 of 5 objects: ")
    newer = (inline(("alpha", "big.py"), text_of("newer", 2)),)
    apply(world, newer)
    assert_truth(world, BASE, lines, newer)
