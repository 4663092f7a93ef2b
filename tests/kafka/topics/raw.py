"""Looking at topics and groups from outside: the client alone, nothing of the engine under test."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

import mqbridge as mq
from mqbridge.testing import wait_until


def fresh(stem: str = "t") -> str:
    return f"{stem}-{secrets.token_hex(4)}"


def collect(consumer: mq.TopicConsumer[bytes], count: int) -> list[mq.Delivery[bytes]]:
    """At least so many deliveries, not settled."""
    got: list[mq.Delivery[bytes]] = []

    def look() -> bool:
        got.extend(consumer.poll(timeout=0.05))
        return len(got) >= count

    wait_until(look, 20.0)
    return got


class Raw:
    """Raw clients of one broker."""

    def __init__(self, url: str) -> None:
        self.servers = url.removeprefix("kafka://")
        self.admin = AdminClient({"bootstrap.servers": self.servers})

    def topic(self, partitions: int = 1, **config: str) -> mq.Topic[bytes]:
        """A topic that nobody else uses."""
        name = fresh()
        new = NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        self.admin.create_topics([new])[name].result(20)
        wait_until(lambda: self._has_leaders(name, partitions))
        return mq.Topic(name)

    def add_partitions(self, topic: str, partitions: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(20)
        wait_until(lambda: self._has_leaders(topic, partitions))

    def _has_leaders(self, name: str, partitions: int) -> bool:
        found = self.admin.list_topics(timeout=10).topics.get(name)
        return found is not None and [p.leader for p in found.partitions.values()].count(1) == partitions

    def names(self) -> set[str]:
        return set(self.admin.list_topics(timeout=10).topics)

    def produce(self, topic: str, values: Iterable[bytes], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 0})
        for value in values:
            producer.produce(topic, value, partition=partition)
        assert producer.flush(20) == 0

    def transact(self, topic: str, values: Iterable[bytes], *, commit: bool) -> None:
        """One transaction, ended: its marker is written when this returns."""
        producer = Producer({"bootstrap.servers": self.servers, "transactional.id": fresh("x")})
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(20) == 0
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)
        wait_until(lambda: self._ends(topic, "read_committed") == self._ends(topic, "read_uncommitted"))

    def _ends(self, topic: str, isolation: str) -> int:
        """The end of partition 0 as readers of that isolation see it."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": fresh("raw"), "isolation.level": isolation})
        try:
            return int(consumer.offsets_for_times([TopicPartition(topic, 0, -1)], timeout=10)[0].offset)
        finally:
            consumer.close()

    def records(self, topic: str) -> list[Message]:
        """All records of a topic, partition by partition, as any reader sees them."""
        config = {
            "bootstrap.servers": self.servers,
            "group.id": fresh("raw"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
        consumer = Consumer(config)
        partitions = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
        found: list[Message] = []
        for partition in sorted(partitions):
            consumer.assign([TopicPartition(topic, partition, 0)])
            while True:
                message = consumer.poll(10)
                assert message is not None, "the broker gives nothing, not even an end"
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, str(error)
                    break
                found.append(message)
        consumer.close()
        return found

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        found = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
        return {(place.topic, place.partition): place.offset for place in found.topic_partitions}

    def end(self, topic: str, partition: int = 0) -> int:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": fresh("raw")})
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1])
        finally:
            consumer.close()


__all__ = ["Raw", "collect", "fresh"]
