"""The brokers as fixtures of a test suite: ``pytest_plugins = ["mqbridge_conformance.brokers.fixtures"]``."""

from __future__ import annotations

import pytest

from mqbridge_conformance.brokers import provided
from mqbridge_conformance.brokers.not_run import watch_for_brokers
from mqbridge_conformance.brokers.servers import Broker, SecuredKafka

__all__ = ["kafka_broker", "kafka_url", "rabbitmq_broker", "rabbitmq_url", "secured_kafka_broker"]


def pytest_configure(config: pytest.Config) -> None:
    watch_for_brokers(config)


@pytest.fixture(scope="session")
def kafka_url() -> str:
    """The run's Kafka, which nobody stops: names of your own keep tests apart."""
    return provided.broker("kafka").url


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The run's RabbitMQ, which nobody stops; its ``?management=`` names the management API."""
    return provided.broker("rabbitmq").url


@pytest.fixture(scope="session")
def kafka_broker() -> Broker:
    """A second Kafka, for tests that restart, kill or pause theirs, and leave it running."""
    return provided.broker("kafka", own=True)


@pytest.fixture(scope="session")
def rabbitmq_broker() -> Broker:
    """A second RabbitMQ, for tests that restart, kill or pause theirs, and leave it running."""
    return provided.broker("rabbitmq", own=True)


@pytest.fixture(scope="session")
def secured_kafka_broker() -> SecuredKafka:
    """A Kafka with passwords, access lists and TLS, which nobody stops: users of your own keep tests apart."""
    return provided.secured_kafka()
