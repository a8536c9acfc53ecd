"""Tasks that overlap in threads of their own, and end in the order in which they began."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from elysia_dagster.exhaustion import check_memory_for_thread

_Result = TypeVar("_Result")

Turn = Callable[[], None]
"""Waits until the task before has ended; raises what that raised."""


class Background(Generic[_Result]):
    """``threads`` tasks at once at most, 0 for none beside the caller; a context manager, that leaves no task behind.

    Where its block ends with an error, that of a task whose result was not taken, and which began earlier, is raised
    from it. Once a task's error was raised by ``result``, those after it count no more.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="background") if threads else None
        self._tasks: deque[Future[_Result]] = deque()
        self._last: Future[_Result] | None = None

    def __enter__(self) -> "Background[_Result]":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if isinstance(error, Exception):
            for task in self._tasks:  # none where the error is a task's own
                if (earlier := task.exception()) is not None:
                    raise earlier from error

    @property
    def is_full(self) -> bool:
        """Whether a result has to be taken before another task is started."""
        return len(self._tasks) >= max(1, self._threads)

    @property
    def has_tasks(self) -> bool:
        """Whether there is a result to be taken."""
        return bool(self._tasks)

    def start(self, task: Callable[[Turn], _Result]) -> None:
        """Begins a task. It must wait for its turn before it does what has to come after the task before."""
        assert not self.is_full
        before = self._last

        def turn() -> None:
            if before is not None:
                before.result()

        if self._pool is not None:
            check_memory_for_thread()
            self._last = self._pool.submit(task, turn)
        else:
            self._last = Future()
            self._last.set_result(task(turn))
        self._tasks.append(self._last)

    def result(self) -> _Result:
        """What the oldest task gave, once it has ended. Raises what it raised."""
        try:
            return self._tasks.popleft().result()
        except BaseException:
            self._tasks.clear()
            raise
