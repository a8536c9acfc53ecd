"""The one layer that tries a request to a Weaviate server again.

The client would try some requests again itself; ``weaviate_connection`` keeps it from that.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from elysia_dagster.errors import ElysiaError, Interrupted
from elysia_dagster.stores.stopping import wait
from elysia_dagster.stores.weaviate_errors import is_transient, retry_after_s, translated

FIRST_WAIT_S = 0.2
"""Seconds that the first wait takes at most; each further one up to double, by chance."""

LONGEST_WAIT_S = 5.0
"""Seconds between two tries, unless the server asks for more."""

_Result = TypeVar("_Result")


class Retries:
    """Tries requests again while the server does not do its work, for ``budget_s`` seconds since it failed first.

    0 tries nothing again. Where ``stop_requested`` says yes there is no further try. ``sleep`` and ``clock`` are there
    for tests.
    """

    def __init__(
        self,
        *,
        url: str,
        budget_s: float,
        stop_requested: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._budget_s = budget_s
        self._stop_requested = stop_requested
        self._sleep = sleep
        self._clock = clock

    def call(
        self,
        attempt: Callable[[], _Result],
        *,
        collection: str = "",
        after_failure: Callable[[Exception], None] | None = None,
        deadline: float | None = None,
    ) -> _Result:
        """What ``attempt`` gives. ``deadline`` is a time of ``clock`` after which nothing is begun.

        ``after_failure`` is given each error that trying again may mend before the wait that follows: it makes a
        connection new. An error that trying again does not mend propagates as it came. Raises what the last error means
        (``translated``), which then says for how long it was tried; ``Interrupted`` where this process is asked to stop
        while the server does not do its work.
        """
        tries = _Tries(self._clock, self._budget_s, deadline)

        def once() -> _Result:
            try:
                return attempt()
            except Exception:
                tries.note_failure()
                raise

        retryer = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=_wait,
            stop=tries.are_over,
            sleep=self._pause,
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
            self.check_stop()
            raise tries.told_with(known) from error

    def check_stop(self) -> None:
        """Raises ``Interrupted`` where this process is asked to stop."""
        if self._stop_requested():
            raise Interrupted(
                f"This process was asked to stop while it waited for {self._url}; nothing was charged to a line.",
                next_step="Run the same command again: it goes on from there.",
            )

    def _pause(self, seconds: float) -> None:
        wait(seconds, stop_requested=self._stop_requested, sleep=self._sleep)
        self.check_stop()


class _Tries:
    """How often, and since when. Times are of ``clock``."""

    def __init__(self, clock: Callable[[], float], budget_s: float, deadline: float | None) -> None:
        self._clock = clock
        self._budget_s = budget_s
        self._deadline = deadline
        self._first = clock()
        self._down_since: float | None = None
        self.failed = 0

    def note_failure(self) -> None:
        self.failed += 1
        if self._down_since is None:
            self._down_since = self._clock()

    def are_over(self, state: tenacity.RetryCallState) -> bool:
        assert self._down_since is not None
        next_begins = self._clock() + state.upcoming_sleep
        if self._deadline is not None and next_begins > self._deadline:
            return True
        return next_begins >= self._down_since + self._budget_s

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
