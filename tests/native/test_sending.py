"""The native sender's buffers: a thread is stopped between drawing its number and putting its record into the
buffer."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until

ONE = mq.Topic("one", partitions=1)
WORK = mq.Queue("work")


class Numbers:
    """Draws numbers; the thread named "slow" is stopped with its number in hand until `go` is set."""

    def __init__(self, first: int) -> None:
        self._numbers = itertools.count(first)
        self.drawn = threading.Event()
        self.go = threading.Event()

    def __next__(self) -> int:
        number = next(self._numbers)
        if threading.current_thread().name == "slow":
            self.drawn.set()
            assert self.go.wait(10)
        return number


class Race:
    """A producer whose slow thread has drawn the number after those of `before`."""

    def __init__(self, bus: mq.Bus, destination: Any, *before: bytes) -> None:
        self.producer = bus.producer(linger_s=60.0)
        self.receipts = {value: self.producer.send(destination, value) for value in before}
        channel: Any = self.producer._route(destination).channel
        self.channel = channel
        self.numbers = Numbers(len(before))
        self.channel._numbers = self.numbers
        self._destination = destination
        self._slow = threading.Thread(target=self.send, args=(b"slow",), name="slow")
        self._slow.start()
        assert self.numbers.drawn.wait(10)

    def send(self, value: bytes) -> None:
        self.receipts[value] = self.producer.send(self._destination, value)

    def let_go(self) -> None:
        self.numbers.go.set()
        self._slow.join(10)
        assert not self._slow.is_alive()


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(ONE, WORK)
        yield bus


def test_receipts_of_overtaken_numbers_tell_their_own_offsets(bus: mq.Bus) -> None:
    """A number that comes into the buffer after a higher one gets the offset of its own record, and so do the
    others."""
    race = Race(bus, ONE, b"0")
    race.send(b"2")
    race.let_go()
    race.send(b"3")
    race.producer.flush(5)
    there = {delivery.offset: delivery.raw for delivery in bus.replay(ONE, mq.EARLIEST)}
    for value, receipt in race.receipts.items():
        assert there[receipt.result(0).offset] == value


@pytest.mark.parametrize("destination", [ONE, WORK])
def test_reports_name_only_what_was_sent(bus: mq.Bus, destination: Any) -> None:
    """A batch whose first and last number are as far apart as if it had no gap, but has one, confirms no stranger."""
    race = Race(bus, destination)  # 0 is drawn
    race.send(b"1")
    race.send(b"2")
    race.channel.seal()
    assert race.receipts[b"1"].done
    assert race.receipts[b"2"].done
    assert not race.producer._routes[destination].log.receipt(0).done
    race.let_go()
    race.producer.close(5)
    assert race.receipts[b"slow"].done


@pytest.mark.parametrize("destination", [ONE, WORK])
def test_the_count_of_what_was_taken_never_goes_back(bus: mq.Bus, destination: Any) -> None:
    """flush() waits for all numbers below `appended`: a thread that comes late must not set it back."""
    race = Race(bus, destination)
    race.send(b"1")
    assert race.channel.appended == 2
    race.let_go()
    assert race.channel.appended == 2
    race.producer.flush(5)
    assert race.channel.appended == 2


@pytest.mark.parametrize("destination", [ONE, WORK])
def test_flush_does_not_leave_a_late_record_to_the_linger(bus: mq.Bus, destination: Any) -> None:
    """A lower number that comes into the buffer after flush() has sealed is sent for it, not a minute later."""
    race = Race(bus, destination)
    race.send(b"1")
    threading.Timer(0.05, race.numbers.go.set).start()
    race.producer.flush(10)
    race.let_go()
    assert race.receipts[b"slow"].done


@pytest.mark.parametrize("destination", [ONE, WORK])
def test_a_record_that_comes_after_close_is_sent_all_the_same(bus: mq.Bus, destination: Any) -> None:
    """A thread inside send() while another one closes: its record goes out without the linger that has ended."""
    race = Race(bus, destination)
    race.producer.close(5)
    race.let_go()
    wait_until(lambda: race.receipts[b"slow"].done)
    assert race.receipts[b"slow"].exception(0) is None


def test_an_empty_routing_key_is_told_as_it_was_sent() -> None:
    """Through an exchange it is an empty text; straight to a queue there is none. An empty one was told as none."""
    exchange = mq.Exchange("events", type="fanout")
    with mq.connect("native:") as bus:
        bus.admin.ensure(WORK, exchange, mq.Binding(exchange, WORK))
        with bus.producer() as producer, bus.consumer(WORK) as consumer:
            producer.send(exchange, b"through", expires_in_s=60)
            producer.send(exchange, b"too")
            producer.send(WORK, b"straight", expires_in_s=60)
            producer.flush(10)
            got = [(d.raw, d.routing_key) for d in consumer.poll() + consumer.poll(timeout=0.1)]
    assert got == [(b"through", ""), (b"too", ""), (b"straight", None)]
