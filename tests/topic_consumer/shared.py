"""What the tests of topic consumers share: two topics, and short ways to send, join and read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mqbridge as mq
from mqbridge.spi import Assigned
from tests.fakes import FakeTopicSubscription, fake_bus

ONE = mq.Topic("one", partitions=1)
TWO = mq.Topic("two", partitions=2)
P0 = ("one", 0)


def send(bus: mq.Bus, topic: mq.Topic[Any], count: int, first: int = 0) -> None:
    """In one batch a partition: consumers then get blocks of several records."""
    with bus.producer(partitioner="round_robin", linger_s=30.0) as producer:
        producer.send_many(topic, [b"%d" % number for number in range(first, first + count)])


def join(bus: mq.Bus, topic: mq.Topic[Any] = ONE, **options: Any) -> mq.TopicConsumer[Any]:
    return bus.consumer(topic, **{"group": "g", "start": mq.EARLIEST, **options})


def raws(deliveries: Any) -> list[bytes]:
    return [delivery.raw for delivery in deliveries]


def drain(consumer: mq.TopicConsumer[Any], idle_s: float = 0.1) -> list[bytes]:
    got: list[bytes] = []
    while batch := consumer.poll(timeout=idle_s):
        for delivery in batch:
            delivery.ack()
        got += raws(batch)
    return got


def faked(**options: Any) -> Iterator[tuple[mq.TopicConsumer[bytes], FakeTopicSubscription]]:
    bus, engine = fake_bus()
    with bus:
        options = {"settle_interval_s": 60.0, **options}
        consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST, **options)
        engine.topic_subscriptions[0].say(Assigned({P0: (1, 0)}))
        yield consumer, engine.topic_subscriptions[0]
