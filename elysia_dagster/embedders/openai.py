"""Embeddings from any endpoint that speaks OpenAI's ``POST /embeddings`` (OpenAI, Azure's v1, Ollama, vLLM, LiteLLM,
…).

Retried here and nowhere else: 408, 409, 425, 429, 5xx, timeouts and broken connections, with jitter, no sooner than
``Retry-After`` says, within a budget of seconds. What remains is an outage (``EmbedderUnavailable``, nothing is
charged to a line), except that a text which the endpoint refuses, while it takes another, is that line's fault
(``LineError``): whether it says so (400, 413, 422), or fails on it again and again (500, an answer that is none, NaN).

The key is in the client's header alone: no message, ``repr`` or chained error has it.
"""

import re
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import orjson
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from elysia_dagster.embedders.taken import Refusal, Taken, take_by_halves
from elysia_dagster.embedders.vectors import estimate_tokens, sendable
from elysia_dagster.errors import EmbedderUnavailable, UsageError

try:
    import httpx
except ModuleNotFoundError as error:
    raise UsageError(
        "the openai embedder needs the package httpx.", next_step="Install it: pip install 'elysia_dagster[openai]'."
    ) from error

_PROBE = "probe"
_RETRIED = frozenset({408, 409, 425, 429})
_REFUSED = frozenset({400, 413, 422})
_REASON_CHARS = 200
_CHECK_BUDGET_S = 10.0
_SUSPECT_BUDGET_S = 10.0
"""For a request with its retries, once the endpoint has failed on some texts while it took another."""

_BACKOFF = wait_random_exponential(multiplier=0.5, max=30)
_KEY_SETTING = "ELYSIACTL_OPENAI_API_KEY"
_URL_SETTING = "ELYSIACTL_OPENAI_BASE_URL"


class _TryAgain(Exception):
    """This attempt failed in a way that the next may not."""

    def __init__(self, reason: str, *, retry_after_s: float = 0.0, is_own_failure: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_own_failure = is_own_failure


class _Failed(Exception):
    """The endpoint fails on this request: ``unavailable`` where it does on every other, else for what is in it."""

    def __init__(self, reason: str, unavailable: EmbedderUnavailable) -> None:
        super().__init__(reason)
        self.unavailable = unavailable


class OpenAIEmbedder:
    """Embeds texts by HTTP.

    ``model`` is ``<model>`` or ``<model>@<dimensions>``: with it the endpoint is asked for that many (leave it away
    where the model has one size only); without it the size is learnt from a first text. ``timeout_s`` is for one
    answer, ``retry_budget_s`` for one request with all its retries, ``texts_per_request`` what is sent at once.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retry_budget_s: float = 120.0,
        texts_per_request: int = 256,
    ) -> None:
        name, asked = re.fullmatch(r"(.+?)(?:@(\d+))?", model, re.DOTALL).groups()  # type: ignore[union-attr]
        self.model_id = f"openai:{model}"
        self._model = name
        self._asked_dimensions = int(asked) if asked else None
        if self._asked_dimensions == 0:
            raise UsageError(f"the embedder {self.model_id!r} asks for vectors of no dimensions.")
        self._dimensions = self._asked_dimensions
        self._url = _checked_url(base_url)
        self._api_key = _checked_key(api_key)
        self._retry_budget_s = retry_budget_s
        self._texts_per_request = texts_per_request
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._api_key}"} if self._api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
        )

    @property
    def dimensions(self) -> int:
        """From the spec, else asked from the endpoint once, with a probe text; raises what ``embed`` raises."""
        if self._dimensions is None:
            self._dimensions = self._probe(self._retry_budget_s)  # two threads at once ask twice and learn the same
        return self._dimensions

    @dimensions.setter
    def dimensions(self, value: int) -> None:
        self._dimensions = value

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape ``(len(texts), dimensions)``, rows L2-normalised, zero for a blank text (which is not sent).

        Raises ``EmbedderUnavailable`` when the endpoint does not answer, answers nonsense or does not let us in, and
        a permanent ``LineError`` with the id ``text_index`` for the first text that it refuses.
        """
        return self.embed_taken(texts).whole()

    def embed_taken(self, texts: Sequence[str]) -> Taken:
        """As ``embed``, but a text that is refused keeps no other from its vector."""
        taken = Taken(vectors=np.zeros((len(texts), self.dimensions), dtype=np.float32))
        sent = [index for index, text in enumerate(texts) if text.strip()]
        budget_s = self._retry_budget_s

        def attempt(some: list[str]) -> np.ndarray:
            nonlocal budget_s
            try:
                return self._request([sendable(text) for text in some], budget_s)
            except _Failed as failure:
                budget_s = min(_SUSPECT_BUDGET_S, self._retry_budget_s)
                try:
                    self._probe(budget_s)
                except EmbedderUnavailable:
                    raise failure.unavailable from failure
                raise Refusal(str(failure), permanent=False) from failure

        for start in range(0, len(sent), self._texts_per_request):
            part = sent[start : start + self._texts_per_request]
            take_by_halves(
                texts,
                part,
                taken,
                attempt=attempt,
                probe=lambda: self._probe(self._retry_budget_s),
                who="the embedding endpoint",
            )
        return taken

    def count_tokens(self, texts: Sequence[str]) -> int:
        """An estimate: the model's tokenizer is at the endpoint. One token for every four bytes of UTF-8."""
        return estimate_tokens(texts)

    def check(self) -> None:
        """Embeds one word, with ten seconds for retries; raises ``EmbedderUnavailable``."""
        self._probe(min(_CHECK_BUDGET_S, self._retry_budget_s))

    def close(self) -> None:
        self._client.close()

    def _probe(self, budget_s: float) -> int:
        """Embeds a harmless word and gives its dimensions; refusing that is a matter of the model or its parameters."""
        try:
            vectors = self._request([_PROBE], budget_s)
        except Refusal as refusal:
            raise self._unavailable(f"refuses every text for the model {self._model!r}: {refusal}") from refusal
        except _Failed as failure:
            raise failure.unavailable from failure
        if not np.isfinite(vectors).all():
            raise self._unavailable(f"answers vectors for the model {self._model!r} that are not numbers")
        return int(vectors.shape[1])

    def _request(self, texts: list[str], budget_s: float) -> np.ndarray:
        """One request with its retries: raw vectors ``(len(texts), dimensions)``, or ``Refusal``, or ``_Failed``."""
        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgain), wait=_wait, stop=stop_before_delay(budget_s), reraise=True
        )
        try:
            answer = retrying(self._attempt, texts)
        except _TryAgain as failure:
            unavailable = self._unavailable(
                f"did not answer within its retry budget of {budget_s:g} s: {failure}",
                next_step="Run the same again later; it goes on where it stopped.",
            )
            if failure.is_own_failure:
                raise _Failed(str(failure), unavailable) from failure
            raise unavailable from failure
        return self._parsed(answer, len(texts))

    def _attempt(self, texts: list[str]) -> bytes:
        body: dict[str, Any] = {"model": self._model, "input": texts}
        if self._asked_dimensions:
            body["dimensions"] = self._asked_dimensions
        try:
            response = self._client.post(f"{self._url}/embeddings", json=body)
        except httpx.RequestError as error:
            raise _TryAgain(f"{type(error).__name__} {error}".strip()) from error
        status = response.status_code
        if status == 200:
            return response.content
        if status in (401, 403):
            raise self._unavailable(f"does not let us in (HTTP {status})", next_step=f"Look at {_KEY_SETTING}.")
        reason = f"HTTP {status} {self._reason(response)}".strip()
        if status in _REFUSED:
            raise Refusal(reason, permanent=True)
        # OpenAI's 429 for an account without money: no waiting mends it
        if (status in _RETRIED or status >= 500) and "insufficient_quota" not in reason:
            after_s = _retry_after_s(response.headers.get("retry-after", ""))
            # 502 to 504 are said by what stands before the endpoint, 500 by itself
            raise _TryAgain(reason, retry_after_s=after_s, is_own_failure=status == 500)
        raise self._unavailable(f"answers {reason}", next_step=f"Look at {_URL_SETTING} and at the model's name.")

    def _parsed(self, answer: bytes, count: int) -> np.ndarray:
        """The vectors in the order of the texts, whatever the order of the answer."""
        try:
            items = orjson.loads(answer)["data"]
            by_index = {int(item["index"]): item["embedding"] for item in items}
            if len(items) != count or sorted(by_index) != list(range(count)):  # of no text's content
                raise self._other_answer(f"{len(items)} vectors for {count} texts")
            vectors = np.array([by_index[index] for index in range(count)], dtype=np.float32)
            if vectors.ndim != 2 or vectors.shape[1] == 0:
                raise ValueError("vectors of uneven length, or of none")
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__} {error}"
            raise _Failed(f"it answers something else: {reason}", self._other_answer(reason)) from error
        if self._dimensions not in (None, vectors.shape[1]):
            raise self._unavailable(
                f"answers vectors of {vectors.shape[1]} dimensions where {self._dimensions} are expected",
                next_step="Another model may be behind this name; name the dimensions: openai:<model>@<dimensions>.",
            )
        return vectors

    def _other_answer(self, reason: str) -> EmbedderUnavailable:
        return self._unavailable(
            f"answers something else than embeddings: {reason}", next_step=f"Look at {_URL_SETTING}."
        )

    def _reason(self, response: httpx.Response) -> str:
        """What the endpoint says is wrong, in one short line without the key."""
        try:
            error = orjson.loads(response.content)["error"]
            text = f"{error.get('code') or ''} {error.get('message') or ''}" if isinstance(error, dict) else str(error)
        except (ValueError, KeyError, TypeError):
            text = response.text
        if self._api_key:
            text = text.replace(self._api_key, "***")
        return " ".join(text.split())[:_REASON_CHARS]

    def _unavailable(self, what: str, *, next_step: str = "") -> EmbedderUnavailable:
        return EmbedderUnavailable(
            f"the embedding endpoint {self._url} {what}.", next_step=next_step, embedder=self.model_id
        )


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: jitter, but not before the endpoint's own ``Retry-After``."""
    failure = state.outcome.exception() if state.outcome else None
    asked_s = failure.retry_after_s if isinstance(failure, _TryAgain) else 0.0
    return max(asked_s, _BACKOFF(state))


def _retry_after_s(value: str, *, now: Callable[[], float] = time.time) -> float:
    """``Retry-After`` in seconds: a number or an HTTP date (RFC 9110, 10.2.3); 0 for neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, TypeError):
        return 0.0


def _checked_url(base_url: str) -> str:
    """``base_url`` without a final slash; an address that cannot be, or holds a password, is refused unsaid."""
    try:
        url = httpx.URL(base_url)
        valid = url.scheme in ("http", "https") and bool(url.host) and not url.userinfo and not url.query
    except httpx.InvalidURL:
        valid = False
    if not valid:
        raise UsageError(
            "the base URL of the openai embedder is not http[s]://host[:port][/path] without user, password or query.",
            next_step=f"Look at {_URL_SETTING}.",
        )
    return base_url.rstrip("/")


def _checked_key(api_key: str | None) -> str | None:
    """The key as a header can carry it: httpx would print a key that it cannot encode."""
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError("the API key has characters that no key has.", next_step=f"Look at {_KEY_SETTING}.")
    return key or None
