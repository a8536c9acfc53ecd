"""The HTTP embedder, against a real HTTP server that misbehaves in all the ways endpoints do."""

import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from embedding_endpoint import Endpoint, Reply, error_reply, vector_of

from elysia_dagster.embedders import open_embedder
from elysia_dagster.embedders.openai import OpenAIEmbedder, _retry_after_s
from elysia_dagster.embedders.taken import Taken
from elysia_dagster.errors import ElysiaError, EmbedderUnavailable, LineError, UsageError

KEY = "sk-very-secret-4711"


def _unit(text: str, dimensions: int = 8) -> np.ndarray:
    vector = np.array(vector_of(text, dimensions))
    return vector / np.linalg.norm(vector)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def opened(endpoint: Endpoint) -> Iterator[Callable[..., OpenAIEmbedder]]:
    embedders: list[OpenAIEmbedder] = []

    def opened(model: str = "small@8", **options: Any) -> OpenAIEmbedder:
        options = {"base_url": endpoint.base_url, "api_key": KEY, "retry_budget_s": 20.0, **options}
        embedders.append(OpenAIEmbedder(model, **options))
        return embedders[-1]

    yield opened
    for embedder in embedders:
        embedder.close()
        embedder.close()


def _everything_said(error: BaseException) -> str:
    """All text that the error, what it was chained from and their attributes could print."""
    said = "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        said += repr(seen) + repr(vars(seen)) + repr(seen.args)
        seen = seen.__cause__ or seen.__context__
    return said


def test_vectors_come_in_the_order_of_the_texts(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    vectors = opened("small").embed(["one", "two", "three"])
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(np.array([_unit("one"), _unit("two"), _unit("three")]), abs=1e-6)
    assert endpoint.paths == ["/v1/embeddings"] * 2
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"
    assert endpoint.bodies == [
        {"model": "small", "input": ["probe"]},
        {"model": "small", "input": ["one", "two", "three"]},
    ]


def test_dimensions_are_asked_once_or_given(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    learnt = opened("small")
    assert (learnt.dimensions, learnt.dimensions, len(endpoint.bodies)) == (8, 8, 1)
    given = opened("org/small:v1@16")
    assert (given.dimensions, given.model_id, len(endpoint.bodies)) == (16, "openai:org/small:v1@16", 1)
    assert given.embed(["one"]).shape == (1, 16)
    assert endpoint.bodies[-1] == {"model": "org/small:v1", "input": ["one"], "dimensions": 16}
    with pytest.raises(UsageError, match="no dimensions"):
        opened("small@0")


def test_blank_texts_are_zero_and_not_sent(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    vectors = opened().embed(["", "one", " \n\t"])
    assert endpoint.bodies[-1]["input"] == ["one"]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([0, 1, 0], abs=1e-6)
    assert opened().embed([]).shape == (0, 8)
    assert len(endpoint.bodies) == 1


def test_a_lone_surrogate_is_sent_as_a_question_mark(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    opened().embed(["größe \ud800"])
    assert endpoint.bodies[-1]["input"] == ["größe ?"]


def test_a_request_holds_only_so_many_texts(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    texts = [f"text {number}" for number in range(600)]
    vectors = opened().embed(texts)
    assert [len(body["input"]) for body in endpoint.bodies] == [256, 256, 88]
    assert vectors[599] == pytest.approx(_unit("text 599"), abs=1e-6)


def test_without_a_key_no_header_is_sent(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    opened(api_key=None).embed(["one"])
    opened(api_key=" ").embed(["one"])
    assert not any("authorization" in headers for headers in endpoint.headers)


@pytest.mark.parametrize("failure", [*(error_reply(status) for status in (429, 500, 503, 408)), Endpoint.BROKEN])
def test_what_may_pass_is_tried_again(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], failure: Reply
) -> None:
    endpoint.script = [failure, failure]
    assert opened().embed(["one"])[0] == pytest.approx(_unit("one"), abs=1e-6)
    assert len(endpoint.bodies) == 3


def test_a_slow_answer_is_tried_again(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    endpoint.script = [lambda _: time.sleep(0.5)]  # type: ignore[list-item,func-returns-value]
    assert opened(timeout_s=0.2).embed(["one"]).shape == (1, 8)
    assert len(endpoint.bodies) == 2


def test_retry_after_is_waited_for(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    endpoint.script = [error_reply(429, **{"Retry-After": "0.7"})]
    began = time.monotonic()
    opened().embed(["one"])
    assert time.monotonic() - began >= 0.7


def test_retry_after_beyond_the_budget_ends_it_at_once(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]
) -> None:
    endpoint.always = lambda _: error_reply(503, "overloaded", **{"Retry-After": "3600"})
    with pytest.raises(EmbedderUnavailable, match=r"retry budget of 20 s: HTTP 503 overloaded.*later"):
        opened().embed(["one"])
    assert len(endpoint.bodies) == 1


def test_retry_after_reads_seconds_and_dates() -> None:
    assert _retry_after_s("7") == 7
    assert _retry_after_s(formatdate(1_000_060, usegmt=True), now=lambda: 1_000_000.0) == 60
    assert _retry_after_s(formatdate(999_000, usegmt=True), now=lambda: 1_000_000.0) == 0
    assert [_retry_after_s(value) for value in ("", "soon", "-3")] == [0, 0, 0]


def test_an_outage_outlives_the_budget(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    endpoint.always = lambda _: error_reply(500)
    with pytest.raises(EmbedderUnavailable, match="HTTP 500") as caught:
        opened(retry_budget_s=0.3).embed(["one"])
    assert caught.value.exit_code == 3
    assert KEY not in _everything_said(caught.value)


def test_nobody_listens() -> None:
    embedder = OpenAIEmbedder("small@8", base_url="http://127.0.0.1:9", api_key=KEY, retry_budget_s=0.1)
    for call in (embedder.check, lambda: embedder.embed(["one"])):
        with pytest.raises(EmbedderUnavailable, match="ConnectError") as caught:
            call()
        assert KEY not in _everything_said(caught.value)
    embedder.close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_names_the_setting_and_not_the_key(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], status: int
) -> None:
    endpoint.always = lambda _: error_reply(status, f"Incorrect API key provided: {KEY}")
    embedder = opened("small")
    for call in (embedder.check, lambda: embedder.dimensions, lambda: embedder.embed(["one"])):
        with pytest.raises(EmbedderUnavailable, match="Look at ELYSIACTL_OPENAI_API_KEY") as caught:
            call()
        assert KEY not in _everything_said(caught.value)
    assert len(endpoint.bodies) == 3
    assert KEY not in repr(embedder) + repr(embedder._client)


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_key_that_the_endpoint_repeats_is_blotted_out(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], status: int
) -> None:
    endpoint.always = lambda _: error_reply(status, f"you sent {KEY}")
    with pytest.raises(EmbedderUnavailable, match=r"you sent \*\*\*") as caught:
        opened(retry_budget_s=0.1).embed(["one"])
    assert KEY not in _everything_said(caught.value)


def test_an_account_without_money_is_not_asked_again(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    endpoint.always = lambda _: error_reply(429, "You exceeded your current quota", "insufficient_quota")
    with pytest.raises(EmbedderUnavailable, match="exceeded your current quota"):
        opened().embed(["one"])
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_text_is_found_by_halving(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], status: int
) -> None:
    endpoint.always = lambda body: error_reply(status, "too long") if "poison" in body["input"] else None
    texts = [*(f"text {number}" for number in range(300)), "", "poison", "last"]
    with pytest.raises(LineError, match=r"refuses this text \(6 characters\): HTTP \d+ too long") as caught:
        opened().embed(texts)
    assert caught.value.permanent
    assert caught.value.ids["text_index"] == texts.index("poison")
    assert len(endpoint.bodies) < 20


def test_a_request_too_large_as_a_whole_is_halved(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    endpoint.always = lambda body: error_reply(413, "too large") if len(body["input"]) > 3 else None
    texts = [f"text {number}" for number in range(20)]
    assert opened().embed(texts) == pytest.approx(np.array([_unit(text) for text in texts]), abs=1e-6)


NUMBERED = [f"text {number}" for number in range(120)]


def assert_taken(taken: Taken, texts: list[str], refused: set[str]) -> None:
    """Just these are refused; every other text has its vector."""
    assert {texts[index] for index in taken.refused} == refused
    for index, text in enumerate(texts):
        assert taken.vectors[index] == pytest.approx(np.zeros(8) if text in refused else _unit(text), abs=1e-6)


@pytest.mark.parametrize("bad", [{"text 0"}, {"text 119"}, {"text 7", "text 8", "text 90"}, set(NUMBERED[::10])])
def test_no_text_that_was_taken_is_sent_again(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], bad: set[str]
) -> None:
    """Counted at the endpoint: each good text embedded once, and far fewer requests than texts."""
    endpoint.always = lambda body: error_reply(400, "no") if bad & set(body["input"]) else None
    embedder = opened()
    assert_taken(embedder.embed_taken(NUMBERED), NUMBERED, bad)
    good = Counter(text for body in endpoint.bodies if not bad & set(body["input"]) for text in body["input"])
    assert good.pop("probe", 0) <= 1
    assert good == Counter(set(NUMBERED) - bad)
    assert len(endpoint.bodies) <= 2 + 2 * 7 * len(bad)


def test_a_text_without_numbers_is_refused_alone(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    def answer(body: dict[str, Any]) -> Reply | None:
        vectors = [[None] * 8 if text == "poison" else vector_of(text, 8) for text in body["input"]]
        return 200, {}, _answer(*vectors, indices=tuple(range(len(vectors))))

    endpoint.always = answer
    taken = opened().embed_taken(["one", "poison", "two"])
    assert_taken(taken, ["one", "poison", "two"], {"poison"})
    assert (str(taken.refused[1]), taken.refused[1].permanent) == (
        "the embedding endpoint refuses this text (6 characters): its vector holds NaN or infinite values.",
        False,
    )
    assert len(endpoint.bodies) == 1
    endpoint.always = lambda body: (200, {}, _answer(*[[None] * 8] * len(body["input"]), indices=(0,)))
    with pytest.raises(EmbedderUnavailable, match="not numbers"):
        opened().embed_taken(["one"])


@pytest.mark.parametrize("reply", [error_reply(500, "EOF"), (200, {}, b'{"data": [{"index": 0, "embedding": NaN}]}')])
def test_an_endpoint_that_breaks_on_one_text_is_no_outage(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], reply: Reply
) -> None:
    """As Ollama does (500: EOF, or unsupported value: NaN): without this the run would stop there for ever."""
    endpoint.always = lambda body: reply if "text 7" in body["input"] else None
    texts = NUMBERED[:20]
    taken = opened(retry_budget_s=0.2).embed_taken(texts)
    assert_taken(taken, texts, {"text 7"})
    assert not taken.refused[7].permanent, "a server's own failure may be mended"
    assert KEY not in _everything_said(taken.refused[7])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_overload_says_is_an_outage_though_a_word_goes_through(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], status: int
) -> None:
    endpoint.always = lambda body: error_reply(status, "busy") if len(body["input"]) > 1 else None
    with pytest.raises(EmbedderUnavailable, match=f"HTTP {status}"):
        opened(retry_budget_s=0.2).embed_taken(["one", "two"])


def test_an_endpoint_that_refuses_everything_charges_no_text(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]
) -> None:
    """A model that is not there must not fail every line of a repository for good."""
    endpoint.always = lambda _: error_reply(400, "model small does not exist")
    with pytest.raises(EmbedderUnavailable, match="refuses every text for the model 'small'"):
        opened().embed(["one", "two"])


def _answer(*embeddings: Any, indices: tuple[int, ...] = (0, 1)) -> bytes:
    items = [{"index": index, "embedding": vector} for index, vector in zip(indices, embeddings, strict=True)]
    return json.dumps({"data": items}).encode()


@pytest.mark.parametrize(
    "content",
    [
        _answer([1.0] * 8, indices=(0,)),
        _answer([1.0] * 8, [1.0] * 8, indices=(0, 0)),
        _answer([1.0] * 8, [1.0] * 8, indices=(1, 2)),
        _answer([1.0] * 8, [1.0] * 9),
        _answer([], []),
        _answer("AAAA", "AAAA"),
        b'{"data": [{"index": 0}]}',
        b'{"error": "none"}',
        b"[]",
        b"<html>",
        b"",
    ],
)
def test_an_answer_that_is_none_is_an_error(
    endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder], content: bytes
) -> None:
    endpoint.always = lambda _: (200, {}, content)
    with pytest.raises(EmbedderUnavailable, match="something else than embeddings"):
        opened().embed(["one", "two"])


def test_other_dimensions_than_expected_are_an_error(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    embedder = opened("small")
    assert embedder.dimensions == 8
    endpoint.always = lambda _: (200, {}, _answer([1.0] * 9, indices=(0,)))
    with pytest.raises(EmbedderUnavailable, match="9 dimensions where 8 are expected"):
        embedder.embed(["one"])


@pytest.mark.parametrize(
    "base_url", ["", "localhost:80", "ftp://host", "http://", "https://user:sk-pass@host/v1", "http://h?key=sk-pass", "http://[::"]
)  # fmt: skip
def test_a_wrong_address_is_a_usageerror_reply(base_url: str) -> None:
    with pytest.raises(UsageError, match="ELYSIACTL_OPENAI_BASE_URL") as caught:
        OpenAIEmbedder("small", base_url=base_url)
    assert "sk-pass" not in str(caught.value)


@pytest.mark.parametrize("api_key", ["sk-secret\nx", "sk-secret…", "sk-secret x", "sk-secret\x00"])
def test_a_key_that_no_header_can_carry_is_a_usageerror_reply(api_key: str) -> None:
    with pytest.raises(UsageError, match="ELYSIACTL_OPENAI_API_KEY") as caught:
        OpenAIEmbedder("small", base_url="http://127.0.0.1:9", api_key=api_key)
    assert "secret" not in _everything_said(caught.value)


def test_four_threads_at_once(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    embedder = opened("small", texts_per_request=5)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda part: embedder.embed([f"{part} {n}" for n in range(12)]), range(8)))
    for part, vectors in enumerate(made):
        assert vectors == pytest.approx(np.array([_unit(f"{part} {n}") for n in range(12)]), abs=1e-6)


def test_open_embedder_hands_on_address_and_key(endpoint: Endpoint) -> None:
    embedder = open_embedder("openai:small@8", openai_base_url=endpoint.base_url + "/", openai_api_key=KEY)
    embedder.check()
    embedder.close()
    assert endpoint.paths == ["/v1/embeddings"]
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


def test_tokens_are_estimated_without_a_request(endpoint: Endpoint, opened: Callable[..., OpenAIEmbedder]) -> None:
    assert opened().count_tokens(["", "four", "fives", "ää\ud800"]) == 0 + 1 + 2 + 2
    assert endpoint.bodies == []


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "elysia_dagster.embedders.openai")
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ElysiaError, match=r"elysia_dagster\[openai\]") as caught:
        open_embedder("openai:small")
    assert isinstance(caught.value, UsageError)
