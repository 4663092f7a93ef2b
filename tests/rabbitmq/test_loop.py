"""The thread that pika lives on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mqbridge.testing import wait_until
from mqbridge_rabbitmq.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop("test-loop")
    yield loop
    loop.stop(5)


def test_calls_of_many_threads_all_run_and_each_thread_keeps_its_order(loop: Loop) -> None:
    """Coalesced wake-ups lose none."""
    ran: list[tuple[int, int]] = []

    def give(who: int) -> None:
        for number in range(2000):
            loop.call(lambda number=number: ran.append((who, number)))  # type: ignore[misc]

    threads = [threading.Thread(target=give, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(ran) == 8000, timeout_s=10)
    for who in range(4):
        assert [number for one, number in ran if one == who] == list(range(2000))


def test_soon_runs_after_the_turn_and_later_can_be_cancelled(loop: Loop) -> None:
    """`soon` collects what one turn brought."""
    ran: list[str] = []
    done = threading.Event()

    def turn() -> None:
        loop.soon(lambda: ran.append("soon"))
        ran.append("turn")
        loop.later(0.01, lambda: ran.append("cancelled")).cancel()
        loop.later(0.02, done.set)

    loop.call(turn)
    assert done.wait(5)
    assert ran == ["turn", "soon"]


def test_a_fault_is_told_and_the_loop_goes_on(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """What was given with the faulty job runs all the same; nobody is left waiting for a dead thread."""
    told: list[BaseException] = []
    ran = threading.Event()
    loop.on_crash.append(told.append)

    def both() -> None:
        loop.call(lambda: [].pop())
        loop.call(ran.set)

    loop.call(both)
    assert ran.wait(5)
    wait_until(lambda: [type(one) for one in told] == [IndexError], timeout_s=5)
    assert "a fault on the loop" in caplog.text


def test_a_fault_at_the_end_of_a_turn_takes_nothing_with_it(loop: Loop) -> None:
    """The jobs behind it belong to other channels."""
    ran = threading.Event()

    def turn() -> None:
        loop.soon(lambda: [].pop())
        loop.soon(ran.set)

    loop.call(turn)
    assert ran.wait(5)


def test_after_the_end_a_call_is_answered(loop: Loop) -> None:
    """A completion is called once, also when the bus was closed first."""
    loop.stop(5)
    answers: list[Any] = []
    loop.call(lambda: answers.append(1))
    assert answers == [1]
