"""Traffic that goes on whatever happens: a producer and a consumer of each of a topic and a queue, as other parties.

The rule: nobody helps them. They go on by themselves, with the same objects; what was confirmed must be handled, and
how each send ended is told. The next step of a scenario comes when they have moved on, never after a time.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party

__all__ = ["BURST", "Traffic"]

BURST, MOVED = 10, 50
"""Messages that a producer sends at once, and that each consumer handles until traffic has moved on."""
PATIENCES = 4
"""A broker that comes back takes longer than anything else that a scenario waits for."""


class Traffic:
    """Begins at once."""

    def __init__(self, env: Env, *, session_timeout_s: float | None = None) -> None:
        self._env = env
        self._long_s = PATIENCES * env.patience_s
        self.topic: mq.Topic[bytes] = env.topic(partitions=2)
        self.queue: mq.Queue[bytes] = env.queue(dead_letter=None)
        self.group = env.group()
        told = {"producer": "one", "keys": ["a", "b", "c"], "options": {"delivery_timeout_s": 60}}
        self.senders = [env.spawn("send", destination=str(place), **told) for place in (self.topic, self.queue)]
        of_topic: dict[str, Any] = {"group": self.group, "start": "earliest"}
        if session_timeout_s is not None:
            of_topic["session_timeout_s"] = session_timeout_s
        self.consumers = [
            env.spawn("consume", sources=[str(self.topic)], options=of_topic),
            env.spawn("consume", sources=[str(self.queue)]),
        ]
        for party in (*self.senders, *self.consumers):
            party.expect("ready", self._long_s)
        for sender in self.senders:
            sender.command("flow", burst=BURST, every_s=0.05)

    def handled(self, consumer: Party) -> int:
        """How many messages it has settled, or tried to."""
        consumer.command("progress")
        return int(consumer.expect("progress", self._long_s)["handled"])

    def moves_on(self, when: str) -> None:
        """Wait until each consumer has handled some more than when this was asked; fails if one does not."""
        before = [self.handled(consumer) for consumer in self.consumers]
        for consumer, then in zip(self.consumers, before, strict=True):
            self._until(consumer, then + MOVED, f"how many a consumer handles {when}", "starvation")
        self._env.count(f"handled_{when.replace(' ', '_')}", MOVED)

    def ends(self) -> Counter[str]:
        """Stop sending, wait until what was confirmed is handled, and say that this was all; how sends ended."""
        env, ends = self._env, Counter[str]()
        for sender in self.senders:
            sender.command("halt")
        for sender, consumer in zip(self.senders, self.consumers, strict=True):
            told = sender.expect("sent", self._long_s)
            ends.update({how: told.get(how, 0) for how in ("confirmed", "not_applied", "unknown")})
            number = told.get("confirmed", 0)
            self._until(consumer, number, "how many are handled of what was confirmed", "lost")
        for consumer in self.consumers:
            consumer.command("leave")
            consumer.expect("left", self._long_s)
        for how, number in ends.items():
            env.count(how, number)
        env.drained(self.topic, self.group)
        env.drained(self.queue)
        env.observer.records(self.topic.name)
        return ends

    def _until(self, consumer: Party, number: int, what: str, anomaly: str) -> None:
        """Wait until it has handled that many, or more."""

        def handled() -> int:
            return min(number, self.handled(consumer))

        self._env.eventually(handled, number, what, anomaly, patience_s=self._long_s)
