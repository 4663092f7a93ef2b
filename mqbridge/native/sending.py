"""The native sender: buffers, batches, and what waits for a host to come back.

The rules: a message costs one append to a list, so that appending needs no lock; a batch is built and submitted under
the channel's lock, so that batches of a channel arrive in order; what was certainly not applied is sent again by itself
when there is a host or room again, what may have been applied only if the producer asked for `on_unknown="resend"`.
Nothing new passes what is to be sent again: once something was refused, or is out on a link that has been replaced, the
channel waits until all that is out has ended, and goes on from the backlog in the order of the numbers.
"""

from __future__ import annotations

import itertools
import threading
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge import errors, spi
from mqbridge.errors import ConnectionLost, MqbridgeError, OperationTimeout
from mqbridge.messages import RawHeaders
from mqbridge.native.runtime.links import Link, NoRoom
from mqbridge.native.runtime.timers import Linger
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.semantics import reserved
from mqbridge.semantics.partitioners import check_partition
from mqbridge.topology import Destination

if TYPE_CHECKING:
    from mqbridge.native.engine import NativeConnection

T = TypeVar("T")
Record = tuple[int, "bytes | None", "bytes | None", "RawHeaders | None", "int | None"]
PER_RECORD_BYTES = 32
PER_HEADER_BYTES = 8
GIVE_UP_EARLY_S = 2.0
"""A backlog gives up this long before the delivery timeout: afterwards nobody could say that it was not applied."""


@dataclass(slots=True)
class Shipment:
    """Batches on their way: the sequence numbers of each, and when they were built. `number` orders those of a channel;
    `doubtful` says that an earlier attempt may have been applied."""

    op: str
    args: dict[str, Any]
    batches: list[RecordBatch]
    sequences: list[Sequence[int]]
    size_bytes: int
    built_s: float
    number: int = -1
    doubtful: bool = False


class NativeSender:
    """One producer's way into the engine."""

    def __init__(self, connection: NativeConnection, spec: spi.SenderSpec) -> None:
        self.connection = connection
        self.spec = spec
        self.linger = Linger(spec.linger_s) if spec.linger_s > 0 else None
        self.in_flight_bytes = 0
        self._channels: list[BaseChannel] = []
        self._lock = threading.Lock()

    def channel(
        self,
        destination: Destination,
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        done: spi.Completion[spi.Channel],
    ) -> None:
        name = destination.name

        def opened(reply: dict[str, Any] | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
            if error is not None or reply is None:
                done(None, error)
                return
            channel: BaseChannel
            if destination.kind == "topic":
                channel = TopicChannel(self, name, reports, partitioner, len(reply["partitions"]))
            else:
                op, field = ("enqueue", "queue") if destination.kind == "queue" else ("publish", "exchange")
                channel = QueueChannel(self, name, reports, op, field)
            with self._lock:
                self._channels.append(channel)
            done(channel, None)

        look = {"topic": "describe_topic", "queue": "describe_queue", "exchange": "list_bindings"}[destination.kind]
        args = {"exchange": name} if destination.kind == "exchange" else {"name": name}
        self.connection.session.call(look, args, (), opened)

    def account(self, size_bytes: int) -> None:
        with self._lock:
            self.in_flight_bytes += size_bytes

    def restored(self) -> None:
        """There is a host again."""
        for channel in list(self._channels):
            channel.ship_backlog()

    def expire(self) -> None:
        """Called at intervals: what waited too long for a host is given up."""
        for channel in list(self._channels):
            channel.expire_backlog()

    def fail(self, error: MqbridgeError) -> None:
        """There will be no host."""
        for channel in list(self._channels):
            channel.fail_backlog(error)

    def tell_room(self) -> None:
        for channel in list(self._channels):
            channel.reports.room()

    def close(self, done: spi.Completion[None]) -> None:
        if self.linger is not None:
            self.linger.close()
        for channel in self._channels:
            channel.close()
        self.connection.senders.discard(self)
        done(None, None)

    def unwrap(self, kind: type[T]) -> T | None:
        return self.connection.unwrap(kind)


class BaseChannel:
    """What the channels of topics, queues and exchanges share."""

    def __init__(self, sender: NativeSender, name: str, reports: spi.Reports) -> None:
        self.reports = reports
        self._sender = sender
        self._session = sender.connection.session
        self._name = name
        self._batch_bytes = sender.spec.batch_bytes
        self._max_in_flight = sender.spec.max_in_flight_bytes
        self._numbers = itertools.count()
        self._built = 0
        self._buffered_bytes = 0
        self._lingering = False
        self._closed = False
        self._lock = threading.RLock()
        self._buffers: list[list[Record]] = []
        # Ordered by number.
        self._backlog: list[Shipment] = []
        self._shipment_numbers = itertools.count()
        # Counted up by different parties, so that neither needs the other's lock: under the channel's, and by answers,
        # which come one at a time.
        self._shipped = 0
        self._ended = 0
        # Where what is out went, and whether something of it was refused.
        self._link: Link | None = None
        self._refused = False

    @property
    def appended(self) -> int:
        """The number after the highest that is in a batch or a buffer; kept by nobody, so appending threads cannot
        overwrite each other's."""
        with self._lock:
            waiting = [record[0] for buffer in self._buffers for record in tuple(buffer)]
            return max(self._built, max(waiting, default=-1) + 1)

    def _first_or_full(self, total_bytes: int) -> None:
        """Seal if the batch is full, or see that the linger will."""
        linger = self._sender.linger
        if linger is None or total_bytes >= self._batch_bytes:
            self.seal()
            return
        self._lingering = True
        linger.add(self.seal)
        if self._closed:  # in between, and the linger drops what comes after its end
            self.seal()

    def seal(self) -> None:
        """Build batches of what is buffered and submit them, in order."""
        with self._lock:
            self._lingering = False
            self._buffered_bytes = 0
            shipment = self._build()
            if shipment is None:
                return
            self._sender.account(shipment.size_bytes)
            shipment.number = next(self._shipment_numbers)
            link = self._session.link
            if self._backlog:
                self._backlog.append(shipment)
            elif self._may_ship(link):
                self._ship(link, shipment)
            else:
                self._backlog.append(shipment)
                if self._shipped == self._ended:  # since it was looked at: the answer found no backlog to go on with
                    self._sender.connection.wake_backlogs()

    def close(self) -> None:
        """Submit what is buffered; a record that an appending thread puts into a buffer after this is submitted by that
        thread, for the linger is gone."""
        self._closed = True
        self._batch_bytes = 0  # a single record is a full batch from now on
        self.seal()
        self.fail_backlog()

    def _build(self) -> Shipment | None:
        raise TypeError("a channel knows how to build its batches")

    def _take(self, buffer: list[Record]) -> list[Record]:
        """What is in a buffer, by number: two threads may have put their records there in another order."""
        count = len(buffer)
        records = buffer[:count]
        del buffer[:count]
        if records:
            records.sort(key=_number)
            self._built = max(self._built, records[-1][0] + 1)
        return records

    def _may_ship(self, link: Link) -> bool:
        """Or would it pass what is out and may come back? Under the lock."""
        return self._shipped == self._ended or (link is self._link and not self._refused)

    def _ship(self, link: Link, shipment: Shipment) -> bool:
        """Submit it; False if it was refused, and is or will be in the backlog again. Under the lock."""
        self._link = link
        self._shipped += 1
        self._refused = False
        if not link.call(shipment.op, shipment.args, shipment.batches, partial(self._answered, shipment)):
            self._refused = True
            return False
        return True

    def _answered(
        self,
        shipment: Shipment,
        reply: dict[str, Any] | None,
        _batches: list[RecordBatch],
        error: MqbridgeError | None,
    ) -> None:
        again = error is not None and isinstance(error, _COMES_AGAIN) and self._again(shipment, error)
        # After it is back in the backlog: whoever sees that nothing is out may ship.
        self._ended += 1
        if not again:
            self._end(shipment, reply, error)
        if self._backlog and self._shipped == self._ended:
            if error is None or self._closed:
                self.ship_backlog()
            else:
                # In a moment: what refused this one would refuse it again now.
                self._sender.connection.wake_backlogs()

    def _end(self, shipment: Shipment, reply: dict[str, Any] | None, error: MqbridgeError | None) -> None:
        # Half full: a sender may have met FULL with what was in its own buffer counted on top.
        was_full = self._sender.in_flight_bytes * 2 >= self._max_in_flight
        self._sender.account(-shipment.size_bytes)
        if error is not None:
            for sequence in shipment.sequences:
                self.reports.failed(sequence, error)
        else:
            self._report(shipment, reply or {})
        if was_full:
            self._sender.tell_room()

    def _report(self, shipment: Shipment, reply: dict[str, Any]) -> None:
        raise TypeError("a channel knows how to read its answers")

    def _again(self, shipment: Shipment, error: MqbridgeError) -> bool:
        """Keep it for the next host or for when there is room, if that cannot duplicate or duplicates are wanted."""
        if error.outcome != "not_applied":
            if self._sender.spec.on_unknown != "resend":
                return False
            shipment.doubtful = True
        if self._closed or self._sender.connection.closed or self._expired(shipment):
            return False
        with self._lock:
            insort(self._backlog, shipment, key=_shipment_number)
        return True

    def _expired(self, shipment: Shipment) -> bool:
        age_s = self._sender.connection.clock.mono_s() - shipment.built_s
        timeout_s = self._sender.spec.delivery_timeout_s
        return age_s >= timeout_s - min(GIVE_UP_EARLY_S, timeout_s / 2)

    def ship_backlog(self) -> None:
        """Submit again what waited for a host or for room, in order, as far as it is taken."""
        self.expire_backlog()
        with self._lock:
            while self._backlog:
                link = self._session.link
                # Taken off before it is shipped: refused, it may be back at once. And then the rest waits with it.
                if not self._may_ship(link) or not self._ship(link, self._backlog.pop(0)):
                    return

    def expire_backlog(self) -> None:
        """What waited too long fails."""
        if self._backlog:
            with self._lock:
                late = [shipment for shipment in self._backlog if self._expired(shipment)]
                self._backlog = [shipment for shipment in self._backlog if not self._expired(shipment)]
            self._fail(late, None)

    def fail_backlog(self, error: MqbridgeError | None = None) -> None:
        with self._lock:
            waiting, self._backlog = self._backlog, []
        self._fail(waiting, error)

    def _fail(self, shipments: Sequence[Shipment], error: MqbridgeError | None) -> None:
        for shipment in shipments:
            if shipment.doubtful:
                end: MqbridgeError = ConnectionLost(
                    f"the host went away with messages for {self._name}, and no other took them in time; they may have "
                    "been applied, and are given up",
                    engine="native",
                )
            else:
                end = error or OperationTimeout(
                    f"no host took messages for {self._name} in time; they were not applied, and are given up",
                    outcome="not_applied",
                    engine="native",
                )
            self._end(shipment, None, end)


class TopicChannel(BaseChannel):
    """A topic: one buffer a partition."""

    def __init__(
        self,
        sender: NativeSender,
        name: str,
        reports: spi.Reports,
        partitioner: spi.Partitioner | None,
        partitions: int,
    ) -> None:
        super().__init__(sender, name, reports)
        self._partitioner = partitioner
        self._partitions = partitions
        self._buffers = [[] for _ in range(partitions)]

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        if self._sender.in_flight_bytes + self._buffered_bytes >= self._max_in_flight:
            return spi.FULL
        partition = 0
        if self._partitions > 1 and self._partitioner is not None:
            partition = self._partitioner(self._name, key, value, self._partitions)
            if partition.__class__ is not int or not 0 <= partition < self._partitions:
                partition = _refuse_partition(partition, self._partitions)
        if message_id is not None:
            headers = ((reserved.MESSAGE_ID, message_id.encode()), *(headers or ()))
        size = PER_RECORD_BYTES
        if value is not None:
            size += len(value)
        if key is not None:
            size += len(key)
        if headers is not None:
            for name, text in headers:
                size += len(name) + len(text) + PER_HEADER_BYTES
        number = next(self._numbers)
        # list.append, and the slice and the del in _build, are each atomic: a record cannot fall between two batches.
        self._buffers[partition].append((number, key, value, headers, timestamp_ms))
        self._buffered_bytes = total = self._buffered_bytes + size
        if total >= self._batch_bytes or not self._lingering:
            self._first_or_full(total)
        return number

    def _build(self) -> Shipment | None:
        partitions: list[int] = []
        batches: list[RecordBatch] = []
        sequences: list[Sequence[int]] = []
        size = 0
        wall_ms = 0
        for partition, buffer in enumerate(self._buffers):
            records = self._take(buffer)
            if not records:
                continue
            wall_ms = wall_ms or self._sender.connection.clock.wall_ms()
            batch, numbers = build_batch(records, wall_ms)
            partitions.append(partition)
            batches.append(batch)
            sequences.append(numbers)
            size += batch.size_bytes
        if not batches:
            return None
        args = {"topic": self._name, "partitions": partitions}
        return Shipment("append_many", args, batches, sequences, size, self._sender.connection.clock.mono_s())

    def _count(self, partitions: int) -> None:
        """The topic has so many partitions now: the next record is placed among them, as new senders place it."""
        if partitions != self._partitions:
            self._buffers.extend([] for _ in range(partitions - len(self._buffers)))
            self._partitions = partitions

    def _report(self, shipment: Shipment, reply: dict[str, Any]) -> None:
        self._count(reply["partitions"])
        for place, numbers in enumerate(shipment.sequences):
            failure = reply["errors"][place]
            partition = shipment.args["partitions"][place]
            if failure is not None:
                self.reports.failed(numbers, rebuild(failure))
                continue
            base = reply["base_offsets"][place]
            first, count = numbers[0], len(numbers)
            if numbers[-1] - first == count - 1:
                self.reports.confirmed(first, count, partition, base)
            else:
                self.reports.confirmed_at(numbers, partition, base)


class QueueChannel(BaseChannel):
    """A queue or an exchange: one buffer; what a batch has no column for travels in reserved headers."""

    def __init__(self, sender: NativeSender, name: str, reports: spi.Reports, op: str, field: str) -> None:
        super().__init__(sender, name, reports)
        self._op = op
        self._field = field
        self._buffer: list[Record] = []
        self._buffers = [self._buffer]

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        if self._sender.in_flight_bytes + self._buffered_bytes >= self._max_in_flight:
            return spi.FULL
        pairs: RawHeaders = () if message_id is None else ((reserved.MESSAGE_ID, message_id.encode()),)
        if headers is not None:
            pairs += headers
        if extras is not None:
            pairs += _extra_headers(extras)
        size = PER_RECORD_BYTES
        for name, text in pairs:
            size += len(name) + len(text) + PER_HEADER_BYTES
        if value is not None:
            size += len(value)
        if key is not None:
            size += len(key)
        number = next(self._numbers)
        self._buffer.append((number, key, value, pairs or None, timestamp_ms))
        self._buffered_bytes = total = self._buffered_bytes + size
        if total >= self._batch_bytes or not self._lingering:
            self._first_or_full(total)
        return number

    def _build(self) -> Shipment | None:
        records = self._take(self._buffer)
        if not records:
            return None
        clock = self._sender.connection.clock
        batch, numbers = build_batch(records, clock.wall_ms())
        return Shipment(self._op, {self._field: self._name}, [batch], [numbers], batch.size_bytes, clock.mono_s())

    def _report(self, shipment: Shipment, reply: dict[str, Any]) -> None:
        numbers = shipment.sequences[0]
        failures: dict[str, Any] = reply.get("errors") or {}
        if not failures and numbers[-1] - numbers[0] == len(numbers) - 1:
            self.reports.confirmed(numbers[0], len(numbers), None, None)
            return
        good = [number for place, number in enumerate(numbers) if str(place) not in failures]
        if good:
            self.reports.confirmed_at(good, None, None)
        for place, failure in failures.items():
            self.reports.failed((numbers[int(place)],), rebuild(failure))


_COMES_AGAIN = (ConnectionLost, NoRoom)
_number = itemgetter(0)
_shipment_number = attrgetter("number")


def build_batch(records: list[Record], wall_ms: int) -> tuple[RecordBatch, Sequence[int]]:
    """The columns of some records; a record without a timestamp gets the present one."""
    numbers, keys, values, headers, stamps = zip(*records, strict=True)
    # Most batches have no timestamp of the user's and no header; counting them is a walk over pointers.
    unstamped = stamps.count(None)
    if unstamped == len(stamps):
        stamps = (wall_ms,) * unstamped
    elif unstamped:
        stamps = tuple(wall_ms if stamp is None else stamp for stamp in stamps)
    with_headers = None if headers.count(None) == len(headers) else headers
    return RecordBatch(keys, values, with_headers, stamps), numbers


def rebuild(failure: dict[str, Any]) -> MqbridgeError:
    """An error that came inside an answer, as the class that its code names."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, MqbridgeError) and kind.code == failure["code"]:
            return kind(
                failure["message"],
                engine="native",
                outcome=failure.get("outcome"),
                retryable=failure.get("retryable"),
            )
    raise ValueError(f"the broker answered with an unknown error code {failure['code']!r}")


def _extra_headers(extras: spi.Extras) -> RawHeaders:
    pairs: list[tuple[str, bytes]] = []
    if extras.routing_key is not None:
        pairs.append((reserved.ROUTING_KEY, extras.routing_key.encode()))
    for name, value in (
        (reserved.EXPIRES_MS, extras.expires_in_ms),
        (reserved.PRIORITY, extras.priority),
        (reserved.DELAY_MS, extras.delay_ms),
    ):
        if value is not None:
            pairs.append((name, str(value).encode()))
    return tuple(pairs)


def _refuse_partition(partition: Any, partitions: int) -> int:
    try:
        return check_partition(partition, partitions)
    except ValueError as error:
        raise errors.ConfigurationError(f"{error} Nothing was sent.", engine="native") from None
