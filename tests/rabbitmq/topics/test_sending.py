"""Sending to super streams: placement, what travels with a record, and what raw pika finds in each stream."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable

import pika
import pytest

import mqbridge as mq
from mqbridge.semantics.partitioners import partition_for_key
from mqbridge.testing import wait_until
from tests.rabbitmq.topics import raw

MakeTopic = Callable[..., mq.Topic[bytes]]


def test_a_key_goes_where_kafkas_java_client_sends_it(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic
) -> None:
    """Each stream holds exactly the records whose key's murmur2 says so, in the order in which they were sent."""
    # Utils.murmur2 of Kafka's Java client, known answers: "21" -> -973932308, "foobar" -> -790332482.
    assert [partition_for_key(key, 3) for key in (b"21", b"foobar")] == [
        (n & 0x7FFFFFFF) % 3 for n in (-973932308, -790332482)
    ]
    topic = make_topic(partitions=3)
    keys = [b"21", b"foobar", b"", b"\xff\x00"] + [b"k%d" % number for number in range(16)]
    wanted: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    with rabbit.producer() as producer:
        for number in range(60):
            key = keys[number % len(keys)]
            receipt = producer.send(topic, b"%d" % number, key=key)
            wanted[partition_for_key(key, 3)].append(b"%d" % number)
        confirmation = receipt.result(10)
    assert (confirmation.partition, confirmation.offset) == (partition_for_key(keys[-1], 3), None)
    for partition, values in wanted.items():
        found = raw.read(rabbitmq_url, f"{topic.name}.mqt-{partition}", len(values))
        assert [body for _, _, body in found] == values
        assert [offset for offset, _, _ in found] == list(range(len(values)))


def test_everything_of_a_record_survives(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """Null is not empty, keys are bytes, times are milliseconds; headers keep empty names, repeats and order."""
    topic = make_topic()
    when = dt.datetime(2024, 2, 3, 4, 5, 6, 789_000, dt.UTC)
    headers = [("", b""), ("ü", b"\x00\xff"), ("a", b"1"), ("a", b"2"), ("n" * 300, b"long"), ("u", "é".encode())]
    with rabbit.producer() as producer:
        producer.send(topic, None, key=b"").result(10)
        producer.send(topic, b"", key=b"\xff\x00\x80", headers=headers, timestamp=when, message_id="id-1").result(10)
        producer.send(topic, b"\x00\xfe", headers={"e": "text", "é": "é"}).result(10)
    null, full, plain = list(rabbit.replay(topic, mq.EARLIEST))
    assert null.value is None
    assert (null.key, null.headers.pairs) == (b"", ())
    assert (full.value, full.key, full.timestamp, full.message_id) == (b"", b"\xff\x00\x80", when, "id-1")
    assert sorted(full.headers.pairs) == sorted(headers)
    assert full.headers.get_all("a") == (b"1", b"2")
    assert (plain.value, plain.key, plain.message_id) == (b"\x00\xfe", None, None)
    assert dict(plain.headers) == {"e": b"text", "é": "é".encode()}


def test_records_of_foreign_producers_decode(rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic) -> None:
    """Whoever publishes to the exchange with a partition's number as key is read like everybody else."""
    topic = make_topic(partitions=2)
    with raw.channel(rabbitmq_url) as ch:
        properties = pika.BasicProperties(headers={"n": 5, "b": True, "t": "x", "v": None}, timestamp=1_700_000_000)
        ch.basic_publish(f"{topic.name}.mqt", "1", b"foreign", properties, mandatory=True)
        ch.basic_publish(f"{topic.name}.mqt", "1", b"bare", mandatory=True)
    first, second = list(rabbit.replay(topic, mq.EARLIEST))
    assert (first.value, first.partition, first.key) == (b"foreign", 1, None)
    assert dict(first.headers) == {"n": b"5", "b": b"true", "t": b"x", "v": b""}
    assert first.timestamp == dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)
    assert (second.value, second.headers.pairs) == (b"bare", ())


def test_a_missing_topic_is_not_made_by_sending(rabbit: mq.Bus, rabbitmq_url: str) -> None:
    """`NotFound`, and nothing of that name is there afterwards."""
    name = f"t-{secrets.token_hex(4)}"
    with rabbit.producer() as producer, pytest.raises(mq.NotFound):
        producer.send(mq.Topic(name), b"x")
    names = [exchange["name"] for exchange in raw.api(rabbitmq_url, f"/api/exchanges/{raw.vhost(rabbitmq_url)}")]
    assert f"{name}.mqt" not in names


@pytest.mark.parametrize("same_bus", [True, False])
def test_an_open_producer_learns_of_added_partitions(
    rabbit: mq.Bus, rabbitmq_url: str, make_topic: MakeTopic, same_bus: bool
) -> None:
    """At once on the bus that adds them, within seconds elsewhere; then a key goes where new producers send it."""
    topic = make_topic(partitions=1)
    key = next(b"%d" % n for n in range(100) if partition_for_key(b"%d" % n, 4) == 3)
    with mq.connect(rabbitmq_url) as other, (rabbit if same_bus else other).producer() as producer:
        assert producer.send(topic, b"0", key=key).result(10).partition == 0
        rabbit.admin.add_partitions(topic, 4)
        wait_until(
            lambda: producer.send(topic, b"1", key=key).result(10).partition == 3, timeout_s=0.5 if same_bus else 10
        )
    assert raw.read(rabbitmq_url, f"{topic.name}.mqt-3", 1)[0][2] == b"1"


def test_a_partitioner_of_ones_own_and_its_mistakes(rabbit: mq.Bus, make_topic: MakeTopic) -> None:
    """Its number is the partition; a number that is none is refused, and nothing is sent."""
    topic = make_topic(partitions=3)
    with rabbit.producer(partitioner=lambda _topic, key, _value, count: int(key or b"0") % count) as producer:
        assert [producer.send(topic, b"x", key=b"%d" % n).result(10).partition for n in range(4)] == [0, 1, 2, 0]
    with rabbit.producer(partitioner=lambda *_: 3) as producer, pytest.raises(mq.ConfigurationError):
        producer.send(topic, b"x")
