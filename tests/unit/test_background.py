"""Tasks that overlap and end in their order: no more than asked for, awaited, errors told as they came."""

import threading
import time

import pytest

from elysia_dagster.sync.background import Background, Turn

A_WHILE_S = 0.2
"""What a task takes that would outlive its block, were it not waited for."""

LIMIT_S = 60
"""Seconds after which what one thread waits for is taken for never coming."""


class Broken(Exception):
    """What a task or its owner raises."""


def giving(value: int, _turn: Turn) -> int:
    return value


def failing(words: str, _turn: Turn) -> None:
    time.sleep(A_WHILE_S)
    raise Broken(words)


def threads_left() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("background")]


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_results_come_in_the_order_of_the_tasks(threads: int) -> None:
    taken: list[int] = []
    with Background[int](threads=threads) as background:
        for value in range(7):
            while background.is_full:
                taken.append(background.result())
            background.start(lambda turn, value=value: giving(value, turn))
        while background.has_tasks:
            taken.append(background.result())
        assert not background.is_full
    assert taken == list(range(7))
    assert threads_left() == []


def test_without_threads_a_task_is_done_when_it_was_started() -> None:
    ran_in: list[int] = []
    with Background[None](threads=0) as background:
        background.start(lambda _turn: ran_in.append(threading.get_ident()))
        assert ran_in == [threading.get_ident()]
        background.result()
        with pytest.raises(Broken, match="the task's"):
            background.start(lambda turn: failing("the task's", turn))


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_no_more_tasks_than_asked_for(threads: int) -> None:
    go_on = threading.Event()
    with Background[object](threads=threads) as background:
        for _ in range(max(1, threads)):
            background.start(lambda _turn: threads and go_on.wait(LIMIT_S))
        try:
            with pytest.raises(AssertionError):
                background.start(lambda _turn: None)
        finally:
            go_on.set()


def test_two_tasks_overlap_and_the_second_waits_for_its_turn() -> None:
    second_begun = threading.Event()
    order: list[str] = []

    def first(_turn: Turn) -> None:
        assert second_begun.wait(LIMIT_S), "the second one does not begin beside the first"
        time.sleep(A_WHILE_S)
        order.append("first")

    def second(turn: Turn) -> None:
        second_begun.set()
        turn()
        order.append("second")

    with Background[None](threads=2) as background:
        background.start(first)
        background.start(second)
    assert order == ["first", "second"]


def test_a_turn_waits_for_a_task_whose_result_was_taken_too() -> None:
    with Background[int](threads=2) as background:
        background.start(lambda turn: giving(1, turn))
        assert background.result() == 1
        background.start(lambda turn: (turn(), 2)[1])
        assert background.result() == 2


def test_a_turn_raises_what_the_task_before_did() -> None:
    """So the second one does nothing that has to come after the first; told is the first one's error, once."""
    done: list[str] = []

    def second(turn: Turn) -> None:
        turn()
        done.append("second")

    def in_a_block() -> None:
        with Background[None](threads=2) as background:
            background.start(lambda turn: failing("the first's", turn))
            background.start(second)
            background.result()

    with pytest.raises(Broken, match="the first's") as told:
        in_a_block()
    assert told.value.__cause__ is None
    assert done == []
    assert threads_left() == []


@pytest.mark.parametrize("error", [None, Broken, KeyboardInterrupt])
def test_its_block_ends_when_the_tasks_have_ended(error: type[BaseException] | None) -> None:
    ended: list[int] = []

    def task(value: int, turn: Turn) -> None:
        turn()
        time.sleep(A_WHILE_S)
        ended.append(value)

    def in_a_block() -> None:
        with Background[None](threads=2) as background:
            for value in (1, 2):
                background.start(lambda turn, value=value: task(value, turn))
            if error is not None:
                raise error("the owner's")

    if error is None:
        in_a_block()
    else:
        with pytest.raises(error, match="the owner's"):
            in_a_block()
    assert ended == [1, 2]
    assert threads_left() == []


def test_of_two_errors_the_earlier_tasks_is_told() -> None:
    def in_a_block() -> None:
        with Background[None](threads=2) as background:
            background.start(lambda _turn: None)
            background.start(lambda turn: failing("the task's", turn))
            raise Broken("the owner's")

    with pytest.raises(Broken, match="the task's") as told:
        in_a_block()
    assert str(told.value.__cause__) == "the owner's"


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_who_is_interrupted_stays_interrupted(error: type[BaseException]) -> None:
    """By Ctrl-C, or a generator that is closed early: the task's error is of no use to anybody then."""

    def in_a_block() -> None:
        with Background[None](threads=1) as background:
            background.start(lambda turn: failing("the task's", turn))
            raise error

    with pytest.raises(error):
        in_a_block()
    assert threads_left() == []
