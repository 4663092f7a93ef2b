"""Sending to topics.

The rule of this room: an append is one call of the client, in the sender's thread, and takes a number only if the
client took the message. The client places keys as the Java client does; only what no client knows (turns, runs, the
application's own function) is placed here, over a number of partitions that is kept fresh.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message

from mqbridge import spi
from mqbridge.errors import ConfigurationError, MqbridgeError, NotFound, Rejected
from mqbridge.messages import RawHeaders
from mqbridge.semantics.partitioners import ByKey, check_partition
from mqbridge.topology import Destination, Topic
from mqbridge_kafka import queue_sending
from mqbridge_kafka.aside import aside
from mqbridge_kafka.asking import partitions_of
from mqbridge_kafka.errors import ENGINE, SUPPOSED, translate
from mqbridge_kafka.naming import named, topic_of
from mqbridge_kafka.outlet import COMPRESSIONS, SERVE_EVERY, Outlet
from mqbridge_kafka.records import encode_headers, record_timestamp

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

T = TypeVar("T")


class KafkaSender:
    """The SPI's Sender: one producer of the client."""

    def __init__(self, connection: KafkaConnection, spec: spi.SenderSpec) -> None:
        _check(spec)
        self.connection = connection
        self.spec = spec
        self.outlet = Outlet(connection, "producer", spec, {})
        self.channels: list[TopicChannel] = []
        self.queue_outlet: Outlet | None = None
        """The producer for queues and exchanges, made by `queue_sending` under this lock."""
        self.opening = threading.Lock()
        self._closed = False
        self._fresh = threading.Event()
        threading.Thread(target=self._keep_fresh, name="mqbridge-kafka-topics", daemon=True).start()
        connection.parts[self] = None

    def channel(
        self,
        destination: Destination,
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        done: spi.Completion[spi.Channel],
    ) -> None:
        if not isinstance(destination, Topic):
            queue_sending.open_channel(self, destination, reports, done)
            return

        def steps() -> spi.Channel:
            name = topic_of(destination)
            count = partitions_of(self.outlet.producer, [name])[name]
            channel = TopicChannel(self.outlet, destination, reports, partitioner, count)
            self.channels.append(channel)
            self.outlet.add(channel)
            return channel

        aside(f"opening {named(destination)}", done, steps)

    def close(self, done: spi.Completion[None]) -> None:
        self.connection.parts.pop(self, None)
        if self._closed:
            done(None, None)
            return
        self._closed = True
        self._fresh.set()
        with self.opening:
            queue_outlet = self.queue_outlet
        if queue_outlet is None:
            self.outlet.close(lambda: done(None, None))
        else:
            queue_outlet.close(lambda: self.outlet.close(lambda: done(None, None)))

    def abandon(self) -> None:
        self._closed = True
        self.outlet.abandon()
        if self.queue_outlet is not None:
            self.queue_outlet.abandon()

    def unwrap(self, kind: type[T]) -> T | None:
        return self.outlet.producer if isinstance(self.outlet.producer, kind) else None

    def _keep_fresh(self) -> None:
        """Every `metadata_s`: how many partitions the topics have, and whether they are still there."""
        while not self._fresh.wait(self.connection.settings.metadata_s):
            for channel in list(self.channels):
                try:
                    channel.counted(partitions_of(self.outlet.producer, [topic_of(channel.topic)]))
                except KafkaException as error:
                    channel.uncounted(translate(error, f"looking at {named(channel.topic)}"))
                except RuntimeError:  # closed meanwhile
                    return


class TopicChannel:
    """The SPI's Channel for one topic."""

    def __init__(
        self,
        outlet: Outlet,
        topic: Topic[Any],
        reports: spi.Reports,
        partitioner: spi.Partitioner | None,
        partitions: int,
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self._outlet = outlet
        self._name = topic_of(topic)
        self._produce = outlet.produce
        self._gone = False
        self._reports = reports
        self._partitioner = None if _is_the_clients(partitioner) else partitioner
        self._next = 0
        # Held over number and append, so that numbers are taken in the order of the log and none is burnt.
        self._turn = threading.Lock()
        self._full = False
        self._delivered: list[tuple[int, Message]] = []
        self._failed: list[tuple[int, KafkaError]] = []
        self._on_delivery = on_delivery(self._delivered, self._failed)

    @property
    def appended(self) -> int:
        return self._next

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        partition = -1
        if self._partitioner is not None:
            partition = self._place(key, value)
        turn = self._turn
        turn.acquire()
        try:
            sequence = self._next
            if headers is None and timestamp_ms is None and message_id is None:
                self._produce(self._name, value, key, partition, partial(self._on_delivery, sequence))
            else:
                self._produce(
                    self._name,
                    value,
                    key,
                    partition,
                    partial(self._on_delivery, sequence),
                    timestamp=record_timestamp(timestamp_ms),
                    headers=encode_headers(headers, message_id, timestamp_ms),
                )
            self._next = sequence + 1
        except BufferError:
            return self._is_full(value, key)
        except KafkaException as error:
            if self._outlet.says_why_soon(error):
                self._full = True
                return spi.FULL
            return self._refused(self._outlet.why(error, f"sending to {named(self.topic)}"))
        finally:
            turn.release()
        if self._outlet.idle:
            self._outlet.wake()
        if not sequence % SERVE_EVERY:
            self._outlet.serve()
        return sequence

    def seal(self) -> None:
        self._outlet.seal()

    def _place(self, key: bytes | None, value: bytes | None) -> int:
        assert self._partitioner is not None, "asked only where there is one"
        count = self.partitions
        partition = self._partitioner(self.topic.name, key, value, count)
        if partition.__class__ is not int or not 0 <= partition < count:
            try:
                return check_partition(partition, count)
            except ValueError as error:
                raise ConfigurationError(f"{error} Nothing was sent.", engine=ENGINE) from None
        return partition

    def _is_full(self, value: bytes | None, key: bytes | None) -> int:
        """The client's buffer has no room. With nothing in it, this message alone is too large for it."""
        self._full = True
        if self._outlet.has_some:
            self._outlet.wake()
            return spi.FULL
        size = len(value or b"") + len(key or b"")
        error = Rejected(
            f"a message of {size} bytes for {self.topic} is larger than the producer's whole buffer. Nothing was sent; "
            "raise max_in_flight_bytes.",
            engine=ENGINE,
        )
        return self._refused(error)

    def _refused(self, error: MqbridgeError) -> int:
        """Refused at once; the number is taken, and what became of it is told like any failure."""
        sequence = self._next
        self._next = sequence + 1
        self._reports.failed((sequence,), error)
        return sequence

    def _nowhere(self, *_message: Any, **_options: Any) -> None:
        """In place of `produce` while the topic is not there: the client would keep the message and look for it."""
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))

    # --- other threads

    def counted(self, counts: Mapping[str, int]) -> None:
        """The topic has so many partitions now."""
        self.partitions = counts[self._name]
        self._gone = False
        self.renewed()

    def uncounted(self, error: MqbridgeError) -> None:
        """A look at the topic failed: it is gone, or nobody knows."""
        if isinstance(error, NotFound):
            self._gone = True
            self.renewed()

    def renewed(self) -> None:
        with self._turn:
            self._produce = self._nowhere if self._gone else self._outlet.produce

    def report(self) -> int:
        """Report what was delivered since the last call, and say how many; one thread at a time."""
        count = len(self._delivered) + len(self._failed)
        if self._delivered:
            delivered = self._delivered.copy()
            self._delivered.clear()
            self._outlet.wrote = True
            self._failed.extend(report_delivered(delivered, self._reports, self._outlet.located))
        if self._failed:
            failed = self._failed.copy()
            self._failed.clear()
            report_failed(failed, self._reports, partial(self._outlet.why, what=f"sending to {named(self.topic)}"))
        if self._full:
            self._full = False
            self._reports.room()
        return count


def on_delivery(
    delivered: list[tuple[int, Message]], failed: list[tuple[int, KafkaError]]
) -> Callable[[int, KafkaError | None, Message], None]:
    """What the client calls for each message, with its number in front. A function over two lists: as a method it would
    be bound anew for each message."""
    confirm = delivered.append

    def call(sequence: int, error: KafkaError | None, message: Message) -> None:
        if error is None:
            confirm((sequence, message))
        else:
            failed.append((sequence, error))

    return call


def report_delivered(
    delivered: Sequence[tuple[int, Message]], reports: spi.Reports, located: bool
) -> list[tuple[int, KafkaError]]:
    """Report confirmed sends by runs of consecutive offsets of a partition. Where brokers say where a message lies
    (`located`), those of which none said so are given back, with why they do not count as confirmed."""
    sequences, messages = zip(*delivered, strict=True)
    offsets = list(map(Message.offset, messages))
    if located and None in offsets:
        known = [one for one, offset in zip(delivered, offsets, strict=True) if offset is not None]
        if known:
            report_delivered(known, reports, located)
        return [(sequence, SUPPOSED) for sequence, offset in zip(sequences, offsets, strict=True) if offset is None]
    partitions = list(map(Message.partition, messages))
    if partitions.count(partitions[0]) == len(partitions):
        _report_partition(list(sequences), partitions[0], offsets, reports)
        return []
    places: dict[int | None, tuple[list[int], list[int | None]]] = {}
    for sequence, partition, offset in zip(sequences, partitions, offsets, strict=True):
        place = places.get(partition)
        if place is None:
            place = places[partition] = ([], [])
        place[0].append(sequence)
        place[1].append(offset)
    for partition, (numbers, where) in places.items():
        _report_partition(numbers, partition, where, reports)
    return []


def _report_partition(
    sequences: list[int], partition: int | None, offsets: Sequence[int | None], reports: spi.Reports
) -> None:
    known = [offset for offset in offsets if offset is not None and offset >= 0]
    if len(known) != len(sequences):  # acks=0: the broker did not say
        _report_run(sequences, partition, None, reports)
        return
    low = 0
    while low < len(known):
        high = _end_of_run(known, low)
        _report_run(sequences[low:high], partition, known[low], reports)
        low = high


def _end_of_run(offsets: list[int], low: int) -> int:
    """Where consecutive offsets end. Mostly all of a poll's reports are one run, which one comparison says."""
    base = offsets[low] - low
    if offsets[-1] - base == len(offsets) - 1 and offsets[low:] == list(range(offsets[low], offsets[-1] + 1)):
        return len(offsets)
    high = low + 1
    while high < len(offsets) and offsets[high] == base + high:
        high += 1
    return high


def _report_run(sequences: list[int], partition: int | None, base: int | None, reports: spi.Reports) -> None:
    first, count = sequences[0], len(sequences)
    if sequences == list(range(first, first + count)):
        reports.confirmed(first, count, partition, base)
    else:
        reports.confirmed_at(sequences, partition, base)


def report_failed(
    failed: Sequence[tuple[int, KafkaError]], reports: spi.Reports, why: Callable[[KafkaError], MqbridgeError]
) -> None:
    """Report failed sends: one error for all that failed alike."""
    alike: dict[int, tuple[KafkaError, list[int]]] = {}
    for sequence, error in failed:
        alike.setdefault(error.code(), (error, []))[1].append(sequence)
    for error, sequences in alike.values():
        reports.failed(sequences, why(error))


def _is_the_clients(partitioner: spi.Partitioner | None) -> bool:
    """Does the client itself place records so? By key it does, as the Java client, and keyless ones stay a while."""
    return partitioner is None or isinstance(getattr(partitioner, "__self__", partitioner), ByKey)


def _check(spec: spi.SenderSpec) -> None:
    """Refuse what contradicts itself, before any I/O."""
    if spec.acks != "all" and spec.idempotent:
        raise ConfigurationError(
            f"idempotent=True needs acks='all', not {spec.acks!r}: a write that the leader alone has may be lost and "
            "repeated. Nothing was sent."
        )
    if spec.compression not in (None, *COMPRESSIONS):
        raise ConfigurationError(f"compression must be one of {', '.join(COMPRESSIONS)}, not {spec.compression!r}")
