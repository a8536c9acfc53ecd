"""A task beside its owner's work: one at a time, awaited whatever happens, its own error told before a later one."""

import threading
import time

import pytest

from elysia_dagster.sync.background import Background

A_WHILE_S = 0.2
"""What a task takes that would outlive its block, were it not waited for."""


class Broken(Exception):
    """What a task or its owner raises."""


def failing(words: str, *, after_s: float = 0.0) -> None:
    time.sleep(after_s)
    raise Broken(words)


def names_of_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("background")]


@pytest.fixture(params=[True, False], ids=["in a thread", "at once"])
def is_thread(request: pytest.FixtureRequest) -> bool:
    """Whether a task has a thread of its own."""
    return bool(request.param)


def test_a_result_is_given_once(is_thread: bool) -> None:
    with Background[int](is_thread=is_thread) as background:
        assert background.result() is None, "nothing was begun"
        background.start(lambda: 7)
        assert background.result() == 7
        assert background.result() is None
        background.start(lambda: 8)
        assert background.result() == 8


def test_a_task_runs_beside_its_owner_or_at_once(is_thread: bool) -> None:
    go_on = threading.Event()
    ran_in: list[int] = []

    def task() -> None:
        assert go_on.wait(30), "nobody went on beside it"
        ran_in.append(threading.get_ident())

    with Background[None](is_thread=is_thread) as background:
        if not is_thread:
            go_on.set()
        background.start(task)
        assert bool(ran_in) is not is_thread
        go_on.set()
        background.result()
    assert (ran_in[0] == threading.get_ident()) is not is_thread
    assert names_of_threads() == []


def test_a_second_task_waits_to_be_asked_for_the_first(is_thread: bool) -> None:
    with Background[int](is_thread=is_thread) as background:
        background.start(lambda: 1)
        with pytest.raises(AssertionError):
            background.start(lambda: 2)
        assert background.result() == 1


def test_an_error_is_raised_by_who_asks_for_the_result(is_thread: bool) -> None:
    with Background[None](is_thread=is_thread) as background:
        background.start(lambda: failing("the task's"))
        with pytest.raises(Broken, match="the task's"):
            background.result()
        background.start(lambda: None)
        assert background.result() is None, "the error is told once"


def test_its_block_ends_when_the_task_has_ended() -> None:
    done = threading.Event()

    def task() -> None:
        time.sleep(A_WHILE_S)
        done.set()

    with Background[None](is_thread=True) as background:
        background.start(task)
    assert done.is_set()
    assert names_of_threads() == []


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_its_block_ends_with_an_error_when_the_task_has_ended(error: type[BaseException]) -> None:
    done = threading.Event()

    def task() -> None:
        time.sleep(A_WHILE_S)
        done.set()

    def in_a_block() -> None:
        with Background[None](is_thread=True) as background:
            background.start(task)
            raise error("the owner's")

    with pytest.raises(error, match="the owner's"):
        in_a_block()
    assert done.is_set()
    assert names_of_threads() == []


def test_of_two_errors_the_earlier_task_s_is_told(is_thread: bool) -> None:
    def in_a_block() -> None:
        with Background[None](is_thread=is_thread) as background:
            background.start(lambda: failing("the task's", after_s=A_WHILE_S))
            raise Broken("the owner's")

    with pytest.raises(Broken, match="the task's") as told:
        in_a_block()
    assert str(told.value.__cause__) == "the owner's"


def test_an_error_that_was_told_is_not_told_again(is_thread: bool) -> None:
    def in_a_block() -> None:
        with Background[None](is_thread=is_thread) as background:
            background.start(lambda: failing("the task's"))
            with pytest.raises(Broken):
                background.result()
            raise Broken("the owner's")

    with pytest.raises(Broken, match="the owner's") as told:
        in_a_block()
    assert told.value.__cause__ is None


def test_who_is_interrupted_stays_interrupted(is_thread: bool) -> None:
    """By Ctrl-C, or a generator that is closed early: the task's error is of no use to anybody then."""

    def in_a_block(error: BaseException) -> None:
        with Background[None](is_thread=is_thread) as background:
            background.start(lambda: failing("the task's"))
            raise error

    for each in (KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(each)):
            in_a_block(each)
