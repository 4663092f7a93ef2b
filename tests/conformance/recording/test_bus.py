"""A recorded connection tells when its clients began and ended, also those that end with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge_conformance import recording
from mqbridge_conformance.history import Event, History, Recorder, load

QUEUE = mq.Queue[bytes]("q")


def closes(history: History) -> list[tuple[str, str | None]]:
    return [(event.kind, event.client) for event in history.of("close")]


@pytest.mark.parametrize("how", ["with", "close"])
def test_what_ends_with_its_bus_is_told(tmp_path: Path, how: str) -> None:
    """A consumer and a producer that nobody closed are closed with their bus; one that was closed is told once."""
    recorder = Recorder(tmp_path, "main")
    bus = recording.connect(mq.connect("native:"), recorder)
    bus.admin.ensure(QUEUE)
    bus.producer()
    bus.consumer(QUEUE)
    bus.consumer(QUEUE).close()
    if how == "with":
        with bus:
            pass
    else:
        bus.close()
    bus.close()
    recorder.close()
    consumers, producer = ["queue-consumer-2", "queue-consumer-1"], "producer-1"
    assert closes(load(tmp_path)) == [
        ("invoke", consumers[0]),
        ("ok", consumers[0]),
        ("invoke", producer),
        ("invoke", consumers[1]),
        ("ok", producer),
        ("ok", consumers[1]),
    ]


def test_a_bus_that_could_not_be_closed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then what became of its clients."""
    recorder = Recorder(tmp_path, "main")
    real = mq.connect("native:")
    bus = recording.connect(real, recorder)
    bus.admin.ensure(QUEUE)
    bus.producer()
    bus.consumer(QUEUE)

    def fails(timeout: float = 30.0) -> None:
        raise mq.OperationTimeout("not today", outcome="unknown")

    with monkeypatch.context() as broken:
        broken.setattr(real, "close", fails)
        with pytest.raises(mq.OperationTimeout):
            bus.close()
    real.close()
    recorder.close()
    assert [kind for kind, _ in closes(load(tmp_path))] == ["invoke", "invoke", "info", "info"]


def test_a_consumer_tells_when_it_was_asked_for(tmp_path: Path) -> None:
    """Before it can have been given anything, which its first event is not."""
    recorder = Recorder(tmp_path, "main")
    with recording.connect(mq.connect("native:"), recorder) as bus:
        bus.admin.ensure(QUEUE)
        before = time.monotonic_ns()
        bus.consumer(QUEUE)
    recorder.close()
    (opened,) = [event for event in load(tmp_path).of("open") if isinstance(event, Event)]
    assert before <= opened.more["asked_t"] <= opened.t
