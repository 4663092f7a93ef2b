"""What a bus and its parts are told when their broker is gone for good, and when it is only long in coming back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import errors
from mqbridge.native.runtime import rooms
from mqbridge.native.runtime.session import Session
from mqbridge.testing import wait_until

ONE = mq.Topic("one", partitions=1)
WORK = mq.Queue("work")


def _break_broker(bus: mq.Bus) -> None:
    """An internal fault in the broker of this process."""
    session: Any = bus.unwrap(Session)

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    session.link._broker._broker.call = fail
    session.call("list_topics", {}, [], lambda *_: None)


def test_a_broker_gone_for_good_ends_everybody() -> None:
    """Memory that stopped itself: consumers and replays raise, sends fail as not applied, nobody polls for ever."""
    bus = mq.connect("native:")
    bus.admin.ensure(ONE, WORK)
    producer = bus.producer(linger_s=0.0)
    producer.send(ONE, b"x").result(5)
    consumers: list[Any] = [bus.consumer(ONE, group="g", start=mq.LATEST), bus.consumer(WORK)]
    consumers[0].poll(1, 0.0)
    replay = bus.replay(ONE, mq.EARLIEST)
    _break_broker(bus)
    wait_until(lambda: bus.state == "closed")
    for waiting in [*consumers, replay]:
        with pytest.raises(errors.Unreachable, match="gone with it"):
            waiting.poll(1, 5.0)
    failure = producer.send(ONE, b"y").exception(5)
    assert isinstance(failure, errors.Unreachable)
    assert failure.outcome == "not_applied"


def test_a_host_long_in_coming_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A take-over that takes longer than `takeover_timeout_s` is a state, and no end: sends wait and are applied."""
    told = threading.Event()
    with mq.connect(f"native:{tmp_path / 'db'}", options={"takeover_timeout_s": 0.1}) as bus:
        bus.on_state(lambda _state, reason: told.set() if "within 0.1 s" in reason else None)
        bus.admin.ensure(ONE, WORK)
        producer = bus.producer(linger_s=0.0)
        assert producer.send(ONE, b"0").result(5).offset == 0
        consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST)
        with monkeypatch.context() as held:
            held.setattr(rooms, "enter_folder", lambda *_: None)
            _break_broker(bus)
            assert told.wait(10)
            receipt = producer.send(ONE, b"1")
            assert consumer.poll(1, 0.0) == []
            assert not receipt.done
        assert receipt.result(10).offset == 1
        got: list[bytes | None] = []
        wait_until(lambda: _drain(consumer, got))
        assert got == [b"0", b"1"]


def _drain(consumer: Any, got: list[bytes | None]) -> bool:
    got.extend(delivery.raw for delivery in consumer.poll(2, 0.1))
    return len(got) >= 2
