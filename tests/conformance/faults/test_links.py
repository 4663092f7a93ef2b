"""A way that is cut, stands still, is slow or loses one answer: seen by clients on that way, and from another way."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pika.exceptions
import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

import mqbridge as mq
from mqbridge_conformance.brokers.links import ANSWER
from mqbridge_conformance.brokers.servers import Broker, Management
from mqbridge_conformance.faults import Faults, effects
from mqbridge_conformance.faults.links import LinkFaults
from mqbridge_conformance.history import Event, History, Recorder
from mqbridge_conformance.observers.kafka import KafkaObserver
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import NativeClient, RealBroker

WAIT_S = 30.0
TOPIC = mq.Topic("t", partitions=1)
Told = Callable[[], list[Event]]


@pytest.fixture
def client() -> Iterator[NativeClient]:
    with NativeClient(own=True) as found:
        with found.connect() as bus:
            bus.admin.ensure(TOPIC)
        yield found


@pytest.fixture
def faults(client: NativeClient, recorder: Recorder) -> Iterator[Faults]:
    found = Faults(client, recorder)
    yield found
    found.close()


def stored(client: NativeClient) -> list[bytes | None]:
    return [record.value for record in client.observer.records("t")]


def test_a_lost_answer_was_to_a_send_that_was_done(client: NativeClient, faults: Faults, told: Told) -> None:
    """The producer sees no answer and cannot know; the record is in the log as others see it, and sending goes on."""
    with client.connect() as bus, bus.producer() as producer:
        loss = faults.link.lose_answer("send")
        error = producer.send(TOPIC, b"done").exception(WAIT_S)
        assert isinstance(error, mq.ConnectionLost)
        assert error.outcome == "unknown"
        loss.wait(WAIT_S)
        assert stored(client) == [b"done"]
        assert producer.send(TOPIC, b"next").result(WAIT_S).offset == 1
    assert [(event.kind, event.f) for event in told()] == [
        (kind, f) for f in ("fault", "heal") for kind in ("invoke", "ok")
    ]
    assert told()[1].more["frame"] == "append_many"
    (effect,) = effects(History(told()))
    assert effect.had_effect
    assert effect.text.endswith("1 frames dropped")


def test_a_lost_request_was_not_done(client: NativeClient, faults: Faults) -> None:
    """The record never arrives, and the client, which cannot know either, does not send it again by itself."""
    with client.connect() as bus, bus.producer() as producer:
        faults.link.lose_request("send")
        assert isinstance(producer.send(TOPIC, b"gone").exception(WAIT_S), mq.ConnectionLost)
        producer.send(TOPIC, b"next").result(WAIT_S)
    assert stored(client) == [b"next"]


def test_what_never_came_to_be_lost_is_no_fault(faults: Faults, told: Told) -> None:
    """It is told as failed, waiting for it says so, and healing it again is harmless."""
    loss = faults.link.lose_answer("commit")
    with pytest.raises(CannotTell, match="nothing came within"):
        loss.wait(0.05)
    loss.heal()
    faults.close()
    assert [(event.kind, event.f) for event in told()] == [("invoke", "fault"), ("fail", "fault")]
    assert [effect.had_effect for effect in effects(History(told()))] == [False]


def test_a_cut_fails_what_is_under_way_and_observers_are_not_met(client: NativeClient, faults: Faults) -> None:
    """Nothing goes through until it is mended; the client then goes on by itself."""
    with client.connect() as bus, bus.producer() as producer:
        producer.send(TOPIC, b"before").result(WAIT_S)
        with faults.link.cut():
            receipt = producer.send(TOPIC, b"meanwhile")
            with pytest.raises(mq.MqbridgeError):
                receipt.result(0.3)
            assert stored(client) == [b"before"]
        producer.send(TOPIC, b"after").result(WAIT_S)
    assert stored(client)[-1] == b"after"


def test_a_stall_holds_an_answer_back(client: NativeClient, faults: Faults, told: Told) -> None:
    """Half open: the send is done and the answer comes when it goes on; not a byte is lost."""
    with client.connect() as bus, bus.producer() as producer:
        producer.send(TOPIC, b"before").result(WAIT_S)
        with faults.link.stall(ANSWER):
            receipt = producer.send(TOPIC, b"held")
            with pytest.raises(mq.OperationTimeout):
                receipt.result(0.3)
            assert stored(client) == [b"before", b"held"]
        assert receipt.result(WAIT_S).offset == 1
    assert told()[-1].more["held"] > 0


def test_a_delay_is_there_each_way(client: NativeClient, faults: Faults) -> None:
    """A send takes twice as long at least, and no longer so when it is healed."""
    with client.connect() as bus, bus.producer() as producer:
        producer.send(TOPIC, b"warm").result(WAIT_S)
        with faults.link.delay(0.2):
            began_s = time.monotonic()
            producer.send(TOPIC, b"slow").result(WAIT_S)
            assert time.monotonic() - began_s >= 0.4


def test_a_host_that_died_has_taken_its_link_along(client: NativeClient, faults: Faults) -> None:
    """The next host's socket is another one; no fault is pretended on the old one."""
    faults.broker.kill().heal()
    with client.connect() as bus:
        bus.admin.offsets(TOPIC)
        with pytest.raises(CannotTell, match="another host"):
            faults.link.cut()


@pytest.mark.parametrize("target", [NativeClient(), RealBroker("rabbitmq")], ids=lambda target: str(target.name))
def test_a_target_that_shares_its_way_is_refused(target: Any, recorder: Recorder) -> None:
    """Others go that way too."""
    with pytest.raises(CannotTell, match="nothing between"):
        _ = Faults(target, recorder).link


# --- Kafka, by raw clients on the link and beside it


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    name = f"link-{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": kafka_broker.url.removeprefix("kafka://")})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(WAIT_S)
    return name


def link_of(broker: Broker, recorder: Recorder) -> LinkFaults:
    assert broker.link is not None
    return LinkFaults(broker.link, recorder)


def raw_producer(broker: Broker, **options: Any) -> Producer:
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None, "linger.ms": 0}
    return Producer({"bootstrap.servers": broker.linked_url.removeprefix("kafka://"), **quiet, **options})


def send(producer: Producer, topic: str, value: bytes) -> Any:
    """The error of its report, or None."""
    reports: list[Any] = []
    producer.produce(topic, value, on_delivery=lambda error, _: reports.append(error))
    producer.flush(WAIT_S)
    return reports[0]


def in_log(broker: Broker, topic: str) -> list[bytes | None]:
    return [record.value for record in KafkaObserver(broker.url).records(topic)]


def test_kafka_has_the_record_whose_answer_was_lost(kafka_broker: Broker, topic: str, recorder: Recorder) -> None:
    """A client that does not retry is told an error, and the record is in the log; one that retries without
    idempotence stores it twice, and with idempotence once."""
    link = link_of(kafka_broker, recorder)
    for value, options, copies in (
        (b"no retry", {"retries": 0}, 1),
        (b"retried", {"retries": 5}, 2),
        (b"idempotent", {"enable.idempotence": True}, 1),
    ):
        producer = raw_producer(kafka_broker, **options)
        assert send(producer, topic, b"warm") is None
        loss = link.lose_answer("send")
        error = send(producer, topic, value)
        loss.wait(WAIT_S)
        assert (error is not None) == (value == b"no retry"), error
        assert in_log(kafka_broker, topic).count(value) == copies


def test_kafka_clients_stay_on_the_link_and_others_off_it(kafka_broker: Broker, topic: str, recorder: Recorder) -> None:
    """While the link is cut its clients get nothing through, though Kafka tells them where to go; others do."""
    producer = raw_producer(kafka_broker, **{"message.timeout.ms": 1500})
    assert send(producer, topic, b"before") is None
    with link_of(kafka_broker, recorder).cut():
        assert send(producer, topic, b"meanwhile") is not None
        assert in_log(kafka_broker, topic) == [b"before"]
    assert send(raw_producer(kafka_broker), topic, b"after") is None
    with pytest.raises(KafkaException), link_of(kafka_broker, recorder).stall():
        AdminClient({"bootstrap.servers": kafka_broker.linked_url.removeprefix("kafka://")}).list_topics(timeout=0.5)


# --- RabbitMQ, by pika on the link and the management API beside it


@pytest.fixture
def queue(rabbitmq_broker: Broker) -> str:
    name = f"link-{secrets.token_hex(4)}"
    arguments = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    Management(rabbitmq_broker.url).ask("PUT", f"/api/queues/%2F/{name}", arguments)
    return name


def confirming(broker: Broker) -> Any:
    channel = pika.BlockingConnection(pika.URLParameters(broker.linked_url.partition("?")[0])).channel()
    channel.confirm_delivery()
    return channel


def holds(broker: Broker, queue: str) -> list[str]:
    got = Management(broker.url).ask(
        "POST",
        f"/api/queues/%2F/{queue}/get",
        {"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto"},
    )
    return [message["payload"] for message in got]


@pytest.mark.parametrize(("way", "there"), [("answer", ["x"]), ("request", [])])
def test_rabbitmq_has_the_message_whose_confirm_was_lost(
    rabbitmq_broker: Broker, queue: str, recorder: Recorder, way: str, there: list[str]
) -> None:
    """The publisher's connection ends without a confirm: with the answer lost the message is there, with the request
    lost it is not."""
    channel = confirming(rabbitmq_broker)
    link = link_of(rabbitmq_broker, recorder)
    loss = link.lose_answer("send") if way == "answer" else link.lose_request("send")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        channel.basic_publish("", queue, b"x")
    loss.wait(WAIT_S)
    assert holds(rabbitmq_broker, queue) == there
    again = confirming(rabbitmq_broker)
    again.basic_publish("", queue, b"y")
    again.connection.close()
    assert holds(rabbitmq_broker, queue) == [*there, "y"]


def test_amqp_has_no_answer_to_an_ack(rabbitmq_broker: Broker, recorder: Recorder) -> None:
    """What does not exist cannot be lost, and nobody waits for it."""
    with pytest.raises(CannotTell, match="no answer of a 'settle'"):
        link_of(rabbitmq_broker, recorder).lose_answer("settle")


@pytest.mark.parametrize("engine", ["kafka", "rabbitmq"])
def test_a_target_of_its_own_broker_goes_by_the_link(engine: str, request: pytest.FixtureRequest) -> None:
    """Its parties do, its observer does not; and the broker is the one that tests may stop."""
    broker: Broker = request.getfixturevalue(f"{engine}_broker")
    with RealBroker(engine, own=True) as target:
        assert target.broker is broker
        assert target.link is broker.link
        assert target.url == broker.linked_url != broker.url
        assert broker.link is not None
        broker.link.cut()
        try:
            target.observer.names()
        finally:
            broker.link.mend()
        with target.connect() as bus:
            assert bus.capabilities[mq.Capability.WORK_SHARING]
