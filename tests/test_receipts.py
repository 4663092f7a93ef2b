"""What became of each send: ranges and lists of reports, in any order, from any thread."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import receipts
from mqbridge.errors import OperationTimeout, Rejected
from mqbridge.hooks import HookSet
from mqbridge.receipts import RECENT, SIZE, SendLog
from mqbridge.testing import wait_until
from mqbridge.waiting import Callbacks, ForkGuard
from tests.fakes import FakeChannel

TOPIC = mq.Topic("orders")


@pytest.fixture
def callbacks() -> Iterator[Callbacks]:
    callbacks = Callbacks("callbacks")
    yield callbacks
    callbacks.close(5.0)


@pytest.fixture
def log(callbacks: Callbacks) -> SendLog:
    return make_log(callbacks)


def make_log(callbacks: Callbacks, timeout_s: float = 120.0) -> SendLog:
    log = SendLog(TOPIC, timeout_s, callbacks, HookSet(()), ForkGuard())
    log.channel = FakeChannel(log)
    return log


def take(log: SendLog, count: int) -> None:
    for _ in range(count):
        log.channel.append(b"", None, None, None, None, None)


def where(log: SendLog, sequence: int) -> tuple[int | None, int | None]:
    confirmation = log.receipt(sequence).result(0)
    return confirmation.partition, confirmation.offset


def test_report_before_the_sender_opened_the_chunk(log: SendLog) -> None:
    """An engine may report a send before `append` has returned: the receipt made afterwards knows it."""
    log.confirmed(SIZE, 2, 3, 50)
    log.failed((SIZE + 2,), Rejected("full"))
    assert where(log, SIZE) == (3, 50)
    assert where(log, SIZE + 1) == (3, 51)
    with pytest.raises(Rejected):
        log.receipt(SIZE + 2).result(0)
    assert not log.receipt(SIZE + 3).done


def test_a_range_over_chunk_boundaries(log: SendLog) -> None:
    """Offsets run on over the boundaries of chunks, and neighbours of the range stay pending."""
    first, count = SIZE - 2, 2 * SIZE + 4
    log.confirmed(first, count, 1, 1000)
    for sequence in (first, SIZE - 1, SIZE, 2 * SIZE, 3 * SIZE, first + count - 1):
        assert where(log, sequence) == (1, 1000 + sequence - first)
    assert not log.receipt(first - 1).done
    assert not log.receipt(first + count).done


def test_scattered_numbers(log: SendLog) -> None:
    """A batch of one partition has gaps in its numbers, may go back, and may cross chunks."""
    numbers = [3, 7, SIZE - 1, SIZE, 5, 2 * SIZE + 1]
    log.confirmed_at(numbers, 4, 70)
    assert [where(log, number) for number in numbers] == [(4, 70 + place) for place in range(len(numbers))]
    assert not log.receipt(4).done


def test_without_offsets(log: SendLog) -> None:
    """An engine that tells no offsets confirms all the same."""
    log.confirmed(0, 1, None, None)
    log.confirmed_at([2], None, None)
    assert where(log, 0) == where(log, 2) == (None, None)


def test_flush_waits_for_exactly_what_was_sent(log: SendLog) -> None:
    """`settled_below` is true when all numbers below are reported, whatever became of them, and none above matters."""
    take(log, 5)
    assert not log.settled_below(1)
    log.confirmed_at([0, 2], 0, 0)
    assert log.settled_below(1)
    assert not log.settled_below(3)
    log.failed((1,), Rejected("no"))
    assert log.settled_below(3)
    assert not log.settled_below(4)


def test_flush_over_many_chunks_in_any_order(log: SendLog) -> None:
    """Chunks may be completed in any order; none is forgotten, none is counted twice."""
    chunks = list(range(6))
    random.Random(7).shuffle(chunks)
    for done, number in enumerate(chunks):
        below = 0
        while below in chunks[:done]:
            below += 1
        assert log.settled_below(below * SIZE)
        assert not log.settled_below(below * SIZE + 1)
        log.confirmed(number * SIZE, SIZE, 0, number * SIZE)
    assert log.settled_below(6 * SIZE)
    assert log.chunks == {}


def test_a_sender_that_slept_through_its_chunk(log: SendLog) -> None:
    """Long after its chunk was complete and let go, a receipt tells what became of it, failures included."""
    log.failed((5,), Rejected("no"))
    log.confirmed_at([n for n in range(SIZE) if n != 5], 0, 0)
    for number in range(1, RECENT + 2):
        log.confirmed(number * SIZE, SIZE, 0, 0)
    with pytest.raises(Rejected):
        log.receipt(5).result(0)


def test_what_is_not_known_any_more_is_not_called_confirmed(log: SendLog) -> None:
    """A failure that flush() has told and forgotten does not turn into a confirmation for a sleeping sender."""
    log.failed((5,), Rejected("no"))
    log.confirmed_at([n for n in range(SIZE) if n != 5], 0, 0)
    log.failures.clear()  # what flush does once it has raised them
    for number in range(1, RECENT + 2):
        log.confirmed(number * SIZE, SIZE, 0, 0)
    with pytest.raises(OperationTimeout) as caught:
        log.receipt(5).result(0)
    assert caught.value.outcome == "unknown"


def test_late_sends_are_given_up_once(callbacks: Callbacks, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the delivery timeout a send ends with its outcome unknown; a report that comes later changes nothing."""
    now = {"s": 0.0}
    monkeypatch.setattr(receipts, "now_s", lambda: now["s"])
    log = make_log(callbacks, timeout_s=10.0)
    take(log, 2)
    early = log.receipt(0)
    heard: list[Any] = []
    early.add_done_callback(heard.append)
    now["s"] = 6.0
    log.give_up_late()
    take(log, 1)
    assert not early.done
    now["s"] = 10.0
    log.give_up_late()
    assert early.done
    error = early.exception(0)
    assert isinstance(error, OperationTimeout)
    assert error.outcome == "unknown"
    assert not log.receipt(2).done
    log.confirmed(0, 3, 0, 0)
    assert early.exception(0) is error
    assert where(log, 2) == (0, 2)
    wait_until(lambda: heard == [early])
    assert log.settled_below(3)


def test_callbacks_come_once_whenever_asked(log: SendLog) -> None:
    """Before, after, several: each callback is called once, on the callback thread, with its receipt."""
    heard: list[tuple[Any, str]] = []

    def hear(receipt: Any) -> None:
        heard.append((receipt, threading.current_thread().name))

    first, second = log.receipt(0), log.receipt(1)
    first.add_done_callback(hear)
    first.add_done_callback(hear)
    log.confirmed(0, 1, 0, 0)
    first.add_done_callback(hear)
    second.add_done_callback(hear)
    log.failed((1,), Rejected("no"))
    wait_until(lambda: len(heard) == 4)
    assert heard == [(first, "callbacks")] * 3 + [(second, "callbacks")]


def test_looking_counts_as_having_seen(log: SendLog) -> None:
    """A failure whose receipt was asked is not raised by flush once more."""
    log.failed((0, 1), Rejected("no"))
    assert isinstance(log.receipt(0).exception(0), Rejected)
    assert list(log.failures) == [1]


def test_a_wait_that_times_out_leaves_the_send_alone(log: SendLog) -> None:
    """The timeout of `result` is the waiter's: the send goes on and can be asked again."""
    take(log, 1)
    receipt = log.receipt(0)
    with pytest.raises(OperationTimeout, match="The send goes on"):
        receipt.result(0.01)
    log.confirmed(0, 1, 0, 9)
    assert receipt.result(0).offset == 9


def test_batch_receipts_are_sequences(log: SendLog) -> None:
    """Receipts by index and slice, results in order, the first error raised."""
    batch = receipts.BatchReceipt({0: log.find(0), 1: log.find(1)}, range(SIZE - 2, SIZE + 2))
    assert len(batch) == 4
    assert not batch.done
    log.confirmed(SIZE - 2, 4, 0, 100)
    assert [confirmation.offset for confirmation in batch.result(0)] == [100, 101, 102, 103]
    assert [receipt.result(0).offset for receipt in batch[1:3]] == [101, 102]
    assert batch[-1].result(0).offset == 103


def test_reports_from_threads_while_others_look(log: SendLog) -> None:
    """Several threads report, one gives up, one flushes: every send ends, once, and keeps its end."""
    total = 8 * SIZE
    take(log, total)

    def report(part: int) -> None:
        for first in range(part, total, 96):
            log.confirmed_at(range(first, min(first + 96, total), 2), part, first)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=report, args=(part,)) for part in (0, 1)]
        for thread in threads:
            thread.start()
        assert log.turnstile.wait_for(lambda: log.settled_below(total), 20)
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert log.chunks == {}
    assert len(log.failures) == 0


def test_a_give_up_and_a_confirmation_at_once_agree(callbacks: Callbacks, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the deadline passes while the confirmation comes in, receipt and flush tell the same."""
    log = make_log(callbacks, timeout_s=0.0)
    take(log, 1)
    receipt = log.receipt(0)

    class Columns(list[Any]):
        """Written by `confirmed` just before it marks: the moment in which the deadline passes."""

        def __setitem__(self, place: Any, value: Any) -> None:
            super().__setitem__(place, value)
            log._expire_below(1)

    chunk = log.find(0)
    log._columns(chunk)
    chunk.partitions = Columns(chunk.partitions or [])
    log.confirmed(0, 1, 0, 5)
    given_up = len(log.failures) > 0
    assert (receipt.exception(0) is not None) == given_up
