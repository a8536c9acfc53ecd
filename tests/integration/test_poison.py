"""A text that the embedding endpoint refuses, or breaks on, fails its own line and no other."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedding_endpoint import Endpoint, Reply, error_reply
from sync_world import RecordingStore, World

from elysia_dagster.embedders import open_embedder
from elysia_dagster.embedders.openai import OpenAIEmbedder
from elysia_dagster.errors import EmbedderUnavailable
from elysia_dagster.models import RunStatus

LONG = "".join(f"def part_{number}():\n" + f"    value = {number}  # filler\n" * 60 + "\n\n" for number in range(8))
POISONED = LONG.replace("value = 5 ", "poison = 5", 1)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, endpoint: Endpoint) -> Iterator[World]:
    with World(tmp_path, store=RecordingStore(), openai_base_url=endpoint.base_url) as made:
        yield made


def breaks_on_poison(endpoint: Endpoint, reply: Reply) -> None:
    """Whatever is asked along with the word ``poison`` gets ``reply``."""
    endpoint.always = lambda body: reply if any("poison" in text for text in body["input"]) else None


def lines(poisoned: str = POISONED) -> list[dict[str, Any]]:
    """Twenty documents; the eighth is of several chunks, and one of them is poisoned."""
    texts = [f"good_{number} = {number}\n" for number in range(20)]
    texts[7] = poisoned
    return [{"repo": "repo", "path": f"f{number}.py", "content": text} for number, text in enumerate(texts)]


def hasten(world: World, endpoint: Endpoint) -> None:
    """No more than a moment for retries."""
    embedder = open_embedder("openai:small@8", openai_base_url=endpoint.base_url)
    assert isinstance(embedder, OpenAIEmbedder)
    embedder._retry_budget_s = 0.1
    world.engine._embedders["openai:small@8"] = embedder


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (error_reply(400, "content policy"), "permanent", "HTTP 400 content policy"),
        (error_reply(500, "EOF"), "retryable", "HTTP 500 EOF"),
    ],
    ids=["refused", "breaks"],
)
def test_one_text_fails_one_line(world: World, endpoint: Endpoint, reply: Reply, kind: str, reason: str) -> None:
    hasten(world, endpoint)
    breaks_on_poison(endpoint, reply)
    run = world.sync(*lines(), embedder="openai:small@8")
    assert (run.status, run.success_count, run.error_count) == (RunStatus.FAILED, 19, 1)
    assert set(world.held()) == {f"repo/f{number}.py" for number in range(20) if number != 7}
    ((line, found, message),) = world.query("SELECT line_number, error_kind, error_message FROM failed_lines")
    assert (line, found) == (8, kind)
    assert message.startswith("Lines ")
    assert reason in message

    taken = [body["input"] for body in endpoint.bodies if not any("poison" in text for text in body["input"])]
    counts = Counter(text for texts in taken for text in texts if text != "probe")
    assert set(counts.values()) == {1}, "a text was embedded twice"
    assert sum("good_" in text for text in counts) == 19
    assert len(endpoint.bodies) < 30

    endpoint.always = lambda _: None
    assert world.retry(run.run_id, permanent=True).status is RunStatus.COMPLETED
    assert len(world.held()) == 20


def test_a_batch_of_nothing_but_poison(world: World, endpoint: Endpoint) -> None:
    breaks_on_poison(endpoint, error_reply(422, "no"))
    run = world.sync({"repo": "repo", "path": "a.py", "content": "poison\n"}, embedder="openai:small@8")
    assert (run.status, world.held()) == (RunStatus.FAILED, {})


def test_an_endpoint_that_takes_nothing_charges_nobody(world: World, endpoint: Endpoint) -> None:
    manifest = world.begin(*lines(LONG), embedder="openai:small@8")
    endpoint.always = lambda _: error_reply(400, "no such model")
    with pytest.raises(EmbedderUnavailable, match="refuses every text"):
        world.finish(manifest)
    assert world.query("SELECT processed_lines, status FROM sync_runs") == [(0, "running")]
    endpoint.always = lambda _: None
    assert world.resume(manifest.run_id).status is RunStatus.COMPLETED
