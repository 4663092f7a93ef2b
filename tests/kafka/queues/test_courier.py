"""The engine's own records: what becomes of each is known before anything depends on it."""

from __future__ import annotations

import itertools

import pytest
from confluent_kafka.admin import NewTopic

import mqbridge as mq
from mqbridge_kafka.courier import Courier
from mqbridge_kafka.engine import KafkaConnection
from mqbridge_kafka.letters import Letter
from tests.kafka.queues.raw import client, fresh_name, topics, until

ROUNDS = 3
"""In one of three the client still remembered that the topic was missing."""


@pytest.fixture
def courier(bus: mq.Bus) -> Courier:
    connection = bus._connection
    assert isinstance(connection, KafkaConnection)
    return connection.courier


def test_a_letter_goes_to_a_topic_that_was_made_again(courier: Courier, kafka_url: str) -> None:
    """The client remembers for a while that the topic was missing; its letter is written all the same."""
    admin, topic, numbers = client(kafka_url), fresh_name(), itertools.count()

    def write() -> mq.MqbridgeError | None:
        (error,) = courier.deliver([Letter(topic, b"%d" % next(numbers), None, [], 1)], "a letter")
        return error

    def made() -> bool:
        return topic in topics(kafka_url)

    for _ in range(ROUNDS):
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        until(made, "the topic")
        assert write() is None
        admin.delete_topics([topic])[topic].result(30)
        until(lambda: not made(), "the end of the topic")
        missing = until(write, "an error for a topic that is gone")
        assert isinstance(missing, mq.NotFound), missing
