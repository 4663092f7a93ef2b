"""A bus on the run's Kafka, and topics of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq
from tests.kafka.topics.raw import Raw


@pytest.fixture(scope="module")
def bus(kafka_url: str) -> Iterator[mq.Bus]:
    """One connection for the tests of a file; what is new in the metadata is noticed soon."""
    with mq.connect(kafka_url, options={"metadata_s": 0.5}) as bus:
        yield bus


@pytest.fixture(scope="module")
def raw(kafka_url: str) -> Raw:
    """The view from outside."""
    return Raw(kafka_url)
