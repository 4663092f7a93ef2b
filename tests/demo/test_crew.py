"""Worker processes, as the demo sees them."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.demo.crew import Crew
from mqbridge.demo.orders import SERVICE_BY_NAME
from mqbridge.demo.shapes import QueueShape
from mqbridge.demo.store import make_store, store_path

SMS = SERVICE_BY_NAME["sms"]


def test_a_worker_that_ends_by_itself_is_told_with_what_it_wrote(tmp_path: Path) -> None:
    """Waiting does not go on to its deadline when nobody is left to fulfil the condition."""
    began_s = time.monotonic()
    with Crew(tmp_path, "nowhere://host", ("--shape", "queue")) as crew:
        make_store(store_path(tmp_path, "sms"))
        crew.start(SMS, "sms")
        with pytest.raises(mq.ConnectionLost, match=r"(?s)worker sms ended by itself \(exit status 1\).*nowhere"):
            crew.wait("it never said so", lambda: False, 50.0)
    assert time.monotonic() - began_s < 40


def test_a_wait_ends_by_its_deadline_and_says_how_it_stood(tmp_path: Path) -> None:
    """The error names what did not happen, and how far it was."""
    with (
        Crew(tmp_path, "native:", ()) as crew,
        pytest.raises(mq.OperationTimeout, match=r"no rain within 0.1 s \(dry\)"),
    ):
        crew.wait("no rain", lambda: False, 0.1, lambda: "dry")


def test_workers_end_with_the_crew_and_when_asked(tmp_path: Path) -> None:
    """One is killed, one drains and leaves; no process is left, whatever state it was in."""
    shape = QueueShape()
    with mq.connect(f"native:{tmp_path / 'broker'}") as bus:
        bus.admin.ensure(*shape.specs())
        make_store(store_path(tmp_path, "sms"))
        with Crew(tmp_path, f"native:{tmp_path / 'broker'}", ("--shape", "queue")) as crew:
            one, two = crew.start(SMS, "one"), crew.start(SMS, "two")
            crew.wait("they did not get ready", lambda: one.partitions is not None and two.partitions is not None, 30.0)
            crew.kill(one)
            assert one.process.returncode == -signal.SIGKILL
            crew.finish()
            assert two.process.returncode == 0
            assert two.done
            three = crew.start(SMS, "three")
        assert three.process.poll() is not None
