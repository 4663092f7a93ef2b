"""Sending to a topic: the partition is computed here and is the routing key. The rule: the same key goes where Kafka's
Java client sends it, on the number of partitions that the topic has now.

A confirm carries no offset, so none is reported. Everything else is publishing.py's: window, confirms, what is resent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mqbridge import spi
from mqbridge.errors import ConfigurationError, MqbridgeError
from mqbridge.messages import RawHeaders
from mqbridge.semantics.partitioners import ByKey, check_partition
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, offsets
from mqbridge_rabbitmq.errands import run
from mqbridge_rabbitmq.naming import topic_exchange
from mqbridge_rabbitmq.publishing import BaseChannel, Item

if TYPE_CHECKING:
    from mqbridge_rabbitmq.publishing import RabbitSender


def open_topic_channel(
    sender: RabbitSender,
    topic: Topic[Any],
    partitioner: spi.Partitioner | None,
    reports: spi.Reports,
    done: spi.Completion[spi.Channel],
) -> None:
    """A channel, once it is known how many partitions there are; `NotFound` where there is no such topic."""
    connection = sender.connection

    def counted(partitions: int | None, error: MqbridgeError | None) -> None:
        if partitions is None:
            done(None, error)
            return
        channel = TopicChannel(sender, topic, partitioner, reports, partitions)
        sender.adopt(channel)
        done(channel, None)

    run(
        connection.asking,
        f"opening {topic}",
        lambda scratch: offsets.partition_count(scratch, connection, topic),
        counted,
    )


class TopicChannel(BaseChannel):
    """The SPI's Channel for a topic. Added partitions are learned within `partition_watch.EVERY_S` (without the
    management API `EVERY_BLIND_S`), or at once if this connection added them."""

    def __init__(
        self,
        sender: RabbitSender,
        topic: Topic[Any],
        partitioner: spi.Partitioner | None,
        reports: spi.Reports,
        partitions: int,
    ) -> None:
        super().__init__(sender, topic, reports, topic_exchange(topic))
        self._topic = topic
        self._name = topic.name
        self._checked = partitioner is not None
        self._partitioner: spi.Partitioner = ByKey().__call__ if partitioner is None else partitioner
        self._keys = [str(partition) for partition in range(partitions)]
        sender.connection.partitions.follow(topic, partitions, self._count)

    def close(self) -> None:
        super().close()
        self.sender.connection.partitions.unfollow(self._topic, self._count)

    def _count(self, partitions: int) -> None:
        self._keys = [str(partition) for partition in range(partitions)]

    def check(self, channel: Any, good: Callable[[], None]) -> None:
        channel.exchange_declare(self.exchange, passive=True, callback=lambda _frame: good())

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        keys = self._keys
        partition = self._partitioner(self._name, key, value, len(keys))
        if self._checked:
            try:
                partition = check_partition(partition, len(keys))
            except ValueError as error:
                raise ConfigurationError(f"{error} Nothing was sent.", engine=errors.ENGINE) from None
        return self.take(value, key, headers, timestamp_ms, message_id, extras, keys[partition], partition)

    def confirmed(self, items: Sequence[Item]) -> None:
        of: dict[int | None, list[int]] = {}
        for item in items:
            of.setdefault(item.partition, []).append(item.number)
        for partition, numbers in of.items():
            if numbers[-1] - numbers[0] == len(numbers) - 1 and sorted(numbers) == numbers:
                self.reports.confirmed(numbers[0], len(numbers), partition, None)
            else:
                self.reports.confirmed_at(numbers, partition, None)
        self.sender.freed(sum(item.size_bytes for item in items))
