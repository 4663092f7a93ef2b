"""Sending to topics of a real broker, looked at from outside."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

import mqbridge as mq
from mqbridge import spi
from mqbridge.errors import MqbridgeError
from mqbridge.semantics.partitioners import partition_for_key
from mqbridge.testing import wait_until
from tests.kafka.topics.raw import Raw, fresh


def test_sending_never_makes_a_topic(bus: mq.Bus, raw: Raw) -> None:
    """On a broker that would make topics, opening, sending to, consuming and describing a missing one makes none."""
    missing = mq.Topic(fresh("missing"))
    with bus.producer() as producer, pytest.raises(mq.NotFound, match=missing.name):
        producer.send(missing, b"x")
    with pytest.raises(mq.NotFound):
        bus.admin.describe(missing)
    with pytest.raises(mq.NotFound):
        bus.consumer(missing, group=fresh("g"), start=mq.EARLIEST)
    with pytest.raises(mq.NotFound):
        bus.replay(missing, mq.EARLIEST)
    assert missing.name not in raw.names()


def test_a_topic_deleted_under_a_producer_is_not_made_again(bus: mq.Bus, raw: Raw) -> None:
    """Sends to a topic that was deleted meanwhile end as NotFound, and do not bring it back."""
    topic = raw.topic()
    with bus.producer() as producer:
        producer.send(topic, b"before").result(10)
        raw.admin.delete_topics([topic.name])[topic.name].result(20)

        def refused() -> bool:
            error = producer.send(topic, b"after").exception(20)
            return isinstance(error, mq.NotFound)

        wait_until(refused, 10.0)
    assert topic.name not in raw.names()


def test_keys_are_placed_where_the_java_client_places_them(bus: mq.Bus, raw: Raw) -> None:
    """By key, every record is on murmur2's partition, as with the native engine and the Java client, empty keys too."""
    topic = raw.topic(partitions=7)
    dice = random.Random(7)
    keys = [b"", b"k", *(dice.randbytes(dice.randrange(1, 40)) for _ in range(200))]
    with bus.producer() as producer:
        for key in keys:
            producer.send(topic, b"v", key=key)
    found = {message.key(): message.partition() for message in raw.records(topic.name)}
    assert found == {key: partition_for_key(key, 7) for key in keys}


@pytest.mark.parametrize(
    ("key", "partition"),
    # hash values of Kafka's UtilsTest.testMurmur2, without the sign bit, modulo 10
    [
        (b"21", (-973932308 & 0x7FFFFFFF) % 10),
        (b"foobar", (-790332482 & 0x7FFFFFFF) % 10),
        (b"a-little-bit-long-string", (-985981536 & 0x7FFFFFFF) % 10),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", (-58897971 & 0x7FFFFFFF) % 10),
    ],
)
def test_known_java_hashes(bus: mq.Bus, raw: Raw, key: bytes, partition: int) -> None:
    """Values computed by the Java client land where it would put them."""
    topic = raw.topic(partitions=10)
    with bus.producer() as producer:
        assert producer.send(topic, b"v", key=key).result(10).partition == partition


def test_reports_tell_where_each_record_lies(bus: mq.Bus, raw: Raw) -> None:
    """Partition and offset of each receipt are those under which a raw consumer finds that value."""
    topic = raw.topic(partitions=3)
    other = Producer({"bootstrap.servers": raw.servers, "linger.ms": 0})
    receipts: dict[bytes, mq.Receipt] = {}
    with bus.producer(linger_s=0.001) as producer:
        for number in range(300):
            value = b"%d" % number
            receipts[value] = producer.send(topic, value, key=b"%d" % (number % 11))
            if number % 10 == 0:  # so that offsets of ours are not consecutive
                other.produce(topic.name, b"other", partition=number % 3)
                other.poll(0)
        other.flush(10)
        told = {value: receipt.result(10) for value, receipt in receipts.items()}
    found = {m.value(): (m.partition(), m.offset()) for m in raw.records(topic.name) if m.value() != b"other"}
    assert {value: (place.partition, place.offset) for value, place in told.items()} == found


class Reports:
    """What a channel reports, in order."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.errors: list[MqbridgeError] = []
        self.rooms = threading.Event()

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        self.ended.extend(range(first, first + count))

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        self.ended.extend(sequence)

    def failed(self, sequence: Sequence[int], error: MqbridgeError) -> None:
        self.ended.extend(sequence)
        self.errors.append(error)

    def room(self) -> None:
        self.rooms.set()


def open_channel(
    bus: mq.Bus, topic: mq.Topic[bytes], reports: Reports, max_bytes: int
) -> tuple[spi.Sender, spi.Channel]:
    spec = spi.SenderSpec("all", None, 0.005, 1 << 18, None, 20.0, max_bytes, "fail")
    sender = bus._connection.open_sender(spec)
    opened: list[spi.Channel] = []
    sender.channel(topic, None, reports, lambda channel, _error: opened.append(channel) if channel else None)
    return sender, wait_until(lambda: opened)[0]


def test_full_burns_no_number_and_room_follows(bus: mq.Bus, raw: Raw) -> None:
    """A full buffer takes nothing and no number; numbers end up without a gap, each reported once."""
    topic = raw.topic()
    reports = Reports()
    sender, channel = open_channel(bus, topic, reports, 64 << 10)
    taken: list[int] = []
    fulls = 0
    while len(taken) < 400:
        number = channel.append(b"x" * 1000, None, None, None, None, None)
        if number == spi.FULL:
            fulls += 1
            assert reports.rooms.wait(10)
            reports.rooms.clear()
            continue
        taken.append(number)
    assert fulls > 0
    assert taken == list(range(400))
    assert channel.appended == 400
    channel.seal()
    wait_until(lambda: len(reports.ended) == 400)
    assert sorted(reports.ended) == taken
    assert len(raw.records(topic.name)) == 400
    closed = threading.Event()
    sender.close(lambda _result, _error: closed.set())
    assert closed.wait(10)


def test_a_message_larger_than_the_buffer_is_rejected(bus: mq.Bus, raw: Raw) -> None:
    """What no waiting would make room for is refused at once, by name."""
    with bus.producer(max_in_flight_bytes=10_000) as producer:
        error = producer.send(raw.topic(), b"x" * 20_000).exception(10)
    assert isinstance(error, mq.Rejected)
    assert "max_in_flight_bytes" in str(error)


def test_too_large_is_rejected_by_us_and_by_the_topic(bus: mq.Bus, raw: Raw) -> None:
    """The broker's limit refuses in send(); a topic with a lower one refuses in the receipt, as Rejected too."""
    with bus.producer() as producer:
        with pytest.raises(mq.Rejected):
            producer.send(raw.topic(), b"x" * (bus.limits.max_message_bytes + 1))
        producer.send(raw.topic(), b"x" * bus.limits.max_message_bytes).result(10)
        error = producer.send(raw.topic(max_message_bytes="2000"), b"x" * 5000).exception(10)
    assert isinstance(error, mq.Rejected)
    assert error.outcome == "not_applied"


def test_a_waiter_does_not_pay_the_linger(bus: mq.Bus, raw: Raw) -> None:
    """result() comes at the broker's speed, with a linger of ten seconds too."""
    topic = raw.topic()
    with bus.producer(linger_s=10.0) as producer:
        producer.send(topic, b"warm").result(10)
        begun_s = time.monotonic()
        for _ in range(5):
            producer.send(topic, b"x").result(5)
        assert time.monotonic() - begun_s < 3.0


def test_what_a_record_carries(bus: mq.Bus, raw: Raw) -> None:
    """Null and empty are told apart; headers, timestamps and the message id are where raw clients look for them."""
    topic = raw.topic()
    when = dt.datetime(2020, 2, 3, 4, 5, 6, 789_000, tzinfo=dt.UTC)
    with bus.producer() as producer:
        producer.send(topic, None, key=b"")
        producer.send(topic, b"", headers=[("a", b"1"), ("a", b"2")], timestamp=when, message_id="m1")
        producer.send(topic, b"early", timestamp=dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC))
    first, second, early = raw.records(topic.name)
    assert early.headers() == [("mqbridge-timestamp-ms", b"-1000")]  # Kafka takes no time before 1970
    assert abs(early.timestamp()[1] - time.time() * 1000) < 60_000
    assert (first.value(), first.key(), first.headers()) == (None, b"", None)
    assert (second.value(), second.key()) == (b"", None)
    assert second.headers() == [("a", b"1"), ("a", b"2"), ("mqbridge-id", b"m1")]
    assert second.timestamp()[1] == round(when.timestamp() * 1000)
    with bus.replay(topic, mq.EARLIEST) as replay:
        assert [delivery.timestamp_ms for delivery in replay][1:] == [round(when.timestamp() * 1000), -1000]


def test_open_producers_find_added_partitions(bus: mq.Bus, raw: Raw) -> None:
    """A producer that was open before places keys and turns over the new partitions within the stated time."""
    topic = raw.topic(partitions=1)
    key = next(key for key in (b"%d" % n for n in range(99)) if partition_for_key(key, 3) == 2)
    with bus.producer() as by_key, bus.producer(partitioner="round_robin") as turns:
        by_key.send(topic, b"v", key=key).result(10)
        turns.send(topic, b"v").result(10)
        bus.admin.add_partitions(topic, 3)
        wait_until(lambda: by_key.send(topic, b"v", key=key).result(10).partition == 2)
        wait_until(lambda: {turns.send(topic, b"v").result(10).partition for _ in range(3)} == {0, 1, 2})


@pytest.mark.parametrize("acks", ["leader", "none"])
def test_weaker_acks(bus: mq.Bus, raw: Raw, acks: str) -> None:
    """acks='leader' tells the offset, acks='none' cannot; both arrive, and both refuse idempotent=True."""
    topic = raw.topic()
    with bus.producer(acks=acks) as producer:  # type: ignore[arg-type]
        place = producer.send(topic, b"v").result(10)
    assert place.offset == (0 if acks == "leader" else None)
    wait_until(lambda: raw.end(topic.name) == 1)
    with pytest.raises(mq.ConfigurationError, match="idempotent"):
        bus.producer(acks=acks, idempotent=True)  # type: ignore[arg-type]


def test_a_wrong_partitioner_is_refused(bus: mq.Bus, raw: Raw) -> None:
    """A partition that the topic does not have is refused in send(), and nothing is sent."""
    topic = raw.topic(partitions=2)
    with bus.producer(partitioner=lambda *_: 2) as producer, pytest.raises(mq.ConfigurationError, match="0 to 1"):
        producer.send(topic, b"v")
    assert raw.records(topic.name) == []


def test_unwrap_gives_the_clients_own(bus: mq.Bus) -> None:
    """The escape hatch is the client's Producer, which works."""
    with bus.producer() as producer:
        assert len(producer.unwrap(Producer)) == 0
