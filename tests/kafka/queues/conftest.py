"""A bus on the run's Kafka, and queues of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq


@pytest.fixture(scope="module")
def bus(kafka_url: str) -> Iterator[mq.Bus]:
    """One connection for the tests of a file."""
    with mq.connect(kafka_url) as bus:
        yield bus
