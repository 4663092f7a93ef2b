"""A bus on the run's RabbitMQ, and queues and exchanges that are gone afterwards."""

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
def make_queue(rabbit: mq.Bus) -> Iterator[Callable[..., mq.Queue[bytes]]]:
    """``make_queue(max_attempts=3)``: a queue, and its dead-letter queue, of names of their own."""
    made: list[mq.Queue[bytes]] = []

    def make(**fields: Any) -> mq.Queue[bytes]:
        queue = mq.Queue(f"q-{secrets.token_hex(4)}", **fields)
        rabbit.admin.ensure(queue)
        made.append(queue)
        return queue

    yield make
    for queue in made:
        for one in (queue, queue.dead_letter):
            if one is not None:
                _delete(rabbit, one)


@pytest.fixture
def make_exchange(rabbit: mq.Bus) -> Iterator[Callable[..., mq.Exchange]]:
    """``make_exchange(type="topic")``: an exchange of a name of its own."""
    made: list[mq.Exchange] = []

    def make(**fields: Any) -> mq.Exchange:
        exchange = mq.Exchange(f"x-{secrets.token_hex(4)}", **fields)
        rabbit.admin.ensure(exchange)
        made.append(exchange)
        return exchange

    yield make
    for exchange in made:
        _delete(rabbit, exchange)


def _delete(bus: mq.Bus, destination: Any) -> None:
    try:
        bus.admin.delete(destination)
    except mq.NotFound:
        return


def take(consumer: Any, count: int, timeout: float = 10.0) -> list[Any]:
    """Exactly `count` deliveries."""
    found: list[Any] = []
    while len(found) < count:
        some = consumer.poll(count - len(found), timeout=timeout)
        assert some, f"{len(found)} of {count} deliveries came within {timeout:g} s"
        found += some
    return found
