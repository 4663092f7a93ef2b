"""What the bad-input tests share: three destinations, and short ways to send and to consume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mqbridge as mq

LOG = mq.Topic("orders", partitions=2)
ONE = mq.Topic("single", partitions=1)
WORK = mq.Queue("work")


def connected() -> Iterator[mq.Bus]:
    """A bus in memory that has all three."""
    with mq.connect("native:") as bus:
        bus.admin.ensure(LOG, ONE, WORK)
        yield bus


def send(bus: mq.Bus, destination: Any, *values: bytes) -> None:
    """Send and wait for the confirmations."""
    with bus.producer() as producer:
        for value in values:
            producer.send(destination, value)


def consume(bus: mq.Bus, source: Any) -> Any:
    """A consumer of a topic or a queue, as it may be."""
    return bus.consumer(source, group="g", start=mq.EARLIEST) if isinstance(source, mq.Topic) else bus.consumer(source)
