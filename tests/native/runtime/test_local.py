"""The broker of this process: one call at a time, notes in order, ticks when they are due, faults that stop
it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.runtime import local
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.clock import Clock, RealClock
from mqbridge.native.runtime.local import LocalBroker, LocalLink
from tests.native.runtime.fakes import Calls, FakeBroker, HandClock, batch, wait_until


@pytest.fixture
def opened() -> Iterator[list[LocalBroker]]:
    """Brokers to be closed at the end."""
    brokers: list[LocalBroker] = []
    yield brokers
    for broker in brokers:
        broker.close()


def start(opened: list[LocalBroker], clock: Clock | None = None) -> tuple[FakeBroker, LocalBroker]:
    fake = FakeBroker()
    broker = LocalBroker(fake, clock or HandClock())
    opened.append(broker)
    return fake, broker


def link_to(broker: LocalBroker, notes: list[dict[str, Any]] | None = None) -> LocalLink:
    return LocalLink(broker, 7, Mailbox(), (notes if notes is not None else []).append)


def test_a_call_is_answered_before_it_returns(opened: list[LocalBroker]) -> None:
    """Reply, batches and errors come inline, the call's own notes before its completion."""
    _, broker = start(opened)
    heard: list[Any] = []
    link = LocalLink(broker, 7, Mailbox(), heard.append)
    done = Calls()
    sent = batch(b"a")
    link.call("echo", {"x": 1}, [sent], done)
    assert done.ended == [({"x": 1}, [sent], None)]
    link.call("note", {}, [], lambda *outcome: heard.append(outcome))
    assert [type(item) for item in heard] == [dict, tuple]
    failed = Calls()
    link.call("fail", {"thing": 3}, [], failed)
    assert isinstance(failed.error(), errors.NotFound)
    assert link.session_epoch == 7


def test_callbacks_run_outside_the_lock(opened: list[LocalBroker]) -> None:
    """While a completion runs, another thread's call on the same broker gets through."""
    _, broker = start(opened)
    one, two = link_to(broker), link_to(broker)
    through = threading.Event()

    def done(*_: object) -> None:
        other = threading.Thread(target=two.call, args=("echo", {}, [], lambda *_: through.set()))
        other.start()
        assert through.wait(10)
        other.join()

    one.call("echo", {}, [], done)
    assert through.is_set()


def test_notes_of_a_session_keep_their_order_under_two_threads(opened: list[LocalBroker]) -> None:
    """Notes produced by calls of several threads reach their session in the order of production."""
    _, broker = start(opened)
    notes: list[dict[str, Any]] = []
    target = link_to(broker, notes)
    assert target is not None

    def work() -> None:
        link = link_to(broker)
        for _ in range(1500):
            link.call("note", {"to": 1}, [], lambda *_: None)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [note["number"] for note in notes] == list(range(1, 4501))


def test_a_reply_is_not_overtaken_by_a_later_note(opened: list[LocalBroker]) -> None:
    """What the broker said first is heard first: a note of a later call never precedes an earlier reply."""
    _, broker = start(opened)
    heard: list[int] = []
    mine = LocalLink(broker, 1, Mailbox(), lambda note: heard.append(note["number"]))
    stop = threading.Event()

    def disturb() -> None:
        link = link_to(broker)
        while not stop.is_set():
            link.call("note", {"to": 1}, [], lambda *_: None)

    thread = threading.Thread(target=disturb)
    thread.start()
    for _ in range(2000):
        mine.call("note", {"to": 2}, [], lambda reply, batches, error: heard.append((reply or {})["number"]))
    stop.set()
    thread.join()
    assert heard == sorted(heard)


def test_reentrant_calls_neither_deadlock_nor_recurse(opened: list[LocalBroker]) -> None:
    """Completions and note handlers that call again, thousands deep in logic, stay flat on the stack."""
    fake, broker = start(opened)
    links: list[LocalLink] = []

    def on_note(note: dict[str, Any]) -> None:
        if note["number"] < 5000:
            links[0].call("note", {}, [], lambda *_: None)

    links.append(LocalLink(broker, 1, Mailbox(), on_note))
    links[0].call("note", {}, [], lambda *_: None)
    assert fake.numbers == 5000
    left = [5000]

    def done(*_: object) -> None:
        left[0] -= 1
        if left[0]:
            links[0].call("fail", {}, [], done)

    links[0].call("fail", {}, [], done)
    assert left == [0]


def test_a_stepped_clock_ticks_and_no_thread_is_made(opened: list[LocalBroker]) -> None:
    """With a clock moved by hand, an advance ticks in that thread, and closing unsubscribes."""
    clock = HandClock()
    before = threading.active_count()
    fake, broker = start(opened, clock)
    assert threading.active_count() == before
    clock.advance(5)
    assert [tick.mono_s for tick in fake.ticks] == [1005.0]
    broker.close()
    clock.advance(5)
    assert len(fake.ticks) == 1
    assert clock.listeners == []


def test_the_ticker_wakes_at_the_deadline(opened: list[LocalBroker]) -> None:
    """On the real clock a deadline set by a call is kept, though the ticker slept without one."""
    fake, broker = start(opened, RealClock())
    link = link_to(broker)
    due = time.monotonic() + 0.1
    link.call("deadline", {"at": due}, [], lambda *_: None)
    assert fake.ticked.wait(10)
    assert due <= fake.ticks[0].mono_s < due + 5


def test_the_ticker_is_woken_only_for_an_earlier_deadline(
    opened: list[LocalBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that leave the deadline where it was, or move it back, wake nobody."""
    _, broker = start(opened, RealClock())
    link = link_to(broker)
    far = time.monotonic() + 1000
    woken: list[int] = []
    monkeypatch.setattr(broker._wake, "notify", lambda: woken.append(1))
    wait_until(lambda: broker._sleeping_until == float("inf"), "the ticker sleeps")
    for at in (far, far, far + 5, far - 1, far - 1):
        link.call("deadline", {"at": at}, [], lambda *_: None)
    assert len(woken) == 2


def test_a_deadline_that_stays_in_the_past_does_not_spin(opened: list[LocalBroker]) -> None:
    """A broker that always wants a tick gets about a thousand a second at most."""
    fake, broker = start(opened, RealClock())
    link = link_to(broker)

    def never_content(now: object) -> float:
        return time.monotonic()

    fake.next_deadline = never_content  # type: ignore[method-assign]
    link.call("echo", {}, [], lambda *_: None)
    wait_until(lambda: len(fake.ticks) > 20, "ticks")
    spans = [b.mono_s - a.mono_s for a, b in zip(fake.ticks, fake.ticks[1:], strict=False)]
    assert min(spans) >= local._MIN_TICK_S * 0.99


def test_a_deadline_far_back_is_no_stall(opened: list[LocalBroker], caplog: pytest.LogCaptureFixture) -> None:
    """What expired while the broker was down is due at once, and nobody is told that the process stood still."""
    fake, broker = start(opened, RealClock())
    link_to(broker).call("deadline", {"at": time.monotonic() - 5000}, [], lambda *_: None)
    assert fake.ticked.wait(10)
    assert "did not run" not in caplog.text


def test_housekeeping_that_fails_is_tried_again(
    opened: list[LocalBroker], caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk during a tick is logged and does not stop the broker."""
    clock = HandClock()
    fake, broker = start(opened, clock)
    fake.tick_error = errors.Rejected("no room on the disk")
    with caplog.at_level(logging.WARNING):
        clock.advance(1)
    assert "no room on the disk" in caplog.text
    done = Calls()
    link_to(broker).call("echo", {}, [], done)
    done.reply()


def test_after_a_stall_sessions_get_a_moment_before_the_tick(caplog: pytest.LogCaptureFixture) -> None:
    """A ticker that wakes far too late lets calls in first: heartbeats that waited count before the
    judgement.
    """

    class Jumping(RealClock):
        __slots__ = ("ahead_s",)

        def __init__(self) -> None:
            self.ahead_s = 0.0

        def mono_s(self) -> float:
            return time.monotonic() + self.ahead_s

    clock = Jumping()
    fake = FakeBroker()
    fake.deadline = clock.mono_s() + 0.5
    broker = LocalBroker(fake, clock)
    try:
        link = link_to(broker)
        wait_until(lambda: broker._sleeping_until == fake.deadline, "the ticker sleeps")
        clock.ahead_s = 30.0
        with caplog.at_level(logging.WARNING):
            wait_until(lambda: "did not run" in caplog.text, "the stall is noticed")
            link.call("echo", {}, [], lambda *_: None)
            assert fake.ticks == []
            wait_until(lambda: fake.ticks, "the tick comes")
    finally:
        broker.close()


def test_a_fault_of_the_broker_stops_it_loudly(
    opened: list[LocalBroker], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception outside the tree ends the call as unknown, later ones as not applied, and tells the owner
    once.
    """
    fake = FakeBroker()
    told: list[int] = []
    broker = LocalBroker(fake, HandClock(), lambda: told.append(1))
    opened.append(broker)
    link = link_to(broker)
    first, second = Calls(), Calls()
    link.call("bug", {}, [], first)
    link.call("echo", {}, [], second)
    assert (first.error().outcome, second.error().outcome) == ("unknown", "not_applied")
    assert isinstance(first.error().__cause__, KeyError)
    assert told == [1]
    assert "a bug" in caplog.text
    assert fake.calls == [(1, "bug")]
    with pytest.raises(errors.ConnectionLost):
        link_to(broker)


def test_an_interrupt_inside_the_broker_stops_it_and_goes_on(opened: list[LocalBroker]) -> None:
    """Ctrl-C in the middle of an operation leaves a state in doubt: it is not used again, and the interrupt
    is raised.
    """
    _, broker = start(opened)
    link, done = link_to(broker), Calls()
    with pytest.raises(KeyboardInterrupt):
        link.call("interrupt", {}, [], done)
    assert done.error().outcome == "unknown"
    assert broker.stopped


def test_a_closed_link_refuses(opened: list[LocalBroker]) -> None:
    """After `close` the session is closed once, as clean or not, and calls end with Closed."""
    fake, broker = start(opened)
    link = link_to(broker)
    link.close(clean=False)
    link.close(clean=True)
    assert fake.sessions == {1: False}
    done = Calls()
    link.call("echo", {}, [], done)
    assert isinstance(done.error(), errors.Closed)


def test_closing_ends_the_ticker() -> None:
    """No thread is left behind."""
    before = threading.active_count()
    broker = LocalBroker(FakeBroker(), RealClock())
    assert threading.active_count() == before + 1
    broker.close()
    assert threading.active_count() == before
