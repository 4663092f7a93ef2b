"""Clients of queues that are cut off are replaced: producers, the courier, members of share groups, the registry's."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, ShareConsumer

import mqbridge as mq
from mqbridge_kafka import cut_off, outlet, registry, share_client
from tests.kafka.astray import astray, deaf
from tests.kafka.queues.raw import collect, fresh_name, records, send, until


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    monkeypatch.setattr(cut_off, "CHECK_S", 0.3)
    return threading.Event()


@pytest.mark.parametrize("to", ["queue", "exchange"])
def test_a_producer_goes_on(
    to: str, bus: mq.Bus, kafka_url: str, lost: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had ends as unknown, long before its time; the next message is confirmed and there."""
    queue, exchange = mq.Queue(fresh_name()), mq.Exchange(fresh_name(), type="fanout")
    bus.admin.ensure(queue, exchange)
    bus.admin.bind(mq.Binding(exchange, queue))
    destination: mq.Queue[bytes] | mq.Exchange = queue if to == "queue" else exchange
    with bus.producer(delivery_timeout_s=60.0) as producer:
        monkeypatch.setattr(
            outlet, "Producer", astray(Producer)
        )  # that of queues and exchanges is made when it is used
        for error in [receipt.exception(30) for receipt in [producer.send(destination, b"old") for _ in range(20)]]:
            assert isinstance(error, mq.ConnectionLost)
            assert error.outcome == "unknown"
        producer.send(destination, b"new").result(30)
    assert [message.value() for message in records(kafka_url, f"{queue.name}.mqq")] == [b"new"]


def test_the_courier_goes_on(kafka_url: str, lost: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that it could not write is unknown, and the next one is written."""
    monkeypatch.setattr(outlet, "Producer", astray(Producer))
    queue = mq.Queue(fresh_name())
    with mq.connect(kafka_url) as bus:
        with pytest.raises(mq.MqbridgeError) as caught:
            bus.admin.ensure(queue)
        assert caught.value.outcome == "unknown"
        bus.admin.ensure(queue)
        bus.admin.describe(queue)


def test_a_consumer_goes_on(bus: mq.Bus, lost: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of a share group that reaches nobody is replaced, and its queue is consumed."""
    monkeypatch.setattr(share_client, "ShareConsumer", astray(ShareConsumer))
    monkeypatch.setattr(share_client, "STATISTICS_MS", 200)
    queue = mq.Queue(fresh_name())
    bus.admin.ensure(queue)
    send(bus, queue, b"v")
    with bus.consumer(queue, prefetch=1) as consumer:
        [delivery] = until(lambda: consumer.poll(timeout=0.2), "a delivery", 30.0)
        delivery.ack()
        consumer.commit()


def test_what_a_lost_member_held_comes_again(
    bus: mq.Bus, lost: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its settlement got through is not known; what it does not settle any more is lost, and is delivered again
    to the same consumer."""
    numbers = itertools.count()

    class Numb(ShareConsumer):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.first, self.tell = next(numbers) == 0, config["stats_cb"]

        @property
        def lost(self) -> bool:
            return self.first and lost.is_set()

        def poll(self, timeout: float = -1) -> Any:
            if not self.lost:
                return super().poll(timeout)
            self.tell('{"brokers": {}}')
            return []

        def acknowledge(self, *settled: Any) -> None:
            if not self.lost:
                super().acknowledge(*settled)

        def commit_sync(self, timeout: float = -1) -> Any:
            if self.lost:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return super().commit_sync(timeout)

    monkeypatch.setattr(share_client, "ShareConsumer", Numb)
    monkeypatch.setattr(share_client, "STATISTICS_MS", 200)
    queue = mq.Queue(fresh_name())
    bus.admin.ensure(queue)
    with bus.consumer(queue, prefetch=1) as consumer:
        send(bus, queue, b"v")
        [delivery] = collect(consumer, 1)
        lost.set()
        delivery.ack()
        with pytest.raises(mq.MqbridgeError) as caught:
            consumer.commit()
        assert caught.value.outcome == "unknown"
        [again] = until(lambda: consumer.poll(timeout=0.2), "the same message", 40.0)
        assert (again.raw, again.redelivered) == (b"v", True)
        again.ack()
        consumer.commit()
        assert next(numbers) == 2


def test_a_registry_reads_on(
    bus: mq.Bus, kafka_url: str, lost: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others declare after its client was lost is seen, and what it had read is not forgotten."""
    monkeypatch.setattr(registry, "Consumer", deaf(Consumer, lost))
    first, second = mq.Queue(fresh_name()), mq.Queue(fresh_name())
    bus.admin.ensure(first)
    with mq.connect(kafka_url) as other:
        other.admin.describe(first)
        lost.set()
        bus.admin.ensure(second)
        other.admin.describe(second)
        other.admin.describe(first)
