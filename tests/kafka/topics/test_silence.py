"""Brokers that fall silent while a member of a group is asking them something."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_kafka import cut_off, member_client
from mqbridge_kafka.watching import Watch
from tests.kafka.topics.raw import Raw, collect, fresh

QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}


class Company:
    """A raw member of a group: with it there, another member's start is committed when partitions are assigned."""

    def __init__(self, servers: str, group: str, topic: str) -> None:
        config = {
            "bootstrap.servers": servers,
            "group.id": group,
            "partition.assignment.strategy": "cooperative-sticky",
            "heartbeat.interval.ms": 200,
            "enable.auto.commit": False,
            **QUIET,
        }
        self._consumer = Consumer(config)
        self._stop = threading.Event()
        self._joined = threading.Event()
        self._consumer.subscribe([topic], on_assign=lambda _consumer, _places: self._joined.set())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._joined.wait(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._consumer.poll(0.05)
        self._consumer.close()

    def leave(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def company() -> Iterator[list[Company]]:
    made: list[Company] = []
    yield made
    for member in made:
        member.leave()


@pytest.fixture
def frozen(kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The broker is frozen when a member commits for the second time, just before it does: the first time, from
    outside, it is refused where a group has members."""
    paused, commits = threading.Event(), []

    class Freezing(Consumer):
        def commit(self, *arguments: Any, **named: Any) -> Any:
            commits.append(named["offsets"])
            if len(commits) == 2:
                kafka_broker.pause()
                paused.set()
            return super().commit(*arguments, **named)

    monkeypatch.setattr(member_client, "Consumer", Freezing)
    yield paused
    if paused.is_set():
        kafka_broker.unpause()
    wait_until(lambda: makes_topics(kafka_broker), 60.0)


def makes_topics(broker: Broker) -> bool:
    """Is it itself again? A lone broker that was frozen counts as dead to itself, and makes nothing for a while."""
    client, name = AdminClient({"bootstrap.servers": broker.url.removeprefix("kafka://"), **QUIET}), fresh()
    try:
        client.create_topics([NewTopic(name, 1, 1)], request_timeout=5.0)[name].result(6.0)
    except (KafkaException, TimeoutError):
        return False
    return True


def test_closing_is_answered_though_the_commit_of_a_start_is_not(
    kafka_broker: Broker, frozen: threading.Event, company: list[Company]
) -> None:
    """The brokers fall silent while partitions are being assigned: who closes the consumer is not left waiting."""
    raw = Raw(kafka_broker.url)
    old, new, group = raw.topic(), raw.topic(), fresh("g")
    company.append(Company(raw.servers, group, old.name))
    with mq.connect(kafka_broker.url) as bus:
        consumer = bus.consumer(new, group=group, start=mq.EARLIEST)
        assert frozen.wait(30)
        begun_s = time.monotonic()
        consumer.close(timeout=25)
        assert time.monotonic() - begun_s < 20
        kafka_broker.unpause()
        frozen.clear()


def test_a_member_goes_on_when_the_brokers_do(
    kafka_broker: Broker, frozen: threading.Event, company: list[Company]
) -> None:
    """The brokers fall silent while partitions are being assigned, and go on: the start is committed, then read."""
    raw = Raw(kafka_broker.url)
    old, new, group = raw.topic(), raw.topic(), fresh("g")
    raw.produce(new.name, [b"a", b"b", b"c"])
    company.append(Company(raw.servers, group, old.name))
    with mq.connect(kafka_broker.url) as bus, bus.consumer(new, group=group, start=mq.EARLIEST) as consumer:
        assert frozen.wait(30)
        assert consumer.poll(timeout=1.0) == []
        kafka_broker.unpause()
        frozen.clear()
        got: list[bytes | None] = []

        def three() -> bool:
            got.extend(delivery.raw for delivery in consumer.poll(timeout=0.1))
            return len(got) >= 3

        wait_until(three, 60.0)
        assert got == [b"a", b"b", b"c"]
        assert raw.committed(group) == {(new.name, 0): 0}


def test_a_member_whose_client_is_cut_off_goes_on_with_a_new_one(
    bus: mq.Bus, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that will never find a broker again is replaced: the partitions are lost, and come back to the same
    consumer, which goes on where it had committed."""
    deaf, quiet, numbers = threading.Event(), threading.Event(), itertools.count()

    class Deaf(Consumer):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.number = next(numbers)

        @property
        def hears(self) -> bool:
            return self.number > 0 or not deaf.is_set()

        def list_topics(self, *arguments: Any, **named: Any) -> Any:
            if not self.hears:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            return super().list_topics(*arguments, **named)

        def poll(self, timeout: float = -1) -> Any:
            if self.hears:
                return super().poll(timeout)
            quiet.set()
            return None

        def consume(self, num_messages: int = 1, timeout: float = -1) -> Any:
            return super().consume(num_messages, timeout) if self.hears else []

    monkeypatch.setattr(member_client, "Consumer", Deaf)
    monkeypatch.setattr(cut_off, "CHECK_S", 0.3)
    topic, group = raw.topic(), fresh("g")
    raw.produce(topic.name, [b"a"])
    lost: list[tuple[Any, ...]] = []
    with bus.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=6.0) as consumer:
        consumer.on_lost(lost.append)
        [delivery] = collect(consumer, 1)
        delivery.ack()
        consumer.commit()
        deaf.set()
        assert quiet.wait(20)
        raw.produce(topic.name, [b"b"])
        wait_until(lambda: consumer.poll(timeout=0.05) or lost, 30.0)
        assert lost == [((topic.name, 0),)]
        [again] = wait_until(lambda: consumer.poll(timeout=0.1), 60.0)
        assert again.raw == b"b"


def test_a_partition_that_cannot_begin_yet_holds_up_no_other(
    bus: mq.Bus, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says where an added partition begins: what the member has is read and committed, and when it is said, the
    added one is read from its beginning."""
    topic, group = raw.topic(), fresh("g")
    answering, mute, asked = Watch.reader, threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        silent = Consumer({"bootstrap.servers": address, "group.id": fresh("silent"), **QUIET})

        def reader(watch: Watch, isolation: str) -> Consumer:
            if not mute.is_set():
                return answering(watch, isolation)
            asked.set()
            return silent

        monkeypatch.setattr(Watch, "reader", reader)
        with bus.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
            consumer.wait_assigned(20)
            mute.set()
            raw.add_partitions(topic.name, 2)
            raw.produce(topic.name, [b"added"], partition=1)
            wait_until(lambda: consumer.poll(timeout=0.05) or asked.is_set(), 30.0)
            raw.produce(topic.name, [b"own"])
            [own] = collect(consumer, 1)
            own.ack()
            consumer.commit(timeout=20)
            assert raw.committed(group) == {(topic.name, 0): 1}
            mute.clear()
            [added] = collect(consumer, 1)
            assert (added.partition, added.raw) == (1, b"added")
