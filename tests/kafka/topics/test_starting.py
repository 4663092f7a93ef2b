"""The four rules of `start`, and what happens to an offset that the log has lost."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any, Literal

import pytest
from confluent_kafka import TopicPartition

import mqbridge as mq
from mqbridge.testing import wait_until
from tests.kafka.topics.raw import Raw, collect, fresh


def take(consumer: mq.TopicConsumer[bytes], count: int) -> list[tuple[int, int]]:
    """Exactly so many, acked and committed."""
    got = collect(consumer, count)
    for delivery in got:
        delivery.ack()
    consumer.commit()
    return sorted((delivery.partition or 0, delivery.offset or 0) for delivery in got)


@pytest.mark.parametrize("rebalance", ["cooperative", "eager", "server"])
def test_the_start_is_committed_for_all_partitions_before_anything_is_read(
    bus: mq.Bus, raw: Raw, rebalance: Any
) -> None:
    """A group that begins at LATEST has that committed once it is assigned, partitions of other members included."""
    topic, group = raw.topic(partitions=3), fresh("g")
    raw.produce(topic.name, [b"x"] * 4, partition=1)
    with bus.consumer(topic, group=group, start=mq.LATEST, rebalance=rebalance) as consumer:
        consumer.wait_assigned(20)
        assert raw.committed(group) == {(topic.name, 0): 0, (topic.name, 1): 4, (topic.name, 2): 0}


def test_members_that_begin_together_agree_on_the_start(bus: mq.Bus, raw: Raw) -> None:
    """Of several members that join at once, none takes a partition of another for one that was added later."""
    topic, group = raw.topic(partitions=4), fresh("g")
    for partition in range(4):
        raw.produce(topic.name, [b"old"] * 3, partition=partition)
    got: list[bytes | None] = []
    stop = threading.Event()

    def consume() -> None:
        with bus.consumer(topic, group=group, start=mq.LATEST) as consumer:
            while not stop.is_set():
                for delivery in consumer.poll(timeout=0.05):
                    got.append(delivery.raw)
                    delivery.ack()

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(raw.committed(group)) == 4, 20.0)
    for partition in range(4):
        raw.produce(topic.name, [b"new"] * 2, partition=partition)
    wait_until(lambda: len(got) >= 8, 20.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert got == [b"new"] * 8


def test_a_topic_that_a_running_group_takes_on_begins_at_its_start_position(bus: mq.Bus, raw: Raw) -> None:
    """A group with members that begins to consume another topic has its start committed by the member that gets it."""
    old, new, group = raw.topic(), raw.topic(partitions=2), fresh("g")
    raw.produce(new.name, [b"x"] * 5, partition=1)
    with bus.consumer(old, group=group, start=mq.EARLIEST) as first:
        first.wait_assigned(20)
        stop = threading.Event()

        def keep_polling() -> None:
            while not stop.is_set():
                first.poll(timeout=0.05)

        thread = threading.Thread(target=keep_polling)
        thread.start()
        with bus.consumer([old, new], group=group, start=mq.LATEST) as second:
            wait_until(lambda: second.poll(timeout=0.05) or (new.name, 1) in second.assignment(), 20.0)
            assert raw.committed(group) == {(old.name, 0): 0, (new.name, 0): 0, (new.name, 1): 5}
        stop.set()
        thread.join()


@pytest.mark.parametrize("how", ["at", "since"])
def test_positions_by_offset_and_by_time(bus: mq.Bus, raw: Raw, how: Literal["at", "since"]) -> None:
    """At begins at the offsets named, elsewhere at the start; Since at the first record of that time."""
    topic, group = raw.topic(partitions=2), fresh("g")
    hour = dt.timedelta(hours=1)
    now = dt.datetime.now(dt.UTC)
    with bus.producer(partitioner=lambda *_: 0) as producer:
        for ago in (3, 2, 1):
            producer.send(topic, b"x", timestamp=now - ago * hour)
    raw.produce(topic.name, [b"y"], partition=1)
    start = mq.At({0: 1}) if how == "at" else mq.Since(now - 2.5 * hour)
    with bus.consumer(topic, group=group, start=start) as consumer:
        assert take(consumer, 3) == [(0, 1), (0, 2), (1, 0)]


def test_an_added_partition_begins_at_its_beginning(bus: mq.Bus, raw: Raw) -> None:
    """A partition that was added later is read from its first record, though the group began at LATEST; found while
    the member runs too, within the stated time."""
    topic, group = raw.topic(), fresh("g")
    raw.produce(topic.name, [b"x"])
    with bus.consumer(topic, group=group, start=mq.LATEST) as consumer:
        consumer.wait_assigned(20)
        bus.admin.add_partitions(topic, 2)
        raw.produce(topic.name, [b"a", b"b"], partition=1)
        assert take(consumer, 2) == [(1, 0), (1, 1)]


def _with_a_gap(bus: mq.Bus, raw: Raw) -> tuple[mq.Topic[bytes], str]:
    topic, group = raw.topic(), fresh("g")
    raw.produce(topic.name, [b"x"] * 10)
    with bus.consumer(topic, group=group, start=mq.At({0: 3})) as consumer:
        consumer.wait_assigned(20)
    place = TopicPartition(topic.name, 0, 6)
    raw.admin.delete_records([place])[place].result(20)
    return topic, group


@pytest.mark.parametrize("rebalance", ["cooperative", "eager"])
def test_a_lost_offset_is_told_and_a_seek_goes_on(bus: mq.Bus, raw: Raw, rebalance: Any) -> None:
    """What retention took is OffsetLost with its facts, nothing is skipped; a seek ends it."""
    topic, group = _with_a_gap(bus, raw)
    with bus.consumer(topic, group=group, start=mq.EARLIEST, rebalance=rebalance) as consumer:
        with pytest.raises(mq.OffsetLost) as lost:
            wait_until(lambda: consumer.poll(timeout=0.1), 20.0)
        facts = {name: lost.value.__dict__[name] for name in ("topic", "partition", "committed", "start")}
        assert facts == {"topic": topic.name, "partition": 0, "committed": 3, "start": 6}
        assert raw.committed(group) == {(topic.name, 0): 3}
        consumer.seek(topic, 0, 8)
        assert take(consumer, 2) == [(0, 8), (0, 9)]


def test_on_gap_goes_to_an_edge_when_told_to(bus: mq.Bus, raw: Raw) -> None:
    """on_gap='earliest' goes on with the first record there is."""
    topic, group = _with_a_gap(bus, raw)
    with bus.consumer(topic, group=group, start=mq.EARLIEST, on_gap="earliest") as consumer:
        assert take(consumer, 4) == [(0, offset) for offset in range(6, 10)]
