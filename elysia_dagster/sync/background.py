"""One task that goes on in a thread of its own beside what its owner does next."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class Background(Generic[_Result]):
    """At most one task at a time; a context manager, that leaves none behind.

    Without ``is_thread`` a task is done when it is started. Where its block ends with an error, the task's own, of what
    was begun earlier, comes first.
    """

    def __init__(self, *, is_thread: bool) -> None:
        self.is_thread = is_thread
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background") if is_thread else None
        self._task: Future[_Result] | None = None

    def __enter__(self) -> "Background[_Result]":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        task, self._task = self._task, None
        if task is not None and isinstance(error, Exception) and (earlier := task.exception()) is not None:
            raise earlier from error

    def start(self, task: Callable[[], _Result]) -> None:
        """Begins a task; the one before must have been asked for its result."""
        assert self._task is None
        if self._pool is not None:
            self._task = self._pool.submit(task)
            return
        self._task = Future()
        try:
            self._task.set_result(task())
        except BaseException as error:
            self._task.set_exception(error)

    def result(self) -> _Result | None:
        """What the task gave, once it has ended, or raises what it raised; None where there is none."""
        task, self._task = self._task, None
        return None if task is None else task.result()
