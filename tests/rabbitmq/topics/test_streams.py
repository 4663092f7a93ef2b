"""The reading place in one stream, without a broker: generations, credit, and what lies before the offset."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pika

import mqbridge as mq
from mqbridge.errors import MqbridgeError
from mqbridge_rabbitmq.streams import PREFETCH, StreamReader


class Loop:
    """Runs what it was given when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def call(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    soon = call

    def turn(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


class Channel:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_open = True
        self.consumer_tags: list[str] = []
        self._cancelled: set[str] = set()
        self.acked: list[int] = []
        self.prefetch = 0
        self.offset: Any = None
        self.deliver: Any = None
        self.tag = 0

    def add_on_close_callback(self, fn: Any) -> None:
        self.on_close = fn

    def add_on_cancel_callback(self, fn: Any) -> None:
        self.on_cancel = fn

    def basic_qos(self, prefetch_count: int) -> None:
        self.prefetch = prefetch_count

    def basic_consume(self, queue: str, deliver: Any, arguments: dict[str, Any]) -> None:
        self.deliver, self.offset = deliver, arguments["x-stream-offset"]

    def basic_ack(self, tag: int, multiple: bool) -> None:
        self.acked.append(tag)

    def close(self) -> None:
        self.is_open = False

    def send(self, *offsets: int) -> None:
        for offset in offsets:
            self.tag += 1
            properties = pika.BasicProperties(headers={"x-stream-offset": offset})
            self.deliver(self, SimpleNamespace(delivery_tag=self.tag), properties, b"%d" % offset)


class Connection:
    is_open = True

    def __init__(self) -> None:
        self.channels: list[Channel] = []

    def channel(self, on_open_callback: Any) -> Channel:
        channel = Channel(self)
        self.channels.append(channel)
        self.opened = on_open_callback
        return channel


class Place:
    """A reader at offset 5 of a partition, with its loop and its connection."""

    def __init__(self) -> None:
        self.loop = cast("Any", Loop())
        self.connection = cast("Any", Connection())
        self.failures: list[MqbridgeError] = []
        self.reader = StreamReader(
            self.loop, mq.Topic("t"), 0, 1, 5, lambda: None, lambda _reader, error: self.failures.append(error)
        )
        self.reader.open(self.connection)

    def begin(self) -> Channel:
        channel: Channel = self.connection.channels[-1]
        self.connection.opened(channel)
        return channel

    def taken(self) -> list[int]:
        block = self.reader.take()
        return [] if block is None else [block.offset(index) for index in range(block.count)]


def test_a_turn_is_a_block_and_credit_comes_with_taking_it() -> None:
    """What arrived is not credited; what was taken is, once, up to its last tag. Gaps stay gaps."""
    place = Place()
    channel = place.begin()
    assert (channel.offset, channel.prefetch) == (5, PREFETCH)
    channel.send(5, 6, 9)
    place.loop.turn()
    channel.send(10)
    place.loop.turn()
    assert channel.acked == []
    block = place.reader.take()
    assert block is not None
    assert ([block.offset(index) for index in range(block.count)], block.next_offset) == ([5, 6, 9], 10)
    place.loop.turn()
    assert channel.acked == [3]
    assert place.taken() == [10]


def test_what_lies_before_the_offset_is_dropped_and_credited() -> None:
    """A chunk begins before it; without credit a large chunk would stop the reading for ever."""
    place = Place()
    channel = place.begin()
    channel.send(2, 3, 4, 5)
    place.loop.turn()
    assert channel.acked == [1, 2, 3]
    assert place.taken() == [5]


def test_nothing_of_before_a_seek_comes_after_it() -> None:
    """Neither what was buffered, nor what the loop had not made a block of when the application sought."""
    place = Place()
    channel = place.begin()
    channel.send(5, 6)
    place.loop.turn()
    channel.send(7, 8)
    place.reader.seek(100)
    channel.send(9)
    place.loop.turn()
    assert place.taken() == []
    assert not channel.is_open
    fresh = place.begin()
    assert fresh.offset == 100
    channel.send(10)
    fresh.send(100)
    place.loop.turn()
    assert place.taken() == [100]


def test_it_goes_on_where_it_was_on_the_next_connection() -> None:
    """After the last record that became a block; what had not is read again, and an old block's credit is forgotten."""
    place = Place()
    channel = place.begin()
    channel.send(5, 6)
    place.loop.turn()
    channel.send(7)
    channel.is_open = False
    channel.on_close(channel, pika.exceptions.ConnectionClosedByBroker(320, "gone"))
    place.connection = Connection()
    place.reader.open(place.connection)
    fresh = place.begin()
    assert fresh.offset == 7
    assert place.taken() == [5, 6]
    place.loop.turn()
    assert (channel.acked, fresh.acked) == ([], [])


def test_a_paused_reader_keeps_what_it_has() -> None:
    """No block and no credit until it is resumed."""
    place = Place()
    channel = place.begin()
    channel.send(5)
    place.loop.turn()
    place.reader.paused = True
    assert place.taken() == []
    place.reader.paused = False
    assert place.taken() == [5]


def test_the_brokers_refusal_is_told_once() -> None:
    """A deleted stream and a closed channel are failures; the end of the connection is not."""
    place = Place()
    channel = place.begin()
    channel.on_cancel(None)
    assert [type(error) for error in place.failures] == [mq.NotFound]
    channel.on_close(channel, pika.exceptions.ChannelClosedByBroker(404, "no queue"))
    assert len(place.failures) == 1
