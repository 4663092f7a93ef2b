"""The broker: queues with competing consumers, attempts and dead letters. It knows nothing of mqbridge.

The rule: one lock, no thread, no callback but `changed`, which is called without the lock.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = ["Broker", "Message", "Queue", "broker"]


@dataclass(slots=True)
class Message:
    """`failed` counts the attempts that are over; `token` is its place in its queue."""

    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
    message_id: str
    token: int = 0
    failed: int = 0
    redelivered: bool = False


@dataclass(slots=True)
class Queue:
    """What is ready, by token, and what is out: token -> the consumer that has it, and the message."""

    name: str
    max_attempts: int | None
    dead_letter: str | None
    ready: list[Message] = field(default_factory=list)
    out: dict[int, tuple[object, Message]] = field(default_factory=dict)
    consumers: set[object] = field(default_factory=set)
    tokens: int = 0


class Broker:
    """Thread-safe. `KeyError` for a queue that is not there."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: dict[str, Queue] = {}
        self._listeners: list[Callable[[], None]] = []

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` whenever something may be taken; returns what ends that."""
        with self._lock:
            self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def _changed(self) -> None:
        for listener in list(self._listeners):
            listener()

    # --- queues

    def declare(self, name: str, max_attempts: int | None, dead_letter: str | None) -> Queue | None:
        """Make it; what stands there already, if so."""
        with self._lock:
            if name in self._queues:
                return self._queues[name]
            self._queues[name] = Queue(name, max_attempts, dead_letter)
            return None

    def delete(self, name: str) -> None:
        with self._lock:
            del self._queues[name]

    def queue(self, name: str) -> Queue:
        with self._lock:
            return self._queues[name]

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._queues)

    def counts(self, name: str) -> tuple[int, int]:
        """How many are ready, and how many are out."""
        with self._lock:
            return len(self._queues[name].ready), len(self._queues[name].out)

    def messages(self, name: str) -> list[Message]:
        """What lies in it, whoever has it, in its order."""
        with self._lock:
            queue = self._queues[name]
            every = [*queue.ready, *(message for _, message in queue.out.values())]
            return [replace(message) for message in sorted(every, key=lambda message: message.token)]

    def purge(self, name: str) -> int:
        with self._lock:
            ready = self._queues[name].ready
            count = len(ready)
            ready.clear()
            return count

    # --- messages

    def put(self, name: str, message: Message) -> None:
        """At the end."""
        with self._lock:
            self._append(self._queues[name], message)
        self._changed()

    def _append(self, queue: Queue, message: Message) -> None:
        queue.tokens += 1
        queue.ready.append(replace(message, token=queue.tokens, failed=0, redelivered=False))

    def take(self, name: str, consumer: object, most: int) -> list[Message]:
        """The first ones, which are `consumer`'s from now on."""
        with self._lock:
            queue = self._queues[name]
            taken, queue.ready[:most] = queue.ready[:most], []
            for message in taken:
                queue.out[message.token] = (consumer, message)
            return [replace(message) for message in taken]

    def settle(self, name: str, consumer: object, token: int, verb: str, text: str | None, now_ms: int) -> bool:
        """Apply one verb; False if the message is not this consumer's. `KeyError` if it would die and its dead-letter
        queue is not there: the message is still the consumer's then, and nothing of it is changed."""
        with self._lock:
            queue = self._queues.get(name)
            if queue is None or queue.out.get(token, (None,))[0] is not consumer:
                return False
            message = queue.out[token][1]
            failed = message.failed + (verb == "retry")
            exhausted = verb == "retry" and queue.max_attempts is not None and failed >= queue.max_attempts
            if verb == "reject":
                self._bury(queue, message, "rejected", failed + 1, text, now_ms)
            elif exhausted:
                self._bury(queue, message, "max-attempts", failed, text, now_ms)
            del queue.out[token]
            if verb in ("release", "retry", "return") and not exhausted:
                message.failed = failed
                message.redelivered |= verb != "return"
                bisect.insort(queue.ready, message, key=lambda known: known.token)
        self._changed()
        return True

    def _bury(self, queue: Queue, message: Message, reason: str, attempts: int, text: str | None, now_ms: int) -> None:
        """To the dead-letter queue, with why; nowhere if the queue has none. `KeyError` if that is not there."""
        if queue.dead_letter is not None:
            facts = {"reason": reason, "queue": queue.name, "attempts": str(attempts), "at-ms": str(now_ms)}
            facts |= {} if text is None else {"error": text}
            headers = tuple((f"mqbridge-death-{name}", value.encode()) for name, value in facts.items())
            self._append(self._queues[queue.dead_letter], replace(message, headers=(*message.headers, *headers)))

    def leave(self, name: str, consumer: object, *, crashed: bool) -> None:
        """Its messages go back to their places; one attempt of each is over if it did not say good-bye, but for those
        that would die of that and have nowhere to go."""
        with self._lock:
            queue = self._queues.get(name)
            held = [] if queue is None else [token for token, (whose, _) in queue.out.items() if whose is consumer]
            if queue is not None:
                queue.consumers.discard(consumer)
        for token in held:
            try:
                self.settle(name, consumer, token, "retry" if crashed else "release", None, 0)
            except KeyError:
                self.settle(name, consumer, token, "release", None, 0)


_BROKERS: Final[dict[str, Broker]] = {}


def broker(name: str | None) -> Broker:
    """The broker of that name, of this process; without a name one that nobody else has."""
    return Broker() if name is None else _BROKERS.setdefault(name, Broker())
