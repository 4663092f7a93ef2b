"""Errors when the machine fails: a full disk, a damaged file, a host that stops answering."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.testing import VirtualClock
from tests.bad_input.shared import ONE, WORK, send

DISK_FULL = """
import resource, signal, sys
import mqbridge as mq
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
topic = mq.Topic("t", partitions=1)
with mq.connect("native:" + sys.argv[1]) as bus:
    bus.admin.ensure(topic)
    with bus.producer() as producer:
        kept = [producer.send(topic, b"%d" % n).result(10).offset for n in range(10)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        refused = producer.send(topic, b"x" * 100_000).exception(10)
        print(type(refused).__name__, refused.outcome, refused.retryable)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        kept.append(producer.send(topic, b"10").result(10).offset)
    print(kept == list(range(11)), [d.raw for d in bus.replay(topic, mq.EARLIEST)] == [b"%d" % n for n in range(11)])
"""


def test_a_full_disk_refuses_and_goes_on(tmp_path: Path) -> None:
    """With no room the send is Rejected and not applied; nothing is lost, and it goes on when there is room."""
    here = Path(mq.__file__).parent.parent
    command = [sys.executable, "-c", DISK_FULL, str(tmp_path / "db")]
    environment = {**os.environ, "PYTHONPATH": str(here)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
    assert result.stdout.splitlines() == ["Rejected not_applied True", "True True"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A flipped byte in a stored file is CorruptLog with the file and the offset; nothing is cut off or guessed."""
    folder = tmp_path / "db"
    with mq.connect(f"native:{folder}") as bus:
        bus.admin.ensure(ONE)
        for number in range(5):
            send(bus, ONE, b"value %d" % number)
    (log,) = (folder / "topics").rglob("*.log")
    data = bytearray(log.read_bytes())
    place = data.index(b"value 2")
    data[place] ^= 1
    log.write_bytes(data)
    with pytest.raises(mq.CorruptLog) as caught, mq.connect(f"native:{folder}") as bus:
        list(bus.replay(ONE, mq.EARLIEST))
    assert caught.value.file == str(log)
    assert caught.value.offset_bytes <= place
    assert log.read_bytes() == bytes(data)


HOST = """
import sys
import mqbridge as mq
with mq.connect("native:" + sys.argv[1]) as bus:
    bus.admin.ensure(mq.Topic("single", partitions=1))
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_host_that_stops_answering_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    """Sends that were on their way when the host died end with the outcome unknown, and never hang."""
    here = Path(mq.__file__).parent.parent
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path / "db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        with mq.connect(f"native:{tmp_path / 'db'}") as bus:
            producer = bus.producer()
            producer.send(ONE, b"before").result(10)
            host.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, host.pid, os.WSTOPPED | os.WNOWAIT)  # the signal is delivered in its own time
            receipt = producer.send(ONE, b"into the dark")
            with pytest.raises(mq.OperationTimeout) as waited:
                receipt.result(0.2)
            assert waited.value.outcome == "unknown"
            host.kill()
            error = receipt.exception(20)
            assert isinstance(error, mq.ConnectionLost)
            assert error.outcome == "unknown"
            assert isinstance(error, ConnectionError)
            assert producer.send(ONE, b"after").result(20).offset == 1
            producer.close()
    finally:
        host.kill()
        host.wait()
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.close()
        host.stdout.close()


def test_a_clock_can_be_virtual() -> None:
    """The clock option takes a clock; a message that expires in an hour does so in no time."""
    clock = VirtualClock()
    with mq.connect("native:", options={"clock": clock}) as bus:
        bus.admin.ensure(WORK)
        with bus.producer() as producer:
            producer.send(WORK, b"x", expires_in_s=3600)
        assert bus.admin.depth(WORK) == 1
        clock.advance(3601)
        assert bus.admin.depth(WORK) == 0
