"""The bus and the fake subscription of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq
from tests.fakes import FakeTopicSubscription
from tests.topic_consumer.shared import ONE, TWO, faked


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(ONE, TWO)
        yield bus


@pytest.fixture
def fake() -> Iterator[tuple[mq.TopicConsumer[bytes], FakeTopicSubscription]]:
    yield from faked()
