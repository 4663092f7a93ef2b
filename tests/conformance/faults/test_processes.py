"""A killed party is dead, a stopped one stands still and goes on: seen by the kernel and by the other side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers.signals import continue_process, state_of, stop_process
from mqbridge_conformance.faults.processes import kill_party, stop_party
from mqbridge_conformance.history import Event, Recorder
from mqbridge_conformance.parties import ProcessParty, ThreadParty
from mqbridge_conformance.results import CannotTell, CheckFailed

WAIT_S = 20.0
TOPIC = mq.Topic("t", partitions=1)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[mq.Bus]:
    with mq.connect(f"native:{tmp_path / 'f'}") as found:
        found.admin.ensure(TOPIC)
        yield found


@pytest.fixture
def party(bus: mq.Bus, tmp_path: Path) -> Iterator[ProcessParty]:
    """A producer that sends one message a command."""
    args = {"url": f"native:{tmp_path / 'f'}", "topic": "t", "producer": "p", "keys": ["k"], "per_key": 1}
    found = ProcessParty("produce", args)
    found.expect("ready", WAIT_S)
    yield found
    continue_process(found.pid)
    found.stop(WAIT_S)


def test_a_killed_party_is_dead_when_the_fault_is_in_force(
    party: ProcessParty, recorder: Recorder, told: Callable[[], list[Event]]
) -> None:
    """No process of that number is left, and the history says who it was."""
    fault = kill_party(recorder, party)
    assert state_of(party.pid) == ""
    with pytest.raises(ProcessLookupError):
        os.kill(party.pid, 0)
    assert told()[-1].more == {"what": "kill", "at": "produce", "pid": party.pid}
    assert not fault.healed


def test_a_stopped_party_does_nothing_until_it_goes_on(party: ProcessParty, recorder: Recorder, bus: mq.Bus) -> None:
    """While it is stopped what it is told is not done, and it is done when it goes on: seen at the broker too."""
    with stop_party(recorder, party):
        assert state_of(party.pid) == "T"
        party.command("go")
        with pytest.raises(CheckFailed, match="did not say 'sent'"):
            party.expect("sent", 0.2)
        assert bus.admin.offsets(TOPIC)[0].end == 0
    party.expect("sent", WAIT_S)
    assert bus.admin.offsets(TOPIC)[0].end == 1


def test_healing_a_stopped_party_that_was_killed_is_harmless(party: ProcessParty, recorder: Recorder) -> None:
    """A stopped process dies by SIGKILL all the same, and then has nothing to go on with."""
    fault = stop_party(recorder, party)
    kill_party(recorder, party)
    assert state_of(party.pid) == ""
    fault.heal()


def test_a_party_that_has_ended_cannot_be_stopped(party: ProcessParty, recorder: Recorder) -> None:
    """Nobody takes a signal that reached nobody for a fault."""
    party.stop(WAIT_S)
    with pytest.raises(CannotTell, match="has ended"):
        stop_party(recorder, party)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        wait_until(lambda: state_of(dead.pid) == "Z", WAIT_S)
        with pytest.raises(CannotTell, match="has ended"):
            stop_process(dead.pid)


@pytest.mark.parametrize("fault", [kill_party, stop_party])
def test_a_party_on_a_thread_is_refused(
    fault: Callable[[Recorder, ThreadParty], object], recorder: Recorder, told: Callable[[], list[Event]]
) -> None:
    """A thread cannot die or stand still alone; nothing is told of a fault that was not even tried."""
    party = ThreadParty("host", {"url": "native:"})
    party.expect("ready", WAIT_S)
    with pytest.raises(CannotTell, match="no process of its own"):
        fault(recorder, party)
    assert told() == []
    party.stop(WAIT_S)
