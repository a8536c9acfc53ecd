"""The one layer that tries a request to a Weaviate server again.

The client (4.23, ``weaviate/retry.py``) tries some requests again itself, and cannot be told not to: after UNAVAILABLE
an insert sleeps 1 + 2 + 4 + 8 s, a query 1 + 2 + … + 32 s; a delete and REST do not. What it sleeps counts.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from elysia_dagster.errors import ElysiaError
from elysia_dagster.stores.weaviate_errors import is_client_retried, is_transient, retry_after_s, translated

FIRST_WAIT_S = 0.2
"""Seconds that the first wait takes at most; each further one up to double, by chance."""

LONGEST_WAIT_S = 5.0
"""Seconds between two tries, unless the server asks for more."""

INSERT_SLEEPS_S = 15.0
"""Seconds that the client sleeps inside one ``insert_many`` while the server is UNAVAILABLE (measured)."""

QUERY_SLEEPS_S = 63.0
"""The same of one query or aggregation."""

_Result = TypeVar("_Result")


class Retries:
    """Tries requests again while the server does not do its work, for ``budget_s`` seconds since it failed first.

    0 tries nothing again. No try is begun that would end after the budget if it took as long as the one before, where
    that one consisted of the client's own tries. ``sleep`` and ``clock`` are there for tests.
    """

    def __init__(
        self,
        *,
        url: str,
        budget_s: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._budget_s = budget_s
        self._sleep = sleep
        self._clock = clock

    def call(
        self,
        attempt: Callable[[], _Result],
        *,
        collection: str = "",
        again: Callable[[], _Result] | None = None,
        after_failure: Callable[[Exception], None] | None = None,
        deadline: float | None = None,
    ) -> _Result:
        """What ``attempt`` gives. ``deadline`` is a time of ``clock`` after which nothing is begun.

        ``again`` is called in its place from the second time on: it reads back what a lost answer left.
        ``after_failure`` is given each error that trying again may mend before the wait that follows: it makes a
        connection new. An error that trying again does not mend propagates as it came. Raises what the last error means
        (``translated``), which then says for how long it was tried.
        """
        tries = _Tries(self._clock, self._budget_s, deadline)

        def once() -> _Result:
            with tries:
                return again() if tries.failed and again is not None else attempt()

        retryer = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=_wait,
            stop=tries.are_over,
            sleep=self._sleep,
            before_sleep=lambda state: after_failure(_error(state)) if after_failure is not None else None,
            reraise=True,
        )
        try:
            return retryer(once)
        except ElysiaError:
            raise
        except Exception as error:
            known = translated(error, url=self._url, collection=collection) if is_transient(error) else None
            if known is None:
                raise
            raise tries.told_with(known) from error


class _Tries:
    """How often, since when, and how long the last one took. Times are of ``clock``."""

    def __init__(self, clock: Callable[[], float], budget_s: float, deadline: float | None) -> None:
        self._clock = clock
        self._budget_s = budget_s
        self._deadline = deadline
        self._first = clock()
        self._began = self._first
        self._down_since: float | None = None
        self._longest_s = 0.0
        self.failed = 0

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception):
            return
        self.failed += 1
        ended = self._clock()
        by_client = is_client_retried(error)
        self._longest_s = ended - self._began if by_client else 0.0
        if self._down_since is None:
            self._down_since = self._began if by_client else ended

    def are_over(self, state: tenacity.RetryCallState) -> bool:
        assert self._down_since is not None
        next_begins = self._clock() + state.upcoming_sleep
        if self._deadline is not None and next_begins > self._deadline:
            return True
        return next_begins + self._longest_s >= self._down_since + self._budget_s

    def told_with(self, error: ElysiaError) -> ElysiaError:
        """The error, with how often it was tried and for how long."""
        times = "once" if self.failed == 1 else f"{self.failed} times"
        seconds = f"{self._clock() - self._first:.0f} s"
        return type(error)(
            f"{error.message} It was tried {times} in {seconds}.", next_step=error.next_step, **error.ids
        )


def _error(state: tenacity.RetryCallState) -> Exception:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, Exception)
    return error


_backoff: Any = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


def _wait(state: tenacity.RetryCallState) -> float:
    return max(retry_after_s(_error(state)) or 0.0, float(_backoff(state)))
