"""A batch that is refused while the next one is taken, by a broker that does not know the producer: what the client
then supposes to be written is not confirmed. (What the client says of it is shown by the first test, in raw.)"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import NewTopic

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers.linked import LinkedKafka
from mqbridge_conformance.brokers.links.frames import ANSWER, Frame, Way
from mqbridge_kafka.engine import KafkaConnection
from mqbridge_kafka.letters import Letter
from mqbridge_kafka.naming import topic_of
from tests.kafka.topics.raw import Raw, fresh


class Refusing:
    """A broker that answers a first request to produce while the topic is not there, and a second one when it is there
    again, and whose answers arrive together."""

    def __init__(self, broker: LinkedKafka) -> None:
        self.url = broker.linked_url
        self.raw = Raw(broker.url)
        self._link = broker.link
        self._answers = answers = [0]

        class Counting(broker.link.framer):  # type: ignore[name-defined,misc]
            def feed(self, way: Way, data: bytes) -> list[Frame]:
                frames: list[Frame] = super().feed(way, data)
                answers[0] += sum(way == ANSWER and frame.name == "Produce" for frame in frames)
                return frames

        broker.link.framer = Counting

    @contextlib.contextmanager
    def refusing(self, topic: str) -> Iterator[Callable[[Callable[[], object]], None]]:
        """What to send with, first what is refused, then what is taken."""
        admin, turns = self.raw.admin, 0

        def send(sending: Callable[[], object]) -> None:
            nonlocal turns
            if turns:
                self._make(topic)
            turns += 1
            known = self._answers[0]
            sending()
            wait_until(lambda: self._answers[0] > known)

        admin.delete_topics([topic])[topic].result(20)
        wait_until(lambda: topic not in self.raw.names())
        self._link.stall({ANSWER})
        try:
            yield send
        finally:
            self._link.go_on()

    def _make(self, topic: str) -> None:
        self.raw.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
        wait_until(lambda: topic in self.raw.names())
        self.raw.produce(topic, [b"other"])

    def values(self, topic: str) -> list[bytes | None]:
        return [message.value() for message in self.raw.records(topic)]


@pytest.fixture(scope="module")
def broker(kafka_url: str) -> Iterator[Refusing]:
    """One of its own, for its link; where there are brokers at all."""
    broker = LinkedKafka.begin()
    yield Refusing(broker)
    broker.stop()


def test_the_client_supposes(broker: Refusing) -> None:
    """Raw: delivered, without an error and without an offset, and not in the log."""
    topic = broker.raw.topic().name
    told: dict[bytes | None, tuple[KafkaError | None, int | None]] = {}

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        told[message.value()] = (error, message.offset())

    servers = broker.url.removeprefix("kafka://")
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0, "log_level": 0})
    producer.produce(topic, b"before")
    assert producer.flush(20) == 0
    with broker.refusing(topic) as send:
        send(lambda: producer.produce(topic, b"refused", on_delivery=on_delivery))
        send(lambda: producer.produce(topic, b"taken", on_delivery=on_delivery))
    assert producer.flush(20) == 0
    assert told == {b"refused": (None, None), b"taken": (None, 1)}
    assert broker.values(topic) == [b"other", b"taken"]


def assert_unknown(error: BaseException | None) -> None:
    assert isinstance(error, mq.ConnectionLost), error
    assert error.outcome == "unknown"
    assert "no broker said where it lies" in str(error)


@pytest.fixture
def bus(broker: Refusing) -> Iterator[mq.Bus]:
    with mq.connect(broker.url) as bus:
        yield bus


def test_what_is_supposed_is_unknown(broker: Refusing, bus: mq.Bus) -> None:
    """The send of what is not there ends as unknown, and the one behind it as confirmed, where it lies."""
    topic: mq.Topic[bytes] = mq.Topic(fresh(), partitions=1, replication=1)
    bus.admin.ensure(topic)
    with bus.producer() as producer:
        producer.send(topic, b"before").result(20)
        with broker.refusing(topic.name) as send:
            handles = []
            for value in (b"refused", b"taken"):
                send(lambda value=value: handles.append(producer.send(topic, value)))  # type: ignore[misc]
        assert_unknown(handles[0].exception(20))
        assert handles[1].result(20).offset == 1
    assert broker.values(topic.name) == [b"other", b"taken"]


def test_what_is_supposed_is_sent_again(broker: Refusing, bus: mq.Bus) -> None:
    """With on_unknown="resend": behind the other, and confirmed where it lies."""
    topic: mq.Topic[bytes] = mq.Topic(fresh(), partitions=1, replication=1)
    bus.admin.ensure(topic)
    with bus.producer(on_unknown="resend") as producer:
        producer.send(topic, b"before").result(20)
        with broker.refusing(topic.name) as send:
            handles = []
            for value in (b"refused", b"taken"):
                send(lambda value=value: handles.append(producer.send(topic, value)))  # type: ignore[misc]
        assert [handle.result(20).offset for handle in handles] == [2, 1]
    assert broker.values(topic.name) == [b"other", b"taken", b"refused"]


@pytest.mark.parametrize("by_exchange", [False, True], ids=["queue", "exchange"])
def test_what_is_supposed_to_be_in_a_queue_is_unknown(broker: Refusing, bus: mq.Bus, by_exchange: bool) -> None:
    """A queue's topic is treated so too, reached by its name or through an exchange."""
    queue: mq.Queue[bytes] = mq.Queue(fresh("q"), dead_letter=None)
    exchange = mq.Exchange(fresh("x"), type="fanout")
    bus.admin.ensure(queue, exchange, mq.Binding(exchange, queue))
    target = exchange if by_exchange else queue
    with bus.producer() as producer:
        producer.send(target, b"before").result(20)
        with broker.refusing(topic_of(queue)) as send:
            handles = []
            for value in (b"refused", b"taken"):
                send(lambda value=value: handles.append(producer.send(target, value)))  # type: ignore[misc]
        assert_unknown(handles[0].exception(20))
        handles[1].result(20)
    assert broker.values(topic_of(queue)) == [b"other", b"taken"]


def test_what_a_letter_is_supposed_to_be_is_unknown(broker: Refusing, bus: mq.Bus) -> None:
    """A copy of which no broker said where it lies is none to acknowledge the original for."""
    topic: mq.Topic[bytes] = mq.Topic(fresh(), partitions=1, replication=1)
    bus.admin.ensure(topic)
    connection = bus._connection
    assert isinstance(connection, KafkaConnection)
    courier = connection.courier
    assert courier.deliver([Letter(topic.name, b"before", None, [], 1)], "a letter") == [None]
    errors: dict[bytes, mq.MqbridgeError | None] = {}

    def deliver(value: bytes) -> None:
        (errors[value],) = courier.deliver([Letter(topic.name, value, None, [], 1)], "a letter")

    threads = [threading.Thread(target=deliver, args=(value,)) for value in (b"refused", b"taken")]
    with broker.refusing(topic.name) as send:
        for thread in threads:
            send(thread.start)
    for thread in threads:
        thread.join()
    assert_unknown(errors[b"refused"])
    assert errors[b"taken"] is None
    assert broker.values(topic.name) == [b"other", b"taken"]
