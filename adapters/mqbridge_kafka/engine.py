"""The Kafka engine, behind the SPI, on confluent-kafka. The only door in.

The rule of this room: it puts the parts together and decides nothing. Topics are in sending.py, group_member.py,
replaying.py and administering.py; queues, which are share groups on topics of their own, and exchanges, which are
bindings that the sender resolves, in queue_sending.py, share_queue.py and queue_administering.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from mqbridge import spi
from mqbridge.capabilities import Capabilities
from mqbridge.errors import MqbridgeError
from mqbridge.topology import Topic
from mqbridge_kafka.administering import KafkaAdmin
from mqbridge_kafka.claims import CLAIMS
from mqbridge_kafka.courier import Courier
from mqbridge_kafka.errors import ENGINE as NAME
from mqbridge_kafka.group_member import GroupMember
from mqbridge_kafka.registry import Registry
from mqbridge_kafka.replaying import KafkaReplay
from mqbridge_kafka.sending import KafkaSender
from mqbridge_kafka.settings import OPTIONS, read_settings
from mqbridge_kafka.share_queue import ShareQueue
from mqbridge_kafka.watching import Watch

T = TypeVar("T")

OVERHEAD_BYTES: Final = 1024
"""Of the broker's `message.max.bytes`: a batch's header of 61 bytes, a record's lengths, and those of its headers, ours
included. A message with very many headers may still be refused by the broker, and is then reported as `Rejected`."""


class KafkaEngine:
    """The SPI's Engine for ``kafka:`` and ``kafkas:``."""

    name = NAME
    schemes = ("kafka", "kafkas")
    spi_version = spi.VERSION
    options = OPTIONS

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        try:
            connection = KafkaConnection(request)
        except MqbridgeError as error:
            done(None, error)
        else:
            done(connection, None)


ENGINE = KafkaEngine()


class KafkaClock:
    """The machine's clocks."""

    __slots__ = ()

    def mono_s(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class Part(Protocol):
    """What lives on a connection and ends with it."""

    def close(self, done: spi.Completion[None]) -> None: ...

    def abandon(self) -> None:
        """After a fork: touch nothing that the parent owns, and keep it from being destroyed here."""


class KafkaConnection:
    """The SPI's Connection: the brokers behind one URL, and all that is open on them.

    `config` gives the client configuration that every part begins with, `watch` owns the AdminClient and knows whether
    the brokers are there, and each part enters itself in `parts` while it is open.
    """

    def __init__(self, request: spi.ConnectRequest) -> None:
        self.settings = read_settings(request)
        self.clock: spi.Clock = KafkaClock()
        self.capabilities = Capabilities(NAME, CLAIMS, emulation=request.emulation)
        self.watch = Watch(self.settings, request.on_state)
        try:
            self.watch.handshake(request.timeout_s)
        except MqbridgeError:
            self.watch.close()
            raise
        self.limits = spi.Limits(max_message_bytes=self.watch.max_message_bytes - OVERHEAD_BYTES)
        self.parts: dict[Part, None] = {}
        self.portable_names: dict[str, str] = {}
        """What topics with a physical name of their own are called here."""
        self.courier = Courier(self)
        self.registry = Registry(self)
        self.admin: spi.Admin = KafkaAdmin(self)

    def config(self, role: str) -> dict[str, Any]:
        """A new configuration for a client of this connection, with security and logger; callbacks are the part's."""
        return self.settings.config(role)

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        return KafkaSender(self, spec)

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        return GroupMember(self, spec, ready)

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        return ShareQueue(self, spec, ready)

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        return KafkaReplay(self, topic, ready)

    def unwrap(self, kind: type[T]) -> T | None:
        return self.watch.client if isinstance(self.watch.client, kind) else None

    def close(self, timeout_s: float, done: spi.Completion[None]) -> None:
        open_parts = list(self.parts)
        ended = threading.Semaphore(0)
        for part in open_parts:
            part.close(lambda _result, _error: ended.release())
        deadline_s = time.monotonic() + timeout_s
        for _part in open_parts:
            ended.acquire(timeout=max(0.0, deadline_s - time.monotonic()))
        self.watch.close()
        done(None, None)

    def abandon(self) -> None:
        for part in list(self.parts):
            part.abandon()
        self.watch.abandon()
