"""What is tried again against a Weaviate server, how often, and what is raised in the end."""

import pytest
from weaviate import exceptions as client

from elysia_dagster.errors import Interrupted, StoreUnavailable
from elysia_dagster.stores.stopping import SLICE_S
from elysia_dagster.stores.weaviate_errors import ObjectsNotTaken
from elysia_dagster.stores.weaviate_retries import LONGEST_WAIT_S, Retries

URL = "weaviate:http://127.0.0.1:8080"


class Server:
    """A server on a clock of its own: each question takes ``takes_s`` and gets the next of ``answers``."""

    def __init__(self, *answers: object, takes_s: float = 0.0) -> None:
        self.now = 1000.0
        self.answers = list(answers)
        self.takes_s = takes_s
        self.asked = 0
        self.slept: list[float] = []

    def retries(self, budget_s: float = 60.0) -> Retries:
        return Retries(url=URL, budget_s=budget_s, sleep=self.sleep, clock=lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def ask(self) -> object:
        self.asked += 1
        self.now += self.takes_s
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused() -> Exception:
    return ConnectionRefusedError(111, "Connection refused")


def test_an_answer_is_given_at_once() -> None:
    server = Server("yes")
    assert server.retries().call(server.ask) == "yes"
    assert server.slept == []


def test_it_comes_back() -> None:
    server = Server(refused(), refused(), ObjectsNotTaken("store is read-only"), "yes")
    assert server.retries().call(server.ask) == "yes"
    assert server.asked == 4
    assert all(0 <= each <= LONGEST_WAIT_S for each in server.slept)


def test_it_stays_away_for_the_budget() -> None:
    server = Server(refused())
    with pytest.raises(StoreUnavailable) as raised:
        server.retries(60).call(server.ask, collection="C")
    assert 60 - LONGEST_WAIT_S <= server.now - 1000 <= 60
    assert f"It was tried {server.asked} times in {server.now - 1000:.0f} s." in raised.value.message
    assert raised.value.next_step
    assert raised.value.ids == {"store": URL, "collection": "C"}
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)


def test_no_budget_is_one_try() -> None:
    server = Server(refused())
    with pytest.raises(StoreUnavailable, match="It was tried once"):
        server.retries(0).call(server.ask)
    assert (server.asked, server.slept) == (1, [])


def test_the_budget_begins_with_the_first_failure() -> None:
    server = Server(TimeoutError("timed out"), "yes", takes_s=90)
    assert server.retries(60).call(server.ask) == "yes"


def test_nothing_is_begun_after_the_deadline() -> None:
    server = Server(refused())
    with pytest.raises(StoreUnavailable):
        server.retries(60).call(server.ask, deadline=1010)
    assert server.now <= 1010


def test_what_does_not_mend_propagates_as_it_came() -> None:
    for error in (client.WeaviateInvalidInputError("x"), KeyError("x"), StoreUnavailable("ours")):
        server = Server(error)
        with pytest.raises(type(error)) as raised:
            server.retries().call(server.ask)
        assert raised.value is error
        assert server.asked == 1


def test_an_error_that_does_not_mend_ends_the_tries() -> None:
    server = Server(refused(), KeyError("x"))
    with pytest.raises(KeyError):
        server.retries().call(server.ask)
    assert server.asked == 2


def test_after_failure() -> None:
    server = Server(refused(), refused(), "yes")
    seen: list[Exception] = []
    assert server.retries().call(server.ask, after_failure=seen.append) == "yes"
    assert len(seen) == 2
    assert all(isinstance(each, ConnectionRefusedError) for each in seen)


@pytest.mark.parametrize("budget_s", [0.0, 60.0])
def test_a_wish_to_stop_ends_the_wait(budget_s: float) -> None:
    server = Server(refused())
    retries = Retries(
        url=URL,
        budget_s=budget_s,
        sleep=server.sleep,
        clock=lambda: server.now,
        stop_requested=lambda: server.asked >= 3 or not budget_s,
    )
    with pytest.raises(Interrupted) as raised:
        retries.call(server.ask)
    assert server.asked == (3 if budget_s else 1)
    assert raised.value.exit_code == 130
    assert max(server.slept, default=0.0) <= SLICE_S


def test_the_servers_wish_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elysia_dagster.stores.weaviate_retries.retry_after_s", lambda _error: 17.0)
    server = Server(refused(), "yes")
    assert server.retries().call(server.ask) == "yes"
    assert sum(server.slept) == pytest.approx(17.0)
