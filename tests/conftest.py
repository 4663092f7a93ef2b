"""A bus in memory for the tests of the portable layer, and the real brokers for those of the adapters."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import mqbridge as mq
from mqbridge.native.runtime import rooms

pytest_plugins = ["mqbridge_conformance.brokers.fixtures"]


def pytest_configure() -> None:
    """What a shell runs in the background ignores SIGINT, and all that it starts; some of that is ended by it here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        yield bus


@pytest.fixture(scope="module", autouse=True)
def _no_broker_is_left() -> Iterator[None]:
    """A native broker that a test left open would fail another one, far away, that has nothing to do with it."""
    before = set(rooms._registry.rooms)
    yield
    left = set(rooms._registry.rooms) - before
    assert not left, f"left open by a test of this module: {sorted(left)}"
