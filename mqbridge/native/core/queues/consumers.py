"""The consumers of one queue: who may take, and who is told that there is something to take.

The rule: a consumer never has more unsettled messages than its prefetch, and a note is sent only for messages that
those told before could not take. Messages are pulled, so what RabbitMQ does by pushing to the highest consumer that
has credit is done here by keeping messages back for those above that wait for them, `PATIENCE_S` at most: a
consumer that does not come when it is told holds nobody up for longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mqbridge.native.core.queues.records import Message

PATIENCE_S: Final = 1.0


class Consumer:
    """One consumer. `unsettled` is by delivery tag; a tag is given once in the life of the store."""

    __slots__ = ("id", "noted_at", "prefetch", "priority", "queue", "session", "unsettled")

    def __init__(self, id: int, session: int, queue: str, prefetch: int, priority: int) -> None:
        self.id = id
        self.session = session
        self.queue = queue
        self.prefetch = prefetch
        self.priority = priority
        self.unsettled: dict[int, Message] = {}
        self.noted_at = 0.0

    @property
    def credit(self) -> int:
        return self.prefetch - len(self.unsettled)


class Consumers:
    """All consumers of one queue, highest priority first, older before younger."""

    __slots__ = ("_active", "_members", "_noted", "_single_active", "_waiting")

    def __init__(self, single_active: bool) -> None:
        self._single_active = single_active
        self._members: list[Consumer] = []
        self._active: Consumer | None = None
        # Those with an armed watch, in the order in which they began to wait, and those told that did not come yet.
        self._waiting: dict[int, Consumer] = {}
        self._noted: dict[int, Consumer] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Consumer]:
        return iter(tuple(self._members))

    def add(self, consumer: Consumer) -> None:
        """The first of a single active queue is the active one, and stays so whoever comes later."""
        self._members.append(consumer)
        self._members.sort(key=lambda member: (-member.priority, member.id))
        if self._active is None:
            self._active = consumer

    def remove(self, gone: Iterable[Consumer], now_s: float) -> Consumer | None:
        """Take consumers out; the one promoted to active that waits and must be told, or None."""
        for consumer in gone:
            self._members.remove(consumer)
            self._waiting.pop(consumer.id, None)
            self._noted.pop(consumer.id, None)
        if self._active in self._members:
            return None
        self._active = self._members[0] if self._members else None
        promoted = self._active
        if not self._single_active or promoted is None or promoted.id not in self._waiting:
            return None
        self._tell(promoted, now_s)
        return promoted

    def is_active(self, consumer: Consumer) -> bool:
        return not self._single_active or consumer is self._active

    def came(self, consumer: Consumer) -> None:
        """The consumer takes: its watch is used up, and what was kept back for it is not any more."""
        if self._waiting or self._noted:
            self._waiting.pop(consumer.id, None)
            self._noted.pop(consumer.id, None)

    def wait(self, consumer: Consumer) -> None:
        """Arm a one-shot watch."""
        self._waiting[consumer.id] = consumer

    def may_take(self, consumer: Consumer, wanted: int, ready: int, now_s: float) -> int:
        """How many of `ready` messages this consumer may take now, if it wants `wanted`."""
        credit = consumer.prefetch - len(consumer.unsettled)
        if credit < wanted:
            wanted = credit
        if self._single_active:
            return wanted if consumer is self._active else 0
        if self._waiting or self._noted:
            above = [
                member.credit
                for member in (*self._waiting.values(), *self._patiently_noted(now_s))
                if member.priority > consumer.priority
            ]
            wanted = min(wanted, ready - sum(above))
        return wanted if wanted > 0 else 0

    def to_tell(self, ready: int, now_s: float) -> list[Consumer]:
        """Those to be told now that `ready` messages are there, the longest waiting first within a priority."""
        if not self._waiting or not ready:
            return []
        budget = ready - sum(member.credit for member in self._patiently_noted(now_s))
        told: list[Consumer] = []
        for consumer in sorted(self._waiting.values(), key=lambda member: -member.priority):
            if budget <= 0:
                break
            if consumer.credit > 0 and self.is_active(consumer):
                budget -= consumer.credit
                self._tell(consumer, now_s)
                told.append(consumer)
        return told

    def patience_ends(self, now_s: float) -> float | None:
        """When those who wait behind one that was told, and does not come, get their turn."""
        if not self._waiting:
            return None
        return min((member.noted_at + PATIENCE_S for member in self._patiently_noted(now_s)), default=None)

    def _tell(self, consumer: Consumer, now_s: float) -> None:
        del self._waiting[consumer.id]
        consumer.noted_at = now_s
        self._noted[consumer.id] = consumer

    def _patiently_noted(self, now_s: float) -> list[Consumer]:
        return [member for member in self._noted.values() if now_s < member.noted_at + PATIENCE_S]
