"""Replays of streams: bounds by offset and by time, gaps at the ends, and what a lost connection does to one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

import mqbridge as mq
from tests.rabbitmq.topics import raw

MakeTopic = Callable[..., mq.Topic[bytes]]
BASE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def send(bus: mq.Bus, topic: mq.Topic[bytes], numbers: range, partition: int = 0) -> None:
    with bus.producer(partitioner=lambda *_: partition) as producer:
        for number in numbers:
            producer.send(topic, b"%d" % number, timestamp=BASE + dt.timedelta(milliseconds=100 * number))


def test_by_offset_and_its_ends(rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic) -> None:
    """Exactly the records between, partition by partition; an empty partition and an empty range end at once."""
    topic = make_topic(partitions=3)
    send(rabbit, topic, range(20))
    send(rabbit, topic, range(5), partition=1)
    replay = rabbit.replay(topic, mq.At({0: 7, 1: 2, 2: 9}), mq.At({0: 12}))
    assert replay.ranges == {0: (7, 12), 1: (2, 5), 2: (0, 0)}
    got = list(replay)
    assert sorted((d.partition, d.offset, d.raw) for d in got) == [
        *((0, n, b"%d" % n) for n in range(7, 12)),
        *((1, n, b"%d" % n) for n in range(2, 5)),
    ]
    assert got[0].raw == raw.read(rabbitmq_url, f"{topic.name}.mqt-0", 1, 7)[0][2] or got[0].partition == 1
    assert list(rabbit.replay(topic, mq.LATEST)) == []
    with pytest.raises(mq.InvalidSpec):
        rabbit.replay(topic, mq.At({3: 0}))


def test_the_end_is_fixed_when_it_begins(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """What is sent while it runs is not part of it."""
    topic = make_topic()
    send(rabbit, topic, range(10))
    replay = rabbit.replay(topic, mq.EARLIEST)
    send(rabbit, topic, range(10, 20))
    assert [d.raw for d in replay] == [b"%d" % n for n in range(10)]


def test_the_end_is_exact_at_once_after_a_confirm(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """No sampled count, no timeout: whatever was confirmed is inside the bounds, each time."""
    topic = make_topic()
    with rabbit.producer() as producer:
        for number in range(25):
            producer.send(topic, b"x").result(10)
            assert rabbit.admin.offsets(topic)[0].end == number + 1


def test_by_time_to_the_millisecond(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """The first record at or after the time, though the broker finds a chunk to the second only."""
    topic = make_topic(partitions=2)
    send(rabbit, topic, range(50))
    when = BASE + dt.timedelta(milliseconds=1501)
    assert rabbit.admin.offset_at(topic, when) == {0: 16, 1: None}
    assert [d.offset for d in rabbit.replay(topic, mq.Since(when))] == list(range(16, 50))
    future = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert rabbit.admin.offset_at(topic, future) == {0: None, 1: None}
    with rabbit.producer() as producer:
        receipt = producer.send(topic, b"late", key=b"k", timestamp=future + dt.timedelta(seconds=5)).result(10)
    assert rabbit.admin.offset_at(topic, future)[receipt.partition or 0] == (50 if receipt.partition == 0 else 0)


def test_many_records_come_once_and_in_order(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """More than a prefetch, in chunks of the broker's own making: none lost, none twice, memory bounded by credit."""
    topic = make_topic()
    values = [b"%d" % number for number in range(5000)]
    with rabbit.producer() as producer:
        producer.send_many(topic, values)
    assert [d.raw for d in rabbit.replay(topic, mq.EARLIEST)] == values


def test_it_goes_on_after_its_connection_was_killed(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic
) -> None:
    """A replay has no lease to lose: it reads on where it was, each record once."""
    topic = make_topic()
    values = [b"%d" % number for number in range(4000)]
    with rabbit.producer() as producer:
        producer.send_many(topic, values)
    replay = rabbit.replay(topic, mq.EARLIEST)
    got = replay.poll(100)
    rabbit_connection = rabbit._connection
    rabbit_connection.loop.call(  # type: ignore[attr-defined]
        lambda: rabbit_connection.consuming.connection.drop(OSError("cut by the test"))  # type: ignore[attr-defined]
    )
    got += list(replay)
    assert [d.raw for d in got] == values
