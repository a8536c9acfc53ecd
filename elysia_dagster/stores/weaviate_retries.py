"""The one layer that tries a request to a Weaviate server again."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from elysia_dagster.errors import ElysiaError
from elysia_dagster.stores import weaviate_errors

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0

_Result = TypeVar("_Result")


class Retries:
    """Tries requests again while the server does not do its work, for ``budget_s`` seconds after the first failure.

    0 tries nothing again. ``sleep`` and ``clock`` are there for tests.
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

        ``again`` is called in its place from the second time on: it reads back what a lost answer left. ``after_failure``
        is given each error before the wait that follows: it makes a connection new. An error that trying again does not mend propagates as it came. Raises ``StoreUnavailable`` or
        ``ResourceExhausted``, which say for how long it was tried.
        """
        failures: list[Exception] = []
        began = self._clock()
        failed_at: list[float] = []

        def once() -> _Result:
            try:
                return again() if failures and again is not None else attempt()
            except Exception as error:
                failures.append(error)
                failed_at.append(self._clock())
                raise

        def wait(state: tenacity.RetryCallState) -> float:
            asked = weaviate_errors.retry_after_s(failures[-1])
            return max(asked or 0.0, float(backoff(state)))

        def stop(state: tenacity.RetryCallState) -> bool:
            ends = self._clock() + state.upcoming_sleep
            return ends > failed_at[0] + self._budget_s or (deadline is not None and ends > deadline)

        backoff: Any = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
        retryer = tenacity.Retrying(
            retry=tenacity.retry_if_exception(weaviate_errors.is_transient),
            wait=wait,
            stop=stop,
            sleep=self._sleep,
            before_sleep=None if after_failure is None else lambda _state: after_failure(failures[-1]),
            reraise=True,
        )
        try:
            return retryer(once)
        except Exception as error:
            if isinstance(error, ElysiaError) or not weaviate_errors.is_transient(error):
                raise
            known = weaviate_errors.translated(error, url=self._url, collection=collection)
            if known is None:
                raise
            known.message += f" It was tried {len(failures)} times in {self._clock() - began:.0f} s."
            raise known from error
