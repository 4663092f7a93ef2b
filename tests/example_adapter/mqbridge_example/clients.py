"""Sending to a queue and consuming one, as mqbridge's SPI wants it: nothing blocks, everything is reported.

The rule: the broker is a call away, so what is asked for is done at once, on the caller's thread.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mqbridge import spi
from mqbridge.errors import Closed, InvalidSpec, LeaseLost, MqbridgeError, NotFound, Unsupported
from mqbridge.messages import RawHeaders
from mqbridge.topology import Destination, Queue
from mqbridge_example.broker import Broker, Message

T = TypeVar("T")

__all__ = ["ExampleSender", "ExampleSubscription", "missing"]


def missing(destination: Destination) -> NotFound:
    return NotFound(f"there is no {destination}. Nothing was done; make it with admin.ensure().", engine="example")


class ExampleSender:
    """The SPI's Sender. Nothing is buffered, so there is nothing to do at its end."""

    def __init__(self, broker: Broker, clock: spi.Clock) -> None:
        self._broker = broker
        self._clock = clock
        self.closed = False

    def channel(
        self,
        destination: Destination,
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        done: spi.Completion[spi.Channel],
    ) -> None:
        if not isinstance(destination, Queue):
            text = f"sending to {destination}: this broker has queues and nothing else. Nothing was sent."
            done(None, Unsupported(text, capability="ORDER_PER_PARTITION", engine="example"))
        elif destination.name not in self._broker.names():
            done(None, missing(destination))
        else:
            done(_Channel(self._broker, self._clock, destination, reports, lambda: self.closed), None)

    def close(self, done: spi.Completion[None]) -> None:
        self.closed = True
        done(None, None)

    def unwrap(self, kind: type[T]) -> T | None:
        return self._broker if isinstance(self._broker, kind) else None


class _Channel:
    def __init__(
        self, broker: Broker, clock: spi.Clock, queue: Queue[Any], reports: spi.Reports, closed: Callable[[], bool]
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._queue = queue
        self._reports = reports
        self._closed = closed
        self._lock = threading.Lock()
        self._appended = 0

    @property
    def appended(self) -> int:
        return self._appended

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        stamp = self._clock.wall_ms() if timestamp_ms is None else timestamp_ms
        message = Message(value, key, headers or (), stamp, message_id or secrets.token_hex(8))
        error: MqbridgeError | None = None
        with self._lock:  # numbers and places in one order
            sequence = self._appended
            self._appended += 1
            if self._closed():
                error = Closed("the connection was closed. Nothing was sent.", engine="example")
            else:
                try:
                    self._broker.put(self._queue.name, message)
                except KeyError:
                    error = missing(self._queue)
        if error is None:
            self._reports.confirmed(sequence, 1, None, None)
        else:
            self._reports.failed((sequence,), error)
        return sequence

    def seal(self) -> None:
        """Nothing is held back."""


class _Block(spi.Block):
    """What was taken in one go. Its tokens settle it."""

    __slots__ = ("_messages", "count", "destination", "lease", "next_offset", "partition")

    def __init__(self, queue: Queue[Any], messages: Sequence[Message]) -> None:
        self._messages = messages
        self.destination = queue
        self.partition = None
        self.lease = 0
        self.count = len(messages)
        self.next_offset = 0

    def key(self, index: int) -> bytes | None:
        return self._messages[index].key

    def headers(self, index: int) -> RawHeaders | None:
        return self._messages[index].headers

    def timestamp_ms(self, index: int) -> int:
        return self._messages[index].timestamp_ms

    def raw(self, index: int) -> bytes | None:
        return self._messages[index].value

    def message_id(self, index: int) -> str | None:
        return self._messages[index].message_id

    def offset(self, index: int) -> int:
        return self._messages[index].token

    def attempt(self, index: int) -> int:
        return self._messages[index].failed + 1

    def redelivered(self, index: int) -> bool:
        return self._messages[index].redelivered


class ExampleSubscription:
    """The SPI's QueueSubscription: a competing consumer."""

    def __init__(
        self, broker: Broker, clock: spi.Clock, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._spec = spec
        self._out = 0
        self._lock = threading.Lock()
        self._closed = False
        self._events: list[spi.Event] = []
        self._ready = ready
        self._unlisten = broker.listen(ready)
        broker.queue(spec.queue.name).consumers.add(self)
        ready()

    def events(self) -> list[spi.Event]:
        events, self._events = self._events, []
        return events

    def take(self, max_records: int) -> spi.Block | None:
        with self._lock:
            most = min(max_records, self._spec.prefetch - self._out)
        if most <= 0 or self._closed:
            return None
        try:
            messages = self._broker.take(self._spec.queue.name, self, most)
        except KeyError:
            self._closed = True
            self._events.append(spi.Fatal(missing(self._spec.queue)))
            self._ready()
            return None
        with self._lock:
            self._out += len(messages)
        if self._spec.before:
            self._apply("ack", [message.token for message in messages], None)
        return _Block(self._spec.queue, messages) if messages else None

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        """What could not be dead-lettered comes again, its attempt not counted; the call fails as unknown, for the
        rest was applied."""
        refused: list[int] = []
        kept: list[int] = []
        for verb in verbs:
            late, undead = self._apply(verb.verb, verb.tokens, verb.text)
            refused += late
            kept += undead
        if not kept:
            done(tuple(refused), None)
        else:
            queue = self._spec.queue
            if refused:
                late_error = LeaseLost(f"{len(refused)} deliveries of {queue} were settled too late", engine="example")
                self._events.append(spi.SettleFailed(tuple(refused), late_error))
            self._apply("release", kept, None)
            text = (
                f"{len(kept)} messages of {queue} could not be dead-lettered: their dead-letter queue does not exist; "
                "make it with admin.ensure(). They stay in their queue, uncounted, and come again."
            )
            done(None, NotFound(text, outcome="unknown", engine="example"))
        self._ready()  # the window may be open again

    def _apply(self, verb: str, tokens: Sequence[int], text: str | None) -> tuple[list[int], list[int]]:
        """Those that were not ours any more, and those that are ours still, for want of their dead-letter queue."""
        refused: list[int] = []
        kept: list[int] = []
        for token in tokens:
            try:
                if not self._broker.settle(self._spec.queue.name, self, token, verb, text, self._clock.wall_ms()):
                    refused.append(token)
            except KeyError:
                kept.append(token)
        with self._lock:
            self._out -= len(tokens) - len(kept)
        return refused, kept

    def close(self, done: spi.Completion[None]) -> None:
        self.end(crashed=False)
        done(None, None)

    def end(self, *, crashed: bool) -> None:
        """Leave the queue; harmless twice."""
        if not self._closed:
            self._closed = True
            self._unlisten()
            self._broker.leave(self._spec.queue.name, self, crashed=crashed)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        if isinstance(self._broker, kind):
            done(fn(self._broker), None)
        else:
            done(None, InvalidSpec(f"the example consumer has no {kind.__name__} inside", field="kind"))
