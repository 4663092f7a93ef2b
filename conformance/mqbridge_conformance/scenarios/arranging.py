"""What scenarios of topics arrange: records in partitions of their choice, deliveries settled for certain.

The rule: it arranges and reads, and judges nothing beyond what `Env` does itself. What one family alone needs is in
that family.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.history import Payload, identify

__all__ = ["acked", "by_partition", "filled", "number", "numbers", "places"]


def filled(
    env: Env, topic: mq.Topic[bytes], numbers: Iterable[int], *, partitions: Sequence[int] = (0,), producer: str = "p"
) -> list[mq.Confirmation]:
    """Payloads of these numbers to each of the partitions, whose own producer counts them (``p0``, ``p1``, ...); all
    confirmed."""
    at = 0
    receipts: list[mq.Receipt] = []
    with env.bus.producer(partitioner=lambda *_: at) as sender:
        for number in numbers:
            for at in partitions:
                value = env.payload(topic, f"{producer}{at}", number, key=f"k{at}")
                receipts.append(sender.send(topic, value, key=f"k{at}"))
        return [receipt.result(env.patience_s) for receipt in receipts]


def number(delivery: Any) -> int:
    """The number that its producer gave a payload."""
    payload = Payload.decode(identify(delivery.raw))
    assert payload is not None, f"{delivery} has no payload"
    return payload.number


def numbers(deliveries: Iterable[Any]) -> list[int]:
    """The same of several, in their order."""
    return [number(delivery) for delivery in deliveries]


def places(deliveries: Iterable[Any]) -> list[tuple[int, int]]:
    """Partition and offset of each, in their order."""
    return [(delivery.partition, delivery.offset) for delivery in deliveries]


def by_partition(deliveries: Iterable[Any]) -> dict[int, list[Any]]:
    """Deliveries, or records, by partition, each in the order in which they came."""
    found: dict[int, list[Any]] = defaultdict(list)
    for delivery in deliveries:
        found[delivery.partition].append(delivery)
    return dict(found)


def acked(env: Env, consumer: mq.TopicConsumer[bytes], deliveries: Iterable[Any]) -> None:
    """Ack them, and wait until the engine has that."""
    for delivery in deliveries:
        delivery.ack()
    consumer.commit(env.patience_s)
