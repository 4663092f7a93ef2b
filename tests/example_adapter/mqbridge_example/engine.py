"""The engine: what ``mqbridge.connect("example:")`` finds by its entry point.

``example:?name=x`` is the broker of that name, of this process; ``example:`` one that nobody else has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from mqbridge import spi
from mqbridge.capabilities import Capabilities
from mqbridge.errors import Unsupported
from mqbridge.topology import Topic
from mqbridge_example.administering import ExampleAdmin
from mqbridge_example.broker import broker
from mqbridge_example.claims import CLAIMS
from mqbridge_example.clients import ExampleSender, ExampleSubscription, missing

T = TypeVar("T")

__all__ = ["ENGINE", "ExampleConnection"]


class _Clock:
    def mono_s(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class ExampleEngine:
    """The SPI's Engine."""

    name = "example"
    schemes: tuple[str, ...] = ("example",)
    spi_version = 1
    """Written down and not taken from mqbridge: it is the version that this code was written for."""
    options: Mapping[str, str] = {"name": "share a broker within this process, by this name"}

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        done(ExampleConnection(request), None)


ENGINE: Final = ExampleEngine()


class ExampleConnection:
    """The SPI's Connection."""

    def __init__(self, request: spi.ConnectRequest) -> None:
        self.broker = broker(request.options.get("name"))
        self.capabilities = Capabilities("example", CLAIMS, emulation=request.emulation)
        self.limits = spi.Limits(max_message_bytes=1 << 20)
        self.clock: spi.Clock = _Clock()
        self.admin: spi.Admin = ExampleAdmin(self.broker)
        self.line = _Line(self)
        self._senders: list[ExampleSender] = []
        self._subscriptions: list[ExampleSubscription] = []

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        self._senders.append(ExampleSender(self.broker, self.clock))
        return self._senders[-1]

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        if spec.queue.name not in self.broker.names():
            raise missing(spec.queue)
        self._subscriptions.append(ExampleSubscription(self.broker, self.clock, spec, ready))
        return self._subscriptions[-1]

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        raise _no_topics("consuming a topic")

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        raise _no_topics("replaying a topic")

    def unwrap(self, kind: type[T]) -> T | None:
        return next((native for native in (self.line, self.broker) if isinstance(native, kind)), None)

    def end(self, *, crashed: bool) -> None:
        for subscription in self._subscriptions:
            subscription.end(crashed=crashed)
        for sender in self._senders:
            sender.closed = True

    def close(self, timeout_s: float, done: spi.Completion[None]) -> None:
        self.end(crashed=False)
        done(None, None)

    def abandon(self) -> None:
        """The child of a fork has a broker of its own: its parent's, as it was."""


class _Line:
    """What a client of a real broker would have as its socket. The suite ends it without a good-bye, to see what the
    broker does then."""

    def __init__(self, connection: ExampleConnection) -> None:
        self._connection = connection

    def close(self, clean: bool = True) -> None:
        self._connection.end(crashed=not clean)


def _no_topics(what: str) -> Unsupported:
    text = f"{what}: this broker has queues and nothing else. Nothing was done."
    return Unsupported(text, capability="ORDER_PER_PARTITION", engine="example", instead="native:")
