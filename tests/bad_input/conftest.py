"""The bus of the bad-input tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq
from tests.bad_input.shared import connected


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    yield from connected()
