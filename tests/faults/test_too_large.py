"""A request larger than the server takes is halved until it fits; an object that alone is larger fails alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.oracle import Line, Put
from crash.scenario import inline, text_of
from crash.within import apply
from faults.mortal import MortalServer
from faults.weaviate_world import WeaviateWorld, assert_truth

from elysia_dagster.models import RunStatus

pytestmark = pytest.mark.weaviate

MESSAGE_BYTES = 15_000
"""What the server takes at once: two objects, which are of about 7 kB each."""

LINES: tuple[Line, ...] = tuple(inline(("repo", f"d{n}.py"), text_of(f"d{n}", 2)) for n in range(25))
TOO_LARGE = ("repo", "a_long_way/" * 150 + "down.txt")
TEXT = "\N{ROCKET}" * 2_000
"""8 kB as UTF-8, beside a vector of 4 kB and twice a path of 2 kB."""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalServer]:
    """A server that takes small messages only."""
    environment = {"GRPC_MAX_MESSAGE_SIZE": str(MESSAGE_BYTES)}
    with MortalServer(tmp_path_factory.mktemp("narrow"), environment=environment) as server:
        yield server


@pytest.fixture
def world(narrow: MortalServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world on it."""
    with WeaviateWorld(tmp_path, narrow.url) as opened:
        yield opened


def test_halved_until_it_fits(world: WeaviateWorld) -> None:
    run = apply(world, LINES)
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, len(LINES))
    assert_truth(world, LINES)


def test_an_object_that_cannot_fit_fails_alone(world: WeaviateWorld) -> None:
    unfit = Line(inline(TOO_LARGE, TEXT).raw, (Put(TOO_LARGE, None),), repository="repo")
    lines = (*LINES[:10], unfit, *LINES[10:])
    run = apply(world, lines)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.FAILED, len(LINES), 1)
    ((number, reason),) = world.query("SELECT line_number, error_message FROM failed_lines")
    assert number == 11
    assert reason.startswith("The store rejected 1 of 1 objects: ")
    assert str(MESSAGE_BYTES) in reason or "larger than max" in reason, reason
    shorter = (inline(TOO_LARGE, "fits\n"),)
    apply(world, shorter)
    assert_truth(world, lines, shorter)
