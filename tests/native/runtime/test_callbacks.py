"""Mailboxes keep the order of a session's callbacks, whatever threads deliver them."""

from __future__ import annotations

import logging
import threading

import pytest

from mqbridge.native.runtime.callbacks import Mailbox


def test_two_threads_do_not_reorder() -> None:
    """What was put under one lock in some order is delivered in that order, though many threads deliver."""
    mailbox, order, put, seen = Mailbox(), threading.Lock(), [0], list[int]()
    inside = []

    def callback(number: int) -> None:
        inside.append(number)
        assert len(inside) == 1, "two callbacks at the same time"
        seen.append(number)
        inside.pop()

    def work() -> None:
        for _ in range(3000):
            with order:
                put[0] += 1
                mailbox.put(callback, put[0])
            mailbox.deliver()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mailbox.deliver()
    assert seen == list(range(1, 12001))


def test_an_item_put_while_the_deliverer_leaves_is_not_stranded() -> None:
    """After every thread has returned from `deliver`, nothing is left in the box."""
    for _ in range(300):
        mailbox, seen, start = Mailbox(), list[int](), threading.Barrier(2)

        def work(
            mailbox: Mailbox = mailbox, seen: list[int] = seen, start: threading.Barrier = start
        ) -> None:
            start.wait()
            mailbox.put(seen.append, 1)
            mailbox.deliver()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [1, 1]


def test_an_item_put_at_the_last_moment_is_taken_along() -> None:
    """An item put after the last look and before the box is free is not left behind: its owner found it busy."""
    mailbox, seen = Mailbox(), list[int]()

    class LateItem:
        """A lock that gives another thread its turn just before it is released."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def acquire(self, blocking: bool = True) -> bool:
            return self.lock.acquire(blocking)

        def release(self) -> None:
            if seen == [1]:
                mailbox.put(seen.append, 2)
                mailbox.deliver()
            self.lock.release()

    mailbox._busy = LateItem()  # type: ignore[assignment]
    mailbox.put(seen.append, 1)
    mailbox.deliver()
    assert seen == [1, 2]


def test_a_callback_that_delivers_does_not_nest() -> None:
    """A callback that puts and delivers more, ten thousand times, neither recurses nor deadlocks."""
    mailbox, seen = Mailbox(), list[int]()

    def again(number: int) -> None:
        seen.append(number)
        if number < 10_000:
            mailbox.put(again, number + 1)
            mailbox.deliver()

    mailbox.put(again, 1)
    mailbox.deliver()
    assert len(seen) == 10_000


def test_a_failing_callback_costs_the_next_one_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is logged with its traceback and the following item still runs."""
    mailbox, seen = Mailbox(), list[int]()

    def fail() -> None:
        raise RuntimeError("boom")

    mailbox.put(fail)
    mailbox.put(seen.append, 1)
    with caplog.at_level(logging.ERROR):
        mailbox.deliver()
    assert seen == [1]
    assert "boom" in caplog.text


def test_an_interrupt_leaves_the_rest_for_the_next_delivery() -> None:
    """KeyboardInterrupt goes to the thread it hit; what was not run yet is not lost."""
    mailbox, seen = Mailbox(), list[int]()

    def interrupt() -> None:
        raise KeyboardInterrupt

    mailbox.put(interrupt)
    mailbox.put(seen.append, 1)
    with pytest.raises(KeyboardInterrupt):
        mailbox.deliver()
    mailbox.deliver()
    assert seen == [1]
