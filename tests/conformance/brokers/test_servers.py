"""The brokers of a run: ready when they are handed out, and back with their data after a stop."""

from __future__ import annotations

import secrets
import urllib.error
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from mqbridge_conformance.brokers.servers import Broker, Management, Reached
from mqbridge_conformance.results import CannotTell


def _admin(url: str) -> AdminClient:
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
    return AdminClient({"bootstrap.servers": url.removeprefix("kafka://"), **quiet})


def test_rabbitmq_answers_a_raw_client(rabbitmq_url: str) -> None:
    """Its URL leads to a broker of the 4 line and to its management API, streams on."""
    overview = Management(rabbitmq_url).get("/api/overview")
    assert overview["rabbitmq_version"].startswith("4.")
    assert {"amqp", "stream"} <= {listener["protocol"] for listener in overview["listeners"]}


def test_kafka_is_back_at_the_same_address_with_its_data(kafka_broker: Broker) -> None:
    """After a proper restart, and after SIGKILL, what was there is there."""
    name = f"kept-{secrets.token_hex(4)}"
    client = _admin(kafka_broker.url)
    client.create_topics([NewTopic(name, 1, 1)])[name].result(10)
    kafka_broker.restart()
    assert name in client.list_topics(timeout=10).topics
    kafka_broker.kill()
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.2)
    kafka_broker.start()
    assert name in client.list_topics(timeout=10).topics


def test_a_paused_rabbitmq_answers_nothing_until_it_goes_on(rabbitmq_broker: Broker) -> None:
    """Frozen, not gone: the port is open."""
    management = Management(rabbitmq_broker.url, timeout_s=0.5)
    rabbitmq_broker.pause()
    try:
        with pytest.raises((TimeoutError, urllib.error.URLError)):
            management.get("/api/overview")
    finally:
        rabbitmq_broker.unpause()
    assert "rabbitmq_version" in Management(rabbitmq_broker.url).get("/api/overview")


def test_rabbitmq_is_back_at_the_same_address_with_its_data(rabbitmq_broker: Broker) -> None:
    """After SIGKILL a durable queue is there."""
    management, name = Management(rabbitmq_broker.url), f"kept-{secrets.token_hex(4)}"
    management.ask("PUT", f"/api/queues/%2F/{name}", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    rabbitmq_broker.kill()
    rabbitmq_broker.start()
    assert name in {queue["name"] for queue in management.get("/api/queues/%2F")}


def test_nobody_stops_a_broker_that_is_not_ours() -> None:
    """A broker of the environment is left alone, and the refusal does not give away its password."""
    broker = Reached("amqp://user:secret@h:5672/?management=http://h:15672")
    for stop in (broker.restart, broker.kill, broker.halt, broker.pause, lambda: broker.exec("ls")):
        with pytest.raises(CannotTell, match="not started by this run") as told:
            stop()
        assert "secret" not in str(told.value)
    broker.stop()
