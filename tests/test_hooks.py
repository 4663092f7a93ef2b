"""Hooks: told per batch, never in the way."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import ConfigurationError
from mqbridge.hooks import EVENTS, HookSet
from mqbridge.testing import Recorder, embedded, wait_until

ONE = mq.Topic("one", partitions=1)
WORK = mq.Queue("work")


def test_nobody_listens() -> None:
    """With no hooks every call site is one test against None."""
    hooks = HookSet(())
    assert [getattr(hooks, name) for name in EVENTS] == [None] * len(EVENTS)
    assert hooks.propagator is None


def test_what_is_no_hook_is_refused() -> None:
    """A misspelt method would be silence for ever."""

    class Misspelt:
        def recieved(self, **facts: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="received"):
        mq.connect("native:", hooks=[Misspelt()])


def test_the_whole_story() -> None:
    """Sending, receiving, settling, assignment and closing are told, with counts that add up."""
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus:
        bus.admin.ensure(ONE)
        with bus.producer() as producer:
            for _ in range(10):
                producer.send(ONE, b"x")
        with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
            for delivery in consumer.poll():
                delivery.ack()
    assert recorder.sent_count(ONE) == recorder.received_count(ONE) == 10
    assert sum(event["count"] for event in recorder.of("settled", ONE)) == 10
    (assigned,) = recorder.of("assignment")
    assert (assigned["group"], assigned["assigned"], assigned["revoked"]) == ("g", (("one", 0),), ())
    assert [event["what"] for event in recorder.of("closed")] == ["producer", "consumer", "bus"]


def test_a_hook_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the others are called, and messages flow."""

    class Bad:
        def sent(self, **facts: Any) -> None:
            raise KeyError("mine")

        received = settled = assignment = closed = sent

    recorder = Recorder()
    with caplog.at_level(logging.ERROR, "mqbridge"), embedded(hooks=[Bad(), recorder]) as bus:
        bus.admin.ensure(ONE)
        with bus.producer() as producer:
            producer.send(ONE, b"x").result(5)
        with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
            for delivery in consumer.poll():
                delivery.ack()
            consumer.commit()
            assert consumer.lag() == {("one", 0): 0}
    assert recorder.received_count(ONE) == 1
    assert "KeyError" in caplog.text


class Trace:
    """A propagator: a number goes in with each message, and is the current one while it is handled."""

    def __init__(self) -> None:
        self.sent = 0
        self.current: bytes | None = None
        self.handled: list[tuple[bytes | None, bytes | None]] = []

    def inject(self, destination: Any, headers: dict[str, bytes], /) -> None:
        self.sent += 1
        headers["trace"] = b"%d" % self.sent

    @contextlib.contextmanager
    def around(self, delivery: Any, /) -> Iterator[None]:
        self.current = delivery.headers["trace"]
        try:
            yield
        finally:
            self.current = None


@pytest.mark.parametrize("destination", [ONE, WORK])
def test_a_propagator_travels_with_every_message(destination: Any) -> None:
    """By send, try_send and send_many, with other headers or none; and it surrounds the handler."""
    trace = Trace()
    with embedded(hooks=[trace]) as bus:
        bus.admin.ensure(ONE, WORK)
        with bus.producer() as producer:
            producer.send(destination, b"1")
            producer.send(destination, b"2", headers={"a": b"x"})
            producer.try_send(destination, b"3")
            producer.send_many(destination, [b"4", mq.Message(b"5")])
        options: dict[str, Any] = {"group": "g", "start": mq.EARLIEST} if isinstance(destination, mq.Topic) else {}
        consumer: Any = bus.consumer(destination, **options)
        stop = mq.Stop()

        def handle(delivery: mq.Delivery[bytes]) -> None:
            trace.handled.append((delivery.raw, trace.current))
            if len(trace.handled) == 5:
                stop.set()

        consumer.run(handle, stop=stop)
    assert trace.handled == [(b"%d" % number, b"%d" % number) for number in range(1, 6)]


def test_failures_are_told_with_where(bus: mq.Bus) -> None:
    """`error` says what failed and where; a handler's exception among them."""
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus:
        bus.admin.ensure(WORK)
        with bus.producer() as producer:
            producer.send(WORK, b"x")
        with bus.consumer(WORK) as consumer:
            stop = mq.Stop()

            def handle(delivery: mq.Delivery[bytes]) -> None:
                stop.set()
                raise ValueError("mine")

            consumer.run(handle, stop=stop)
        event = wait_until(lambda: recorder.of("error"))[0]
        assert isinstance(event["error"], ValueError)
        assert "queue:work" in event["where"]
