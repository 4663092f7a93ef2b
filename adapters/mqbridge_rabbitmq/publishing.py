"""Sending to queues and exchanges. The rules: every message is mandatory and confirmed, and the buffer is bounded; a
sequence number is drawn only for what was taken, under the sender's lock, so that numbers, the buffer and the broker
have one order.

There is no linger: the loop marshals what has come together since its last turn; `seal` only wakes it.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from mqbridge import spi
from mqbridge.errors import MqbridgeError, OperationTimeout, Rejected, Unsupported
from mqbridge.messages import RawHeaders
from mqbridge.topology import Destination, Exchange, Queue, Topic
from mqbridge_rabbitmq import errors, framing, naming, records
from mqbridge_rabbitmq.confirming import Outlet

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection
    from mqbridge_rabbitmq.loop import Timer

T = TypeVar("T")
PER_MESSAGE_BYTES = 64
"""What a waiting message costs beside its bytes."""
MAX_EXPIRY_MS = 0xFFFF_FFFF
GIVE_UP_EARLY_S = 2.0
"""What waits for a connection is given up this long before the delivery timeout, half of it at most: afterwards
nobody could say that it was not applied."""


OpenTopic: TypeAlias = Callable[
    ["RabbitSender", Topic[Any], "spi.Partitioner | None", spi.Reports, spi.Completion[spi.Channel]], None
]
"""How a channel to a topic is opened: the room of topics knows."""


class Item(NamedTuple):
    """One message that was taken. `partition` is for topics."""

    number: int
    value: bytes | None
    key: bytes | None
    headers: RawHeaders | None
    timestamp_ms: int | None
    message_id: str | None
    extras: spi.Extras | None
    routing_key: str
    partition: int | None
    size_bytes: int
    taken_s: float


class RabbitSender:
    """One producer's way into RabbitMQ: the SPI's Sender."""

    def __init__(self, connection: RabbitConnection, spec: spi.SenderSpec, open_topic: OpenTopic) -> None:
        if spec.compression is not None:
            raise Unsupported(
                f"compression={spec.compression!r}: RabbitMQ stores messages as they are. Nothing was sent; compress "
                "the values, or leave compression out.",
                capability="compression",
                engine=errors.ENGINE,
            )
        self.connection = connection
        self.spec = spec
        self._open_topic = open_topic
        self.lock = threading.Lock()
        self.buffered_bytes = 0
        self.full = False
        self._channels: list[BaseChannel] = []
        self._closed = False
        self._timer: Timer | None = None
        self._pause_s = min(0.5, spec.delivery_timeout_s / 8)
        connection.loop.call(self._expire)

    # --- the SPI

    def channel(
        self,
        destination: Destination,
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        done: spi.Completion[spi.Channel],
    ) -> None:
        if isinstance(destination, Topic):
            self._open_topic(self, destination, partitioner, reports, done)
            return
        channel: BaseChannel
        if isinstance(destination, Queue):
            channel = QueueChannel(self, destination, reports)
        else:
            assert isinstance(destination, Exchange), "the portable layer passes one of the three kinds"
            channel = ExchangeChannel(self, destination, reports)

        def looked(_found: bool | None, error: MqbridgeError | None) -> None:
            if error is not None:
                done(None, error)
            else:
                self.adopt(channel)
                done(channel, None)

        self.connection.asking.rpc(
            f"opening {destination}",
            lambda amqp, finish: channel.check(amqp, lambda: finish(True)),
            looked,
            outcome="not_applied",
        )

    def adopt(self, channel: BaseChannel) -> None:
        """Begin to send for a channel, now that its destination is known to be there. Loop thread."""
        with self.lock:
            self._channels.append(channel)
        channel.outlet.attach()

    def close(self, done: spi.Completion[None]) -> None:
        self.connection.senders.discard(self)

        def run() -> None:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            for channel in self._channels:
                channel.close()
            done(None, None)

        self.connection.loop.call(run)

    def unwrap(self, kind: type[T]) -> T | None:
        return self.connection.unwrap(kind)

    # --- the buffer

    def freed(self, size_bytes: int) -> None:
        """Ended, one way or the other. Those who met a full buffer hear of it when a quarter is free again."""
        with self.lock:
            self.buffered_bytes -= size_bytes
            tell = self.full and self.buffered_bytes <= self.spec.max_in_flight_bytes * 3 // 4
            if tell:
                self.full = False
        if tell:
            for channel in list(self._channels):
                channel.reports.room()

    def _expire(self) -> None:
        """At intervals: what has waited too long for the broker is given up, known not to be applied."""
        if self._closed:
            return
        timeout_s = self.spec.delivery_timeout_s
        before_s = time.monotonic() - timeout_s + min(GIVE_UP_EARLY_S, timeout_s / 2)
        for channel in self._channels:
            channel.expire(before_s)
        self._timer = self.connection.loop.later(self._pause_s, self._expire)


class BaseChannel(ABC):
    """What channels of all kinds share: taking, marshalling and reporting. The SPI's Channel and an outlet's owner."""

    to_queue = False

    def __init__(self, sender: RabbitSender, destination: Destination, reports: spi.Reports, exchange: str) -> None:
        self.what = str(destination)
        self.reports = reports
        self.sender = sender
        self.exchange = exchange
        self._appended = 0
        self._lock = sender.lock
        self._limit = sender.spec.max_in_flight_bytes
        self._resend = sender.spec.on_unknown == "resend"
        self._methods: dict[str, bytes] = {}
        self._methods_of = 0
        self.outlet: Outlet[Item] = Outlet(sender.connection.publishing, sender.connection.settings.window, self)

    # --- the SPI's Channel

    @property
    def appended(self) -> int:
        return self._appended

    @abstractmethod
    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        """Where to, and then `take`."""

    def take(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
        routing_key: str,
        partition: int | None = None,
    ) -> int:
        """Take one message for `routing_key`, or say `FULL`."""
        size = PER_MESSAGE_BYTES + (len(value) if value else 0) + (len(key) if key else 0)
        if headers:
            for name, text in headers:
                size += len(name) + len(text)
        sender = self.sender
        with self._lock:
            # A message larger than the whole buffer is taken when it is alone.
            if sender.buffered_bytes + size > self._limit and sender.buffered_bytes:
                sender.full = True
                return spi.FULL
            sender.buffered_bytes += size
            number = self._appended
            self._appended = number + 1
            self.outlet.waiting.append(
                Item(
                    number, value, key, headers, timestamp_ms, message_id, extras, routing_key, partition, size,
                    time.monotonic(),
                )
            )  # fmt: skip
        self.outlet.wake()
        return number

    def seal(self) -> None:
        self.outlet.wake()

    # --- the outlet's owner

    def marshal(self, item: Item, sequence: int, channel: int, frame_max: int) -> bytes:
        if channel != self._methods_of:
            self._methods, self._methods_of = {}, channel
        method = self._methods.get(item.routing_key)
        if method is None:
            if len(self._methods) > 1000:
                self._methods.clear()
            method = framing.method(channel, self.exchange, item.routing_key)
            self._methods[item.routing_key] = method
        timestamp_ms = records.now_ms() if item.timestamp_ms is None else item.timestamp_ms
        value = item.value or b""
        message_id = b"" if item.message_id is None else item.message_id.encode()
        further = b""
        # The common message has an id and a value and nothing else.
        if item.key is not None or item.headers or item.value is None or self._routed(item) or len(message_id) > 255:
            table = records.table(item.key, item.value is None, item.headers, 0, item.message_id, self._routed(item))
            del table[records.TIMESTAMP_MS]
            further = framing.fields(table)
            if len(message_id) > records.MAX_SHORT:
                message_id = b""
        priority, expiration = 0, b""
        if item.extras is not None:
            priority = min(item.extras.priority or 0, 255)
            if item.extras.expires_in_ms is not None:
                expiration = _expiration(item.extras.expires_in_ms)
        header = framing.header(channel, len(value), sequence, timestamp_ms, further, priority, message_id, expiration)
        if not framing.fits(header, frame_max):
            raise Rejected(
                f"the headers of a message for {self.what} take {len(header)} bytes, and AMQP carries at most "
                f"{frame_max} (frame_max). It was not sent; put what is large into the value.",
                engine=errors.ENGINE,
            )
        return method + header + framing.body(channel, value, frame_max)

    def _routed(self, item: Item) -> str | None:
        """The routing key, where it is to be kept in a header."""
        return None

    def close(self) -> None:
        """Its sender is closed. Loop thread."""
        self.outlet.close()

    def confirmed(self, items: Sequence[Item]) -> None:
        first = items[0].number
        count = len(items)
        if items[-1].number - first == count - 1 and (count < 3 or _in_a_row(items)):
            self.reports.confirmed(first, count, None, None)
        else:
            for run in _runs(items):
                self.reports.confirmed(run[0], len(run), None, None)
        self.sender.freed(sum(item.size_bytes for item in items))

    def failed(self, items: Sequence[Item], error: MqbridgeError) -> None:
        self.reports.failed([item.number for item in items], error)
        self.sender.freed(sum(item.size_bytes for item in items))

    def resends(self, item: Item) -> bool:
        return self._resend and time.monotonic() - item.taken_s < self.sender.spec.delivery_timeout_s

    def body_bytes(self, item: Item) -> int:
        return len(item.value or b"")

    @abstractmethod
    def check(self, channel: Any, good: Callable[[], None]) -> None:
        """A passive declare: it creates nothing, and closes the channel where the destination is missing."""

    def expire(self, before_s: float) -> None:
        """Fail what was taken before that and still waits."""
        outlet = self.outlet
        late = outlet.drain(outlet.waiting, lambda item: item.taken_s >= before_s)
        again = outlet.drain(outlet.again, lambda item: item.taken_s >= before_s)
        if late or again:
            outlet.fail(
                again,
                late,
                OperationTimeout(
                    f"{self.what} could not be reached within delivery_timeout_s="
                    f"{self.sender.spec.delivery_timeout_s:g}. Nothing was applied; send it again when the broker is "
                    "back.",
                    engine=errors.ENGINE,
                    outcome="not_applied",
                ),
            )


class QueueChannel(BaseChannel):
    """A queue, through the default exchange, which routes to every queue by its name."""

    to_queue = True

    def __init__(self, sender: RabbitSender, queue: Queue[Any], reports: spi.Reports) -> None:
        super().__init__(sender, queue, reports, "")
        self.physical = naming.queue_name(queue)

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        return self.take(value, key, headers, timestamp_ms, message_id, extras, self.physical)

    def check(self, channel: Any, good: Callable[[], None]) -> None:
        channel.queue_declare(self.physical, passive=True, callback=lambda _frame: good())


class ExchangeChannel(BaseChannel):
    """An exchange. The routing key travels in a header too: a dead-lettering replaces the one on the envelope."""

    def __init__(self, sender: RabbitSender, exchange: Exchange, reports: spi.Reports) -> None:
        super().__init__(sender, exchange, reports, naming.exchange_name(exchange))

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        routing_key = (extras.routing_key if extras is not None else None) or ""
        return self.take(value, key, headers, timestamp_ms, message_id, extras, routing_key)

    def _routed(self, item: Item) -> str | None:
        return item.routing_key

    def check(self, channel: Any, good: Callable[[], None]) -> None:
        channel.exchange_declare(self.exchange, passive=True, callback=lambda _frame: good())


def _expiration(expires_in_ms: int) -> bytes:
    if expires_in_ms > MAX_EXPIRY_MS:  # the broker would close the channel, and take its neighbours with it
        raise errors.invalid(
            f"expires_in_s must be at most {MAX_EXPIRY_MS / 1000:.0f} on RabbitMQ (49 days), not "
            f"{expires_in_ms / 1000:.0f}. The message was not sent.",
            "expires_in_s",
        )
    return b"%d" % expires_in_ms


def _in_a_row(items: Sequence[Item]) -> bool:
    first = items[0].number
    return all(item.number == first + place for place, item in enumerate(items))


def _runs(items: Sequence[Item]) -> list[list[int]]:
    """The numbers in runs without gaps."""
    runs: list[list[int]] = []
    for number in sorted(item.number for item in items):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
