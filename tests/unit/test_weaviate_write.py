"""When a write of many requests ends before its last one."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from contract.conftest import make_object
from weaviate.classes.config import ConsistencyLevel
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateInsertManyAllFailedError

from elysia_dagster.errors import Interrupted, StoreUnavailable
from elysia_dagster.stores.weaviate_address import parse_address
from elysia_dagster.stores.weaviate_write import WeaviateWriter

OBJECTS = [make_object(f"{number}.py") for number in range(64)]


class Rejecting:
    """A connection to a server that rejects every object, each for a reason of its own."""

    address = parse_address("weaviate:http://127.0.0.1:1", server="", tenant="", vector="")

    def __init__(self, at: Callable[[int], None]) -> None:
        self.requests = itertools.count(1)
        self.at = at
        self.data = self

    def call(self, attempt: Callable[[], Any], **_: Any) -> Any:
        return attempt()

    def collection(self, _name: str) -> "Rejecting":
        return self

    def with_consistency_level(self, _level: ConsistencyLevel) -> "Rejecting":
        return self

    def insert_many(self, objects: list[Any]) -> None:
        self.at(next(self.requests))
        messages = "\n".join(f"invalid text property of {each.uuid}" for each in objects)
        raise WeaviateInsertManyAllFailedError(f"Here is the set of all errors: {messages}")

    def check_stop(self) -> None:
        """Nobody asks."""


def writer(connection: Any) -> WeaviateWriter:
    return WeaviateWriter(
        connection, "C", vector_name=None, consistency=ConsistencyLevel.QUORUM, until=time.monotonic() + 60
    )


def test_every_object_is_told_its_own_reason() -> None:
    reasons = writer(Rejecting(lambda _number: None)).insert(OBJECTS)
    assert reasons == {each.id: f"invalid text property of {each.id}" for each in OBJECTS}


def test_the_search_for_reasons_ends_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    connection = Rejecting(made.append)
    writing = writer(connection)
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + (100 if len(made) >= 5 else 0))
    with pytest.raises(StoreUnavailable, match="it takes too long"):
        writing.insert(OBJECTS)
    assert made == [1, 2, 3, 4, 5]


def test_the_search_for_reasons_ends_when_somebody_asks() -> None:
    made: list[int] = []
    connection = Rejecting(made.append)

    def check_stop() -> None:
        if len(made) >= 5:
            raise Interrupted("stop")

    connection.check_stop = check_stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        writer(connection).insert(OBJECTS)
    assert made == [1, 2, 3, 4, 5]


class Choking(Rejecting):
    """A connection to a server, or a proxy, that refuses a whole request for one object in it, and names none."""

    def __init__(self, bad: set[str]) -> None:
        super().__init__(lambda _number: None)
        self.bad = bad
        self.taken: Counter[str] = Counter()
        self.sent = 0

    def insert_many(self, objects: list[Any]) -> Any:
        self.sent += 1
        ids = {str(each.uuid) for each in objects}
        if ids & self.bad:
            raise UnexpectedStatusCodeError("bad request", httpx.Response(422, json={"error": [{"message": "no"}]}))
        self.taken.update(ids)
        return SimpleNamespace(errors={})


@pytest.mark.parametrize("places", [(0,), (63,), (5, 6, 40), range(0, 64, 9)])
def test_a_request_refused_for_its_content_is_halved_down_to_the_object(places: Sequence[int]) -> None:
    connection = Choking({OBJECTS[place].id for place in places})
    reasons = writer(connection).insert(OBJECTS)
    assert set(reasons) == connection.bad
    assert all("422" in reason for reason in reasons.values())
    assert connection.taken == Counter(each.id for each in OBJECTS if each.id not in connection.bad)
    assert connection.sent <= 1 + 2 * 6 * len(places)
