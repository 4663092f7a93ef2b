"""Members of one process, polled in turn by one thread, so that a scenario knows what each of them was given.

The rule: whoever is driven is polled often enough to take part in a rebalance; what comes is kept, and settled where
the scenario says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CheckFailed

__all__ = ["TURN_S", "Member", "drive", "shared_out"]

TURN_S = 0.02


class Member:
    """A consumer, what it was given, and what it was told of its partitions."""

    def __init__(self, env: Env, name: str, topic: mq.Topic[bytes], group: str, **options: Any) -> None:
        self.name = name
        self.consumer = env.bus.consumer(topic, **{"group": group, "start": mq.EARLIEST, **options})
        self.got: list[mq.Delivery[bytes]] = []
        self.at_s: list[float] = []
        self.gained: list[int] = []
        self.asked_back: list[int] = []
        self.consumer.on_assigned(lambda places: self.gained.extend(number for _, number in places))
        self.consumer.on_revoked(lambda places: self.asked_back.extend(number for _, number in places))
        self.consumer.on_lost(lambda places: self.asked_back.extend(number for _, number in places))

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that it has now."""
        return tuple(number for _, number in self.consumer.assignment())

    def turn(self, settle: bool) -> None:
        """Poll once."""
        for delivery in self.consumer.poll(timeout=TURN_S):
            self.got.append(delivery)
            self.at_s.append(time.monotonic())
            if settle:
                delivery.ack()


def drive(
    env: Env,
    members: Sequence[Member],
    until: Callable[[], bool],
    what: str,
    *,
    settle: bool = True,
    anomaly: str = "unseen",
) -> None:
    """Poll all of them in turn until it is so; fails when it does not come to be."""
    give_up_s = time.monotonic() + env.patience_s
    while not until():
        if time.monotonic() >= give_up_s:
            has = {member.name: member.partitions for member in members}
            raise CheckFailed(f"{what}: not so after {env.patience_s:g} s; partitions: {has}", anomaly)
        for member in members:
            member.turn(settle)


def shared_out(members: Sequence[Member], partitions: int) -> bool:
    """Has each partition one of them, and each member as many as any other, or one less?"""
    held = sorted(number for member in members for number in member.partitions)
    sizes = [len(member.partitions) for member in members]
    return held == list(range(partitions)) and max(sizes) - min(sizes) <= 1
