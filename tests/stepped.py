"""Threads made to meet: a store and fault points that wait for one another, so that a test says what comes first."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sync_world import COLLECTION, RecordingStore, World

from elysia_dagster.models import StoreObject, object_id

LIMIT_S = 60
"""Seconds after which what one thread waits for is taken for never coming."""


class SteppedStore(RecordingStore):
    """Does something before a call. A call is known by its method and the first object's path; ``calls`` has each with
    the name of its thread. ``paths`` are those of repository ``repo`` that may come."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self.takes_calls_at_once = True
        self.calls: list[tuple[str, str, str]] = []
        self._actions: dict[tuple[str, str], tuple[Callable[[], None], ...]] = {}
        self._paths = {object_id(COLLECTION, "repo", path, 0): path for path in paths}

    def at(self, method: str, path: str, *actions: Callable[[], None]) -> None:
        """One after the other, the next time."""
        self._actions[method, path] = actions

    def forget(self) -> None:
        """Nothing happens any more."""
        self._actions.clear()
        self.calls.clear()

    def of(self, method: str) -> list[str]:
        """The first path of each call of a method."""
        return [path for each, path, _ in self.calls if each == method]

    def _called(self, method: str, path: str) -> None:
        self.calls.append((method, path, threading.current_thread().name))
        for action in self._actions.pop((method, path), ()):
            action()

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        self._called("upsert", objects[0].relative_path)
        return super().upsert(collection, objects)

    def fetch_hashes(
        self, collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        self._called("fetch_hashes", self._paths[ids[0]])
        return super().fetch_hashes(collection, ids, expected)


class Moment:
    """Something that one thread waits for and another one brings about."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def comes(self) -> None:
        """It is there."""
        self._event.set()

    def awaited(self) -> None:
        """Returns when it is there."""
        assert self._event.wait(LIMIT_S), "it did not come: the batches do not go side by side"


class Points:
    """What is to happen when the engine passes a point for the n-th time."""

    def __init__(self, world: World) -> None:
        self.passed: Counter[str] = Counter()
        self._actions: dict[tuple[str, int], tuple[Callable[[], None], ...]] = {}
        world.engine.faults = self._pass

    def at(self, point: str, passing: int, *actions: Callable[[], None]) -> None:
        """One after the other."""
        self._actions[point, passing] = actions

    def _pass(self, point: str) -> None:
        self.passed[point] += 1  # each of those that count is passed by one thread at a time
        for action in self._actions.get((point, self.passed[point]), ()):
            action()
