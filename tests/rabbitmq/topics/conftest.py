"""A bus on the run's RabbitMQ, and topics that are gone afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mqbridge as mq


@pytest.fixture
def rabbit(rabbitmq_url: str) -> Iterator[mq.Bus]:
    with mq.connect(rabbitmq_url) as bus:
        yield bus


@pytest.fixture
def make_topic(rabbit: mq.Bus) -> Iterator[Callable[..., mq.Topic[bytes]]]:
    """``make_topic(partitions=3)``: a topic that is there, of a name of its own."""
    made: list[mq.Topic[bytes]] = []

    def make(**fields: Any) -> mq.Topic[bytes]:
        topic = mq.Topic(f"t-{secrets.token_hex(4)}", **fields)
        rabbit.admin.ensure(topic)
        made.append(topic)
        return topic

    yield make
    for topic in made:
        try:
            rabbit.admin.delete(topic)
        except mq.NotFound:
            continue


@pytest.fixture
def group() -> str:
    return f"g-{secrets.token_hex(4)}"
