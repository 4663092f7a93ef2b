"""Clusters of three nodes: one may fail under load and nothing that was acknowledged is lost; seen by raw clients.

Long, for a cluster takes the better part of a minute to start: run with ``-m soak``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pika
import pika.exceptions
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from mqbridge_conformance.brokers import provided
from mqbridge_conformance.brokers.clusters import Cluster, KafkaCluster, Node, RabbitMQCluster

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

WAIT_S = 120.0
NUMBER = 3000


@pytest.fixture(scope="module")
def kafka(kafka_broker: object) -> Iterator[KafkaCluster]:
    """Depends on a single broker, so that where there is none these are told as not run too."""
    found = provided.cluster("kafka")
    assert isinstance(found, KafkaCluster)
    yield found
    found.wait_ready()


@pytest.fixture(scope="module")
def rabbitmq(rabbitmq_broker: object) -> Iterator[RabbitMQCluster]:
    found = provided.cluster("rabbitmq")
    assert isinstance(found, RabbitMQCluster)
    yield found
    found.wait_ready()


def whole(cluster: KafkaCluster | RabbitMQCluster, name: str) -> Node:
    """Its leader, when all three have all of it."""
    cluster.until(lambda: cluster.in_sync(name), {1, 2, 3}, f"the replicas of {name} in sync")
    leader = cluster.leader(name)
    assert leader is not None
    return leader


def led_by_another(cluster: KafkaCluster | RabbitMQCluster, name: str, before: Node) -> None:
    cluster.until(lambda: cluster.leader(name) not in (None, before), True, f"another leader of {name}")


# --- Kafka


def topic(kafka: KafkaCluster, name: str, **config: str) -> str:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, 1, 3, config=config)])[name].result(WAIT_S)
    return name


class Load:
    """A producer of numbers, and which of them were acknowledged."""

    def __init__(self, kafka: KafkaCluster, topic: str, by: Sequence[Node] = (), **options: Any) -> None:
        quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
        bootstrap = ",".join(node.url.removeprefix("kafka://") for node in by or kafka.nodes)
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, **quiet, **options})
        self._topic = topic
        self.acknowledged: set[int] = set()
        self.failed: list[Any] = []

    def send(self, begin: int, end: int) -> None:
        for number in range(begin, end):
            self._producer.produce(self._topic, b"%d" % number, on_delivery=self._reported)
            self._producer.poll(0)

    def _reported(self, error: Any, message: Any) -> None:
        if error is None:
            self.acknowledged.add(int(message.value() or b""))
        else:
            self.failed.append(error)

    def flush(self, timeout_s: float = WAIT_S) -> None:
        self._producer.flush(timeout_s)


def log_of(kafka: KafkaCluster, topic: str) -> list[int]:
    """The whole log, read up to a record that is sent for this and is with all: the end as a new leader first tells it
    may lie before what it has."""
    end = Load(kafka, topic, acks="all")
    end.send(-1, 0)
    end.flush()
    assert end.acknowledged == {-1}
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reader", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})  # fmt: skip
    consumer.subscribe([topic])
    got: list[int] = []
    with contextlib.closing(consumer):
        while not got or got[-1] != -1:
            message = consumer.poll(WAIT_S)
            assert message is not None
            assert message.error() is None
            got.append(int(message.value() or b""))
    return got[:-1]


def test_kafka_loses_nothing_with_its_leader(kafka: KafkaCluster) -> None:
    """acks=all, idempotent: SIGKILL of the leader in the middle; all is acknowledged, once and in order."""
    name = topic(kafka, "leader-killed")
    leader = whole(kafka, name)
    options: dict[str, Any] = {"enable.idempotence": True}
    load = Load(kafka, name, acks="all", **options)
    load.send(0, NUMBER // 2)
    leader.kill()
    load.send(NUMBER // 2, NUMBER)
    load.flush()
    assert kafka.leader(name) not in (None, leader)
    assert load.failed == []
    assert log_of(kafka, name) == list(range(NUMBER))
    leader.start()
    whole(kafka, name)


def test_kafka_loses_what_its_leader_alone_had(kafka: KafkaCluster) -> None:
    """The proof that the test above can fail: acks=1 while both followers are frozen, then the leader dies."""
    name = topic(kafka, "acks-one", **{"min.insync.replicas": "1"})
    leader = whole(kafka, name)
    with_all = Load(kafka, name, acks="all")
    with_all.send(0, 10)
    with_all.flush()
    load = Load(kafka, name, acks="1")
    for node in kafka.others(leader.number):
        node.pause()
    # A follower's fetch that waits at the leader is answered with the first of these, into a buffer that outlives it.
    for begin, end in ((10, 11), (11, 100), (100, 200)):
        load.send(begin, end)
        load.flush(2.0)
    leader.kill()
    acknowledged = load.acknowledged | with_all.acknowledged
    assert len(acknowledged) > 110
    for node in kafka.others(leader.number):
        node.unpause()
    led_by_another(kafka, name, leader)
    lost = acknowledged - set(log_of(kafka, name))
    assert lost
    assert not lost & with_all.acknowledged
    leader.start()


def test_a_kafka_node_that_is_cut_off_leads_no_longer(kafka: KafkaCluster) -> None:
    """Its peers choose another; clients still reach it, and it tells them what it knew; back on the network it is in
    sync again."""
    name = topic(kafka, "cut-off")
    leader = whole(kafka, name)
    leader.cut_off()
    led_by_another(kafka, name, leader)
    bootstrap = leader.url.removeprefix("kafka://")
    assert AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=WAIT_S).brokers
    load = Load(kafka, name, kafka.others(leader.number), acks="all")
    load.send(0, 100)
    load.flush()
    assert load.acknowledged == set(range(100))
    leader.rejoin()
    whole(kafka, name)
    assert log_of(kafka, name) == list(range(100))


# --- RabbitMQ


def channel(rabbitmq: RabbitMQCluster) -> Any:
    """One with confirms, on the first node that has one to give."""
    for node in rabbitmq.nodes:
        with contextlib.suppress(pika.exceptions.AMQPError):
            found = pika.BlockingConnection(pika.URLParameters(node.url.partition("?")[0])).channel()
            found.confirm_delivery()
            return found
    raise AssertionError("no node of the cluster lets anybody in")


def queue(rabbitmq: RabbitMQCluster, name: str) -> str:
    own = channel(rabbitmq)
    own.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    own.connection.close()
    return name


def publish(rabbitmq: RabbitMQCluster, name: str, numbers: range) -> set[int]:
    """Publish them one after the other, each once; which were confirmed."""
    confirmed: set[int] = set()
    own = channel(rabbitmq)
    for number in numbers:
        try:
            own.basic_publish("", name, b"%d" % number, pika.BasicProperties(delivery_mode=2))
            confirmed.add(number)
        except pika.exceptions.AMQPError:
            own = channel(rabbitmq)
    own.connection.close()
    return confirmed


def drained(rabbitmq: RabbitMQCluster, name: str) -> list[int]:
    own = channel(rabbitmq)
    got: list[int] = []
    while True:
        method, _, body = own.basic_get(name, auto_ack=True)
        if method is None:
            own.connection.close()
            return got
        got.append(int(body))


def test_rabbitmq_loses_nothing_with_its_leader(rabbitmq: RabbitMQCluster) -> None:
    """A quorum queue whose leader dies by SIGKILL between two confirms: what was confirmed is there, once, in order."""
    name = queue(rabbitmq, "leader-killed")
    leader = whole(rabbitmq, name)
    confirmed = publish(rabbitmq, name, range(300))
    leader.kill()
    confirmed |= publish(rabbitmq, name, range(300, 600))
    assert len(confirmed) >= 598
    led_by_another(rabbitmq, name, leader)
    got = drained(rabbitmq, name)
    assert confirmed <= set(got)
    assert got == sorted(set(got))
    leader.start()
    whole(rabbitmq, name)


def test_a_rabbitmq_node_that_is_cut_off_leads_no_longer(rabbitmq: RabbitMQCluster) -> None:
    """Its peers choose another, confirm what is sent to them, and take it back when it is on the network again."""
    name = queue(rabbitmq, "cut-off")
    leader = whole(rabbitmq, name)
    leader.cut_off()
    led_by_another(rabbitmq, name, leader)
    other = pika.BlockingConnection(pika.URLParameters(rabbitmq.others(leader.number)[0].url.partition("?")[0]))
    own = other.channel()
    own.confirm_delivery()
    own.basic_publish("", name, b"7", pika.BasicProperties(delivery_mode=2))
    other.close()
    leader.rejoin()
    rabbitmq.wait_ready()
    whole(rabbitmq, name)
    assert drained(rabbitmq, name) == [7]


def test_a_frozen_node_is_missed_until_it_goes_on(rabbitmq: RabbitMQCluster, kafka: KafkaCluster) -> None:
    """Somebody does not answer, the frozen one or one that asks it; then all do again."""
    clusters: list[Cluster] = [rabbitmq, kafka]
    for cluster in clusters:
        assert cluster.missing(5.0) == ""
        cluster.node(2).pause()
        try:
            assert cluster.missing(1.0) != ""
        finally:
            cluster.node(2).unpause()
        cluster.wait_ready()
