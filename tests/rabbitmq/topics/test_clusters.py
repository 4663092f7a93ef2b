"""A group's member in a cluster of three nodes, of which one dies, or has no replica of a stream.

Long, for a cluster takes the better part of a minute to start: run with ``-m soak``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers import provided
from mqbridge_conformance.brokers.clusters import Node, RabbitMQCluster

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

WAIT_S = 60.0


@pytest.fixture(scope="module")
def cluster(rabbitmq_broker: object) -> RabbitMQCluster:
    """Depends on a single broker, so that where there is none these are told as not run too."""
    found = provided.cluster("rabbitmq")
    assert isinstance(found, RabbitMQCluster)
    return found


@pytest.fixture
def topic(cluster: RabbitMQCluster) -> Iterator[mq.Topic[bytes]]:
    """With a replica on each node."""
    topic = mq.Topic[bytes](f"t-{secrets.token_hex(4)}")
    with mq.connect(cluster.url) as bus:
        bus.admin.ensure(topic)
        cluster.until(lambda: cluster.in_sync_of(str(topic)), {1, 2, 3}, f"the replicas of {topic}")
        yield topic
    cluster.wait_ready()


def url_of(*nodes: Node) -> str:
    """These and no other, the first one first; the management API is the last one's."""
    rest, _, management = nodes[-1].url.rpartition("/?")
    login = rest.rpartition("@")[0]
    return f"{login}@{','.join(node.url.rpartition('/?')[0].rpartition('@')[2] for node in nodes)}/?{management}"


def send(node: Node, topic: mq.Topic[bytes], value: bytes) -> None:
    with mq.connect(node.url) as bus, bus.producer() as producer:
        producer.send(topic, value).result(WAIT_S)


def receive(consumer: mq.TopicConsumer[bytes]) -> bytes | None:
    [delivery] = consumer.poll(1, timeout=WAIT_S)
    delivery.ack()
    consumer.commit(WAIT_S)
    return delivery.raw


def test_a_member_goes_where_a_replica_is(cluster: RabbitMQCluster, topic: mq.Topic[bytes]) -> None:
    """The stream has one replica, and the other node of the URL will never have any. The member comes to that one when
    the only node with the stream dies, and reads on once this one is back."""
    only = cluster.leader_of(str(topic))
    assert only is not None
    stream, _ = cluster.place(str(topic), 0)
    for other in cluster.others(only.number):
        name = f"rabbit@{cluster.name_of(other.number)}"
        only.exec("rabbitmq-streams", "delete_replica", stream, name)
    cluster.until(lambda: cluster.in_sync_of(str(topic)), {only.number}, f"the replicas of {topic}")
    send(only, topic, b"one")
    without = cluster.others(only.number)[0]
    with (
        mq.connect(url_of(only, without)) as bus,
        bus.consumer(topic, group=secrets.token_hex(4), start=mq.EARLIEST) as consumer,
    ):
        assert receive(consumer) == b"one"
        states: list[str] = []
        bus.on_state(lambda state, _why: states.append(state))
        only.kill()
        wait_until(lambda: "reconnecting" in states, timeout_s=WAIT_S)
        wait_until(lambda: bus.state == "connected", timeout_s=WAIT_S)
        only.start()
        send(only, topic, b"two")
        assert receive(consumer) == b"two"


def test_a_short_session_outlives_its_node(cluster: RabbitMQCluster, topic: mq.Topic[bytes]) -> None:
    """The broker gives a dead node's token back after some seconds, more than this member's session: it waits for its
    own old token, and does not take itself for a rival."""
    group, first = secrets.token_hex(4), cluster.node(1)
    with (
        mq.connect(url_of(first, *cluster.others(1))) as bus,
        bus.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=2.0) as consumer,
    ):
        send(cluster.node(2), topic, b"one")
        assert receive(consumer) == b"one"
        first.kill()
        try:
            send(cluster.node(2), topic, b"two")
            assert receive(consumer) == b"two"
        finally:
            first.start()
