"""A decorator of an engine in which sends, commits and settlements fail when a test says so.

The rule: what is to fail is decided before the decorated engine hears of it, so a failure leaves no trace there; all
else is passed on as it is. A failed message gets a sequence number like any other, so the engine's own numbers are
shifted by the failures before them.
"""

from __future__ import annotations

import copy
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from mqbridge import spi
from mqbridge.errors import ConfigurationError, MqbridgeError
from mqbridge.messages import RawHeaders
from mqbridge.topology import Destination, Topic

T = TypeVar("T")

OPERATIONS = ("send", "commit", "settle")


class Failures:
    """What is to fail next, by operation. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: dict[str, deque[MqbridgeError]] = {name: deque() for name in OPERATIONS}

    def arm(self, what: str, n: int, error: MqbridgeError) -> None:
        """`n` more of these fail, after those that are to fail already."""
        if what not in self._armed:
            raise ConfigurationError(f"what can be made to fail is {', '.join(OPERATIONS)}, not {what!r}")
        with self._lock:
            self._armed[what].extend([error] * n)

    def take(self, what: str) -> MqbridgeError | None:
        """The error of this operation, or None if it is to be carried out."""
        armed = self._armed[what]
        if not armed:
            return None
        with self._lock:
            # A copy: one that several waiters raise would grow their tracebacks together.
            return copy.copy(armed.popleft()) if armed else None


class FailableEngine:
    """An engine like the one inside, whose connections can be told to fail by way of ``unwrap(Failures)``."""

    def __init__(self, engine: spi.Engine) -> None:
        self._engine = engine
        self.name = engine.name
        self.schemes = engine.schemes
        self.spi_version = engine.spi_version
        self.options = engine.options

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        def connected(connection: spi.Connection | None, error: MqbridgeError | None) -> None:
            done(None if connection is None else _Connection(connection), error)

        self._engine.connect(request, connected)


class _Connection:
    def __init__(self, connection: spi.Connection) -> None:
        self._connection = connection
        self._failures = Failures()
        self.capabilities = connection.capabilities
        self.limits = connection.limits
        self.clock = connection.clock
        self.admin = connection.admin

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        return _Sender(self._connection.open_sender(spec), self._failures)

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        return _TopicSubscription(self._connection.subscribe(spec, ready), self._failures)

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        return _QueueSubscription(self._connection.subscribe_queue(spec, ready), self._failures)

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        return self._connection.replay(topic, ready)

    def unwrap(self, kind: type[T]) -> T | None:
        if kind is Failures:
            return cast(T, self._failures)
        return self._connection.unwrap(kind)

    def close(self, timeout_s: float, done: spi.Completion[None]) -> None:
        self._connection.close(timeout_s, done)

    def abandon(self) -> None:
        self._connection.abandon()


# --- sending


class _Sender:
    def __init__(self, sender: spi.Sender, failures: Failures) -> None:
        self._sender = sender
        self._failures = failures

    def channel(
        self,
        destination: Destination,
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        done: spi.Completion[spi.Channel],
    ) -> None:
        shifted = _Shifted(reports)

        def opened(channel: spi.Channel | None, error: MqbridgeError | None) -> None:
            done(None if channel is None else _Channel(channel, shifted, self._failures), error)

        self._sender.channel(destination, partitioner, shifted, opened)

    def close(self, done: spi.Completion[None]) -> None:
        self._sender.close(done)

    def unwrap(self, kind: type[T]) -> T | None:
        return self._sender.unwrap(kind)


class _Shifted:
    """Reports of the engine's sequence numbers, as the numbers that the portable layer was given.

    `gaps[i]` is how many messages the engine had taken when failure i happened; so the engine's number n is the
    portable layer's n plus the failures at or before n.
    """

    def __init__(self, reports: spi.Reports) -> None:
        self.reports = reports
        self.gaps: list[int] = []

    def outer(self, sequence: int) -> int:
        return sequence + bisect_right(self.gaps, sequence)

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        end = first + count
        gaps = self.gaps
        cuts = sorted({first, end, *gaps[bisect_left(gaps, first) : bisect_left(gaps, end)]})
        for low, high in zip(cuts, cuts[1:], strict=False):
            base = None if base_offset is None else base_offset + low - first
            self.reports.confirmed(self.outer(low), high - low, partition, base)

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        self.reports.confirmed_at([self.outer(number) for number in sequence], partition, base_offset)

    def failed(self, sequence: Sequence[int], error: MqbridgeError) -> None:
        self.reports.failed([self.outer(number) for number in sequence], error)

    def room(self) -> None:
        self.reports.room()


class _Channel:
    def __init__(self, channel: spi.Channel, shifted: _Shifted, failures: Failures) -> None:
        self._channel = channel
        self._shifted = shifted
        self._failures = failures
        self._lock = threading.Lock()

    @property
    def appended(self) -> int:
        return self._channel.appended + len(self._shifted.gaps)

    @appended.setter
    def appended(self, value: int) -> None:
        raise AttributeError("the channel counts by itself")

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        with self._lock:
            error = self._failures.take("send")
            if error is None:
                sequence = self._channel.append(value, key, headers, timestamp_ms, message_id, extras)
                return sequence if sequence == spi.FULL else self._shifted.outer(sequence)
            number = self.appended
            self._shifted.gaps.append(self._channel.appended)
        self._shifted.reports.failed((number,), error)
        return number

    def seal(self) -> None:
        self._channel.seal()


# --- receiving


class _TopicSubscription:
    def __init__(self, subscription: spi.TopicSubscription, failures: Failures) -> None:
        self._subscription = subscription
        self._failures = failures

    def commit(
        self,
        offsets: Mapping[spi.TopicPartition, tuple[int, int]],
        done: spi.Completion[tuple[spi.TopicPartition, ...]],
    ) -> None:
        error = self._failures.take("commit")
        if error is not None:
            done(None, error)
        else:
            self._subscription.commit(offsets, done)

    def events(self) -> list[spi.Event]:
        return self._subscription.events()

    def take(self, max_records: int) -> spi.Block | None:
        return self._subscription.take(max_records)

    def seek(self, partition: spi.TopicPartition, offset: int) -> None:
        self._subscription.seek(partition, offset)

    def pause(self, partitions: Sequence[spi.TopicPartition]) -> None:
        self._subscription.pause(partitions)

    def resume(self, partitions: Sequence[spi.TopicPartition]) -> None:
        self._subscription.resume(partitions)

    def close(self, done: spi.Completion[None]) -> None:
        self._subscription.close(done)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        self._subscription.call(kind, fn, done)


class _QueueSubscription:
    def __init__(self, subscription: spi.QueueSubscription, failures: Failures) -> None:
        self._subscription = subscription
        self._failures = failures

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        error = self._failures.take("settle")
        if error is not None:
            done(None, error)
        else:
            self._subscription.settle(verbs, done)

    def events(self) -> list[spi.Event]:
        return self._subscription.events()

    def take(self, max_records: int) -> spi.Block | None:
        return self._subscription.take(max_records)

    def close(self, done: spi.Completion[None]) -> None:
        self._subscription.close(done)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        self._subscription.call(kind, fn, done)
