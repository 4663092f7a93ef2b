"""Sending to queues.

The rule of this room: a message for a queue is a record of its topic, and confirmed as records are. Batches are small
(`queue_batch`): a share group hands out whole batches, so a large one would put all of it on one consumer. A queue that
is not in the registry is not there, whatever topics there are.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message

from mqbridge import spi
from mqbridge.errors import InvalidSpec, MqbridgeError
from mqbridge.messages import RawHeaders
from mqbridge.topology import Destination, Exchange, Queue
from mqbridge_kafka.aside import aside
from mqbridge_kafka.asking import insist, partitions_of
from mqbridge_kafka.catalogue import Catalogue
from mqbridge_kafka.exchanges import ExchangeChannel
from mqbridge_kafka.outlet import Outlet
from mqbridge_kafka.queue_records import (
    headers_for_queue,
    not_there,
    now_ms,
    report_confirmed,
    too_large,
)
from mqbridge_kafka.records import record_timestamp

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection
    from mqbridge_kafka.sending import KafkaSender


def open_channel(
    sender: KafkaSender, destination: Destination, reports: spi.Reports, done: spi.Completion[spi.Channel]
) -> None:
    """Open a queue or an exchange; `NotFound` where nobody ensured it."""

    def steps() -> spi.Channel:
        connection = sender.connection
        catalogue = connection.registry.fresh()
        if isinstance(destination, Queue):
            return _open_queue(sender, destination, catalogue, reports)
        if isinstance(destination, Exchange):
            if catalogue.exchange(destination.name) is None:
                raise not_there(destination)
            outlet = queue_outlet(sender)
            channel = ExchangeChannel(outlet, destination, catalogue, reports)
            outlet.add(channel)
            return channel
        raise InvalidSpec(f"{destination} is neither a queue nor an exchange. Nothing was sent.", field="destination")

    aside(f"opening {destination}", done, steps)


def _open_queue(sender: KafkaSender, queue: Queue[Any], catalogue: Catalogue, reports: spi.Reports) -> QueueChannel:
    record = stored(sender.connection, queue, catalogue)
    outlet = queue_outlet(sender)
    channel = QueueChannel(outlet, queue, record["topic"], catalogue, reports)
    outlet.add(channel)
    return channel


def stored(connection: KafkaConnection, queue: Queue[Any], catalogue: Catalogue) -> dict[str, Any]:
    """The record of a queue that is there, with its topic; else `NotFound`."""
    record = catalogue.queue(queue.name)
    if record is None:
        raise not_there(queue)

    def look() -> None:
        partitions_of(connection.watch.client, [record["topic"]])

    insist(look, f"looking at {queue}", lambda: False)
    return record


def queue_outlet(sender: KafkaSender) -> Outlet:
    """The sender's producer for queues and exchanges: as the one for topics, with small batches. Made once."""
    with sender.opening:
        if sender.queue_outlet is None:
            connection = sender.connection
            small = {"batch.num.messages": connection.settings.queue_batch}
            sender.queue_outlet = Outlet(connection, "queue-producer", sender.spec, small)
        return sender.queue_outlet


class QueueChannel:
    """The SPI's Channel for one queue."""

    def __init__(
        self, outlet: Outlet, queue: Queue[Any], topic: str, catalogue: Catalogue, reports: spi.Reports
    ) -> None:
        self._outlet = outlet
        self._write = outlet.produce
        self._queue = queue
        self._topic = topic
        self._catalogue = catalogue
        self._reports = reports
        self._next = 0
        self._turn = threading.Lock()
        self._full = False
        self._delivered: list[int] = []
        self._failed: list[tuple[int, KafkaError]] = []

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
        native = headers_for_queue(headers, timestamp_ms, message_id, extras, now_ms())
        with self._turn:
            sequence = self._next
            if self._catalogue.queue(self._queue.name) is None:
                return self._refused(not_there(self._queue))
            try:
                self._write(
                    self._topic,
                    value,
                    key,
                    on_delivery=partial(self._on_delivery, sequence),
                    timestamp=record_timestamp(timestamp_ms),
                    headers=native,
                )
            except BufferError:
                if self._outlet.has_some:
                    self._full = True
                    self._outlet.wake()
                    return spi.FULL
                return self._refused(too_large(self._queue))
            except KafkaException as error:
                if self._outlet.says_why_soon(error):
                    self._full = True
                    return spi.FULL
                return self._refused(self._outlet.why(error, f"sending to {self._queue}"))
            self._next = sequence + 1
        if self._outlet.idle:
            self._outlet.wake()
        return sequence

    def seal(self) -> None:
        self._outlet.seal()

    def _refused(self, error: MqbridgeError) -> int:
        sequence = self._next
        self._next = sequence + 1
        self._reports.failed((sequence,), error)
        return sequence

    # --- the outlet's thread

    def _on_delivery(self, sequence: int, error: KafkaError | None, message: Message) -> None:
        error = self._outlet.became(error, message)
        if error is None:
            self._delivered.append(sequence)
        else:
            self._failed.append((sequence, error))

    def renewed(self) -> None:
        with self._turn:
            self._write = self._outlet.produce

    def report(self) -> None:
        if self._delivered:
            delivered, self._delivered = self._delivered, []
            self._outlet.wrote = True
            report_confirmed(delivered, self._reports)
        if self._failed:
            failed, self._failed = self._failed, []
            for sequence, error in failed:
                self._reports.failed((sequence,), self._outlet.why(error, f"sending to {self._queue}"))
        if self._full:
            self._full = False
            self._reports.room()
