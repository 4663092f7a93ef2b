"""When reading a queue is at its end, on engines that count what is ready and on those that do not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.cli import reading
from mqbridge.cli.reading import QueueReader
from mqbridge.cli.stopping import Stop


def _read(bus: mq.Bus, queue: mq.Queue[bytes]) -> list[bytes | None]:
    reader = QueueReader(bus, queue, Stop(), idle_s=0.2)
    got: list[bytes | None] = []
    for batch in reader.batches():
        got += [delivery.raw for delivery in batch]
        reader.settle(batch)
    reader.close()
    return got


def test_an_engine_that_counts_nothing_is_given_time_to_join(bus: mq.Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joining may take longer than the idle time: the first message is waited for, and silence ends it then."""
    monkeypatch.setattr(QueueReader, "_ready", lambda self: None)
    monkeypatch.setattr(reading, "UNTOLD_FIRST_S", 5.0)
    monkeypatch.setattr(reading, "UNTOLD_IDLE_S", 0.2)
    queue = mq.Queue("q")
    bus.admin.ensure(queue)

    def send_late() -> None:
        with bus.producer() as producer:
            producer.send(queue, b"late")

    timer = threading.Timer(0.5, send_late)
    timer.start()
    began_s = time.monotonic()
    assert _read(bus, queue) == [b"late"]
    assert time.monotonic() - began_s < 4
    timer.join()


def test_a_queue_that_is_not_empty_is_not_taken_for_empty(
    bus: mq.Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Messages that are ready and do not come are waited for, and then told of: another consumer has its turn."""
    monkeypatch.setattr(reading, "MORE_READY_S", 0.6)
    queue = mq.Queue("q", single_active=True)
    bus.admin.ensure(queue)
    with bus.producer() as producer:
        for text in (b"1", b"2"):
            producer.send(queue, text)
    with bus.consumer(queue, prefetch=1) as other:
        assert other.poll(max_messages=1)
        began_s = time.monotonic()
        assert _read(bus, queue) == []
        assert time.monotonic() - began_s >= 0.6
    assert "queue:q has 1 message ready that did not come" in capsys.readouterr().err
    assert len(_read(bus, queue)) == 2


def test_an_empty_queue_ends_after_the_idle_time(tmp_path: Path) -> None:
    """Where the engine says that nothing is ready, silence is the end."""
    with mq.connect(f"native:{tmp_path}") as bus:
        bus.admin.ensure(mq.Queue("q"))
        began_s = time.monotonic()
        assert _read(bus, mq.Queue("q")) == []
        assert 0.2 <= time.monotonic() - began_s < 3
