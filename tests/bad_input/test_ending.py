"""Errors after the end: closed, forked, forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mqbridge as mq
from tests.bad_input.shared import ONE


def test_everything_is_closed_after_close() -> None:
    """After close each entry raises Closed, and closing twice is harmless."""
    bus = mq.connect("native:")
    bus.admin.ensure(ONE)
    producer = bus.producer()
    consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST)
    bus.close()
    bus.close()
    calls = (
        lambda: bus.producer(),
        lambda: bus.consumer(ONE, group="g", start=mq.EARLIEST),
        lambda: bus.admin.list_topics(),
        lambda: bus.replay(ONE, mq.EARLIEST),
        lambda: producer.send(ONE, b"x"),
        lambda: consumer.poll(),
    )
    for call in calls:
        with pytest.raises(mq.Closed):
            call()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_use_after_fork(tmp_path: Path) -> None:
    """In a forked child every entry raises ForkedProcess, and the parent's bus goes on working."""
    with mq.connect(f"native:{tmp_path / 'db'}") as bus:
        bus.admin.ensure(ONE)
        producer = bus.producer()
        producer.send(ONE, b"parent").result(5)
        child = os.fork()
        if child == 0:
            caught = 0
            for call in (lambda: producer.send(ONE, b"child"), lambda: bus.producer(), lambda: bus.admin.list_topics()):
                try:
                    call()
                except mq.ForkedProcess:
                    caught += 1
            os._exit(0 if caught == 3 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert producer.send(ONE, b"parent").result(5).offset == 1


def test_an_unclosed_bus_warns() -> None:
    """A program that forgets to close its bus is told so, and what it sent is there."""
    code = "import mqbridge as mq; bus = mq.connect('native:')"
    here = Path(mq.__file__).parent.parent
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
        check=True,
        timeout=30,
    )
    assert "ResourceWarning: unclosed bus native:" in result.stderr
