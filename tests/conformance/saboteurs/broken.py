"""A broken bus and a clean one on the same broker in memory.

The rule: what a saboteur did is seen by the clean one; what its program believes, by the broken one.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge_conformance.saboteurs import Plan, open_bus, strikes_told

PATIENCE_S = 10.0


class Pair:
    """`broken` is what the program under test has, `clean` an independent connection."""

    def __init__(self, plan: Plan, stack: contextlib.ExitStack) -> None:
        self.url = f"native:?name=saboteurs-{secrets.token_hex(4)}"
        self.plan = plan
        self._stack = stack
        self.clean = stack.enter_context(mq.connect(self.url))
        self.broken = stack.enter_context(open_bus(self.url, plan=plan))

    def another(self) -> mq.Bus:
        """One more broken bus, of the same plan."""
        return self._stack.enter_context(open_bus(self.url, plan=self.plan))

    @property
    def strikes(self) -> list[dict[str, Any]]:
        assert self.plan.told is not None
        return strikes_told(self.plan.told)

    def stored(self, topic: mq.Topic[Any]) -> list[mq.Delivery[Any]]:
        """What lies in a topic, by partition and offset."""
        found = self.clean.replay(topic, mq.EARLIEST)
        return sorted(found, key=lambda delivery: (delivery.partition, delivery.offset))

    def values(self, topic: mq.Topic[Any]) -> list[bytes | None]:
        return [delivery.raw for delivery in self.stored(topic)]


@contextlib.contextmanager
def pair(code: str, folder: Path, probability: float = 1.0, seed: int = 0) -> Iterator[Pair]:
    """Both, closed at the end; strikes are told in the folder."""
    with contextlib.ExitStack() as stack:
        yield Pair(Plan(code, probability, seed, folder / "strikes.jsonl"), stack)


def receive(consumer: Any, number: int) -> list[mq.Delivery[Any]]:
    """Exactly so many, or what came within the patience."""
    got: list[mq.Delivery[Any]] = []
    idle = 0
    while len(got) < number and idle < 100:
        more = consumer.poll(number - len(got), timeout=PATIENCE_S / 100)
        idle = 0 if more else idle + 1
        got += more
    return got


def nothing_more(consumer: Any, for_s: float = 0.3) -> bool:
    """Does nothing come any more?"""
    return not consumer.poll(1, timeout=for_s)


TOPIC = mq.Topic("t")


def fill(bus: Pair, topic: mq.Topic[Any] = TOPIC, count: int = 6) -> None:
    """So many records in each partition, written by the clean bus."""
    bus.clean.admin.ensure(topic)
    for partition in range(topic.partitions or 1):
        with bus.clean.producer(partitioner=lambda *_, p=partition: p) as producer:
            producer.send_many(topic, [b"%d" % n for n in range(count)])


def member(bus: mq.Bus, topic: mq.Topic[Any] = TOPIC, **options: Any) -> mq.TopicConsumer[Any]:
    """A member of the group g."""
    return bus.consumer(topic, group="g", start=options.pop("start", mq.EARLIEST), **options)
