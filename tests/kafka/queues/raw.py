"""Looking at queues from outside: the client alone, nothing of the engine under test."""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import AcknowledgeType, Consumer, Message, Producer, ShareConsumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

import mqbridge as mq

DEADLINE_S = 15.0


def servers(url: str) -> str:
    return url.removeprefix("kafka://")


def fresh_name() -> str:
    return f"q{secrets.token_hex(4)}"


def until(look: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> Any:
    """What `look` gives, once it is true."""
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, f"{what} did not happen within {within_s:g} s"
    return found


def client(url: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers(url), "log_level": 0})


def topics(url: str) -> set[str]:
    return set(client(url).list_topics(timeout=10).topics)


def records(url: str, topic: str) -> list[Message]:
    """Every record of a topic of one partition."""
    consumer = Consumer(
        {"bootstrap.servers": servers(url), "group.id": "outside", "enable.partition.eof": True, "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Message] = []
    try:
        while True:
            message = consumer.poll(DEADLINE_S)
            assert message is not None, f"{topic} could not be read"
            if message.error() is not None:
                return found
            found.append(message)
    finally:
        consumer.close()


def header(message: Message, name: str) -> bytes | None:
    pairs: Any = message.headers() or []
    return next((value for key, value in pairs if key == name), None)


def produce(url: str, topic: str, values: list[bytes], **options: Any) -> None:
    """One batch of a producer that knows nothing of mqbridge."""
    producer = Producer({"bootstrap.servers": servers(url), "linger.ms": 50, "log_level": 0})
    for value in values:
        producer.produce(topic, value, **options)
    assert producer.flush(DEADLINE_S) == 0


@contextlib.contextmanager
def share_member(url: str, queue: str) -> Iterator[ShareConsumer]:
    """A member of the queue's share group."""
    member = ShareConsumer(
        {
            "bootstrap.servers": servers(url),
            "group.id": f"mqbridge.{queue}",
            "share.acknowledgement.mode": "explicit",
            "log_level": 0,
        }
    )
    member.subscribe([f"{queue}.mqq"])
    try:
        yield member
    finally:
        member.close()


def taken_outside(url: str, queue: str, quiet_s: float = 1.5) -> list[tuple[bytes | None, int]]:
    """What is available in a queue now, as (value, delivery count), taken out of it."""
    found: list[tuple[bytes | None, int]] = []
    with share_member(url, queue) as member:
        until_s = time.monotonic() + quiet_s
        while time.monotonic() < until_s:
            messages = list(member.poll(0.2))
            for message in messages:
                found.append((message.value(), message.delivery_count() or 0))
                member.acknowledge(message, AcknowledgeType.ACCEPT)
            if messages:
                member.commit_sync(10.0)
            else:
                member.subscribe([f"{queue}.mqq"])
    return found


def set_group(url: str, queue: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, f"mqbridge.{queue}", incremental_configs=[entry])
    admin = client(url)  # held: its futures end with it
    admin.incremental_alter_configs([resource])[resource].result(DEADLINE_S)


@functools.lru_cache(maxsize=2)
def producer_of(bus: mq.Bus) -> mq.Producer:
    """One producer for the tests of a file: a new one takes half a second to begin. It is closed with its bus."""
    return bus.producer()


def send(bus: mq.Bus, destination: mq.Queue[bytes] | mq.Exchange, *values: bytes, **options: Any) -> None:
    """Send, and wait until it is confirmed."""
    for receipt in [producer_of(bus).send(destination, value, **options) for value in values]:
        receipt.result(DEADLINE_S)


def collect(consumer: mq.QueueConsumer[bytes], count: int) -> list[mq.Delivery[bytes]]:
    """The next `count` deliveries."""
    found: list[mq.Delivery[bytes]] = []

    def enough() -> bool:
        found.extend(consumer.poll(timeout=0.2, max_messages=count - len(found)))
        return len(found) >= count

    until(enough, f"{count} deliveries")
    return found


def nothing_comes(consumer: mq.QueueConsumer[bytes], for_s: float = 0.7) -> bool:
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        if consumer.poll(timeout=0.1):
            return False
    return True
