"""`run_on_client`: the caller's function meets the native object, and what it gives or raises comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq
from mqbridge.native.runtime.session import Session

QUEUE = mq.Queue("work")
TOPIC = mq.Topic("orders")


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(QUEUE, TOPIC)
        yield bus


def test_what_the_function_returns_comes_back(bus: mq.Bus) -> None:
    """A queue's and a topic's consumer hand the session to the function, and its result to the caller."""
    with bus.consumer(QUEUE) as taker, bus.consumer(TOPIC, group="g", start=mq.EARLIEST) as reader:
        role = bus.unwrap(Session).role
        assert taker.run_on_client(Session, lambda session: session.role) == role
        assert reader.run_on_client(Session, lambda session: session.role) == role
        assert reader.run_on_client(Session, lambda session: None) is None


def test_what_the_function_raises_is_raised_to_the_caller(bus: mq.Bus) -> None:
    """An error of the caller's own function is his, as it is, and the consumer lives on."""

    def fail(_session: Session) -> None:
        raise KeyError("mine")

    with bus.consumer(QUEUE) as taker:
        with pytest.raises(KeyError, match="mine"):
            taker.run_on_client(Session, fail)
        assert taker.poll(timeout=0) == []


def test_no_such_object_is_said(bus: mq.Bus) -> None:
    """Asking for the client of another engine names the field and calls nothing."""
    called: list[object] = []
    with bus.consumer(QUEUE) as taker, pytest.raises(mq.InvalidSpec, match="OSError"):
        taker.run_on_client(OSError, called.append)
    assert called == []
