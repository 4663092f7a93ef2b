"""A bus in memory for the tests of the portable layer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        yield bus
