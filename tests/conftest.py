"""A bus in memory for the tests of the portable layer, and the real brokers for those of the adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq

pytest_plugins = ["mqbridge_conformance.brokers.fixtures"]


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        yield bus
