"""The one room that blocks: waiting, waking, and the threads of a bus."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from mqbridge.errors import ForkedProcess, OperationTimeout, Rejected
from mqbridge.spi import Completion
from mqbridge.testing import wait_until
from mqbridge.waiting import Callbacks, Deadline, ForkGuard, Pending, Pump, Signal, Turnstile, wait


def test_deadline() -> None:
    """None never passes; what is over has nothing left, never less."""
    never, over, far = Deadline(None), Deadline(0), Deadline(1000)
    assert (never.left_s(), never.left_s(5.0), never.passed()) == (None, 5.0, False)
    assert (over.left_s(), over.passed()) == (0.0, True)
    assert far.left_s(0.5) == 0.5
    assert not far.passed()


def test_wait_gives_the_result_or_raises_the_error() -> None:
    """A completion that comes before the wait, as in memory, counts as much as one that comes during it."""

    def answer(done: Completion[int]) -> None:
        done(3, None)

    assert wait(answer, 1.0, "asking") == 3
    with pytest.raises(Rejected, match="no"):
        wait(lambda done: done(None, Rejected("no")), 1.0, "asking")
    pending: Pending[int] = Pending()
    threading.Thread(target=pending.complete, args=(4, None)).start()
    assert pending.wait(5.0, "asking") == 4


@pytest.mark.parametrize(("outcome", "says"), [("unknown", "may still be applied"), ("not_applied", "Nothing was")])
def test_no_answer_is_a_timeout_with_an_outcome(outcome: str, says: str) -> None:
    """What nobody answered says whether it may have been applied."""
    with pytest.raises(OperationTimeout, match=says) as caught:
        wait(lambda done: None, 0.01, "asking", outcome)  # type: ignore[arg-type]
    assert caught.value.outcome == outcome


def test_a_signal_between_clear_and_wait_is_not_missed() -> None:
    """clear, look, set by another, wait: the wait returns at once."""
    signal = Signal()
    signal.clear()
    signal.set()
    signal.set()
    assert signal.wait(0)
    signal.clear()
    assert not signal.wait(0)


def test_turnstile_wakes_all_who_arrived() -> None:
    """Each waiter goes on when what it waits for is there, and not before."""
    turnstile, state, through = Turnstile(), {"at": 0}, []

    def waiter(target: int) -> None:
        if turnstile.wait_for(lambda: state["at"] >= target, 10):
            through.append(target)

    threads = [threading.Thread(target=waiter, args=(target,)) for target in (2, 1)]
    for thread in threads:
        thread.start()
    wait_until(lambda: turnstile._waiters == 2)
    for at in (1, 2):
        state["at"] = at
        turnstile.progress()
        wait_until(lambda at=at: len(through) == at)  # type: ignore[misc]
    assert through == [1, 2]
    assert not turnstile.wait_for(lambda: False, 0.01)
    for thread in threads:
        thread.join()


def test_pump_goes_on_after_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A job that raises is logged and called again, and does not stop its neighbour."""
    pump, calls = Pump("pump-under-test"), {"bad": 0, "good": 0}

    def bad() -> None:
        calls["bad"] += 1
        raise KeyError("mine")

    def good() -> None:
        calls["good"] += 1

    with caplog.at_level(logging.ERROR, "mqbridge"):
        jobs = [pump.every(0.001, bad), pump.every(0.001, good)]
        wait_until(lambda: calls["bad"] > 2 and calls["good"] > 2)
        for job in jobs:
            pump.cancel(job)
    assert "KeyError" in caplog.text
    wait_until(lambda: all(thread.name != "pump-under-test" for thread in threading.enumerate()))


def test_pump_starts_anew_after_its_last_job() -> None:
    """A thread that is about to end does not swallow a job that comes just then."""
    pump = Pump("pump")
    for _ in range(50):
        called = threading.Event()
        job = pump.every(0.0001, called.set)
        assert called.wait(5)
        pump.cancel(job)


def test_callbacks_run_in_order_on_one_thread(caplog: pytest.LogCaptureFixture) -> None:
    """In the order of submission, one at a time, the same thread for all; one that raises costs only itself."""
    callbacks, seen = Callbacks("callbacks"), []

    def call(number: int) -> None:
        seen.append((number, threading.current_thread().name))
        if number == 3:
            raise KeyError("mine")

    with caplog.at_level(logging.ERROR, "mqbridge"):
        for number in range(20):
            callbacks.submit(lambda number=number: call(number))  # type: ignore[misc]
        callbacks.close(5.0)
    assert seen == [(number, "callbacks") for number in range(20)]
    assert "KeyError" in caplog.text


def test_callbacks_close_from_a_callback() -> None:
    """A callback may close what it runs on: no thread waits for itself."""
    callbacks, ended = Callbacks("callbacks"), threading.Event()

    def close() -> None:
        callbacks.close(5.0)
        ended.set()

    callbacks.submit(close)
    assert ended.wait(5)


def test_a_guard_knows_a_fork() -> None:
    """In the child the guard refuses and its methods are called; in the parent nothing changes."""

    class Holder:
        def __init__(self) -> None:
            self.forgotten = False

        def forget(self) -> None:
            self.forgotten = True

    guard, holder = ForkGuard(), Holder()
    guard.on_fork(holder.forget)
    child = os.fork()
    if child == 0:
        try:
            guard.check()
        except ForkedProcess:
            os._exit(0 if holder.forgotten else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    guard.check()
    assert not holder.forgotten
