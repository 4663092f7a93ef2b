"""A broker that is killed, halted or paused answers nobody, and healed it answers again, with its data."""

from __future__ import annotations

import os
import secrets
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

import mqbridge as mq
from mqbridge_conformance.brokers.native_host import NativeHost
from mqbridge_conformance.brokers.servers import Broker, Management
from mqbridge_conformance.brokers.signals import state_of
from mqbridge_conformance.faults import Faults
from mqbridge_conformance.faults.brokers import BrokerFaults
from mqbridge_conformance.history import Event, Recorder
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import NativeClient, NativeFolder, NativeMemory, RealBroker, Target

WAIT_S = 20.0
TOPIC = mq.Topic("t", partitions=1)
Told = Callable[[], list[Event]]


@pytest.fixture
def client() -> Iterator[NativeClient]:
    with NativeClient() as found:
        yield found


def faults_in(told: Told) -> list[tuple[str, str, str]]:
    return [(event.kind, event.f, event.more["what"]) for event in told() if event.more["at"] == "broker"]


def test_a_paused_native_host_answers_nobody(client: NativeClient, recorder: Recorder, told: Told) -> None:
    """The host's process stands still: a send has no answer until it goes on, and then it has one."""
    faults = Faults(client, recorder)
    assert isinstance(client.broker, NativeHost)
    with client.connect() as bus, bus.producer() as producer:
        bus.admin.ensure(TOPIC)
        producer.send(TOPIC, b"before").result(WAIT_S)
        with faults.broker.pause():
            assert state_of(client.broker.host.pid) == "T"
            receipt = producer.send(TOPIC, b"meanwhile")
            with pytest.raises(mq.OperationTimeout):
                receipt.result(0.3)
        assert receipt.result(WAIT_S).offset == 1
    assert faults_in(told) == [(kind, f, "pause") for f in ("fault", "heal") for kind in ("invoke", "ok")]


@pytest.mark.parametrize("how", ["kill", "halt"])
def test_a_native_host_that_ends_is_followed_by_another(client: NativeClient, recorder: Recorder, how: str) -> None:
    """Killed or stopped in order, the process is gone, and what it had confirmed is there with the next host."""
    assert isinstance(client.broker, NativeHost)
    with client.connect() as bus, bus.producer() as producer:
        bus.admin.ensure(TOPIC)
        producer.send(TOPIC, b"kept").result(WAIT_S)
        pid = client.broker.host.pid
        fault = getattr(Faults(client, recorder).broker, how)()
        assert state_of(pid) == ""
        fault.heal()
        assert producer.send(TOPIC, b"after").result(WAIT_S).offset == 1
        assert [delivery.raw for delivery in bus.replay(TOPIC, mq.EARLIEST)] == [b"kept", b"after"]


def test_a_host_that_was_not_started_for_it_is_left_alone(recorder: Recorder, told: Told) -> None:
    """Where this process hosts the folder, a kill of the host would be a kill of the test."""
    with NativeFolder() as target:
        standing = NativeHost(Path(target.url.removeprefix("native:")), lambda: target.spawn("host"))
        target.broker = standing
        standing.start()
        for how in (Faults(target, recorder).broker.kill, Faults(target, recorder).broker.pause):
            with pytest.raises(CannotTell, match=f"process {os.getpid()}, .* left alone"):
                how()
            assert told()[-1].kind == "info"
        standing.stop()


@pytest.mark.parametrize("target", [NativeMemory(), NativeFolder(), RealBroker("kafka")], ids=lambda t: str(t.name))
def test_a_broker_that_is_not_the_target_s_own_is_refused(target: Target, recorder: Recorder) -> None:
    """In this process, or shared with other tests: nobody stops it."""
    with pytest.raises(CannotTell, match="not one that a test may stop"):
        _ = Faults(target, recorder).broker


def test_what_is_still_out_of_order_is_healed_at_the_end(client: NativeClient, recorder: Recorder, told: Told) -> None:
    """The last first; a party that was killed stays dead and is not told as healed."""
    assert isinstance(client.broker, NativeHost)
    faults = Faults(client, recorder)
    victim, sleeper = client.spawn("host"), client.spawn("host")
    faults.kill(victim)
    faults.stop(sleeper)
    faults.broker.pause()
    faults.close()
    assert state_of(sleeper.pid) in ("S", "R")
    assert state_of(client.broker.host.pid) in ("S", "R")
    assert [event.more["what"] for event in told() if (event.kind, event.f) == ("ok", "heal")] == ["pause", "stop"]
    sleeper.stop(WAIT_S)


def _kafka_answers(broker: Broker, timeout_s: float) -> set[str] | None:
    """The topics that a raw client hears of; None without an answer."""
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
    client = AdminClient({"bootstrap.servers": broker.url.removeprefix("kafka://"), **quiet})
    try:
        return set(client.list_topics(timeout=timeout_s).topics)
    except KafkaException:
        return None


def _rabbitmq_answers(broker: Broker, timeout_s: float) -> set[str] | None:
    try:
        return {queue["name"] for queue in Management(broker.url, timeout_s).get("/api/queues/%2F")}
    except (TimeoutError, ConnectionError, urllib.error.URLError):
        return None


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_kafka_answers_nobody_and_then_again(kafka_broker: Broker, recorder: Recorder, told: Told, how: str) -> None:
    """A raw client hears nothing while it is killed or paused, and finds its topic when it is healed."""
    name = f"kept-{secrets.token_hex(4)}"
    client = AdminClient({"bootstrap.servers": kafka_broker.url.removeprefix("kafka://")})
    client.create_topics([NewTopic(name, 1, 1)])[name].result(WAIT_S)
    with getattr(BrokerFaults(kafka_broker, recorder), how)():
        assert _kafka_answers(kafka_broker, 0.5) is None
    assert name in (_kafka_answers(kafka_broker, WAIT_S) or ())
    assert faults_in(told) == [(kind, f, how) for f in ("fault", "heal") for kind in ("invoke", "ok")]


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_rabbitmq_answers_nobody_and_then_again(rabbitmq_broker: Broker, recorder: Recorder, how: str) -> None:
    """A raw client hears nothing while it is killed or paused, and finds its queue when it is healed."""
    name = f"kept-{secrets.token_hex(4)}"
    Management(rabbitmq_broker.url).ask(
        "PUT", f"/api/queues/%2F/{name}", {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    )
    with getattr(BrokerFaults(rabbitmq_broker, recorder), how)():
        assert _rabbitmq_answers(rabbitmq_broker, 0.5) is None
    assert name in (_rabbitmq_answers(rabbitmq_broker, WAIT_S) or ())
