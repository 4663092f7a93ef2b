"""Other parties: what they say is heard, how they end is known, and none is left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.parties import Party, ProcessParty, ThreadParty, pack, unpack
from mqbridge_conformance.results import CannotTell, CheckFailed

WAIT_S = 20.0


@pytest.fixture(params=[ProcessParty, ThreadParty], ids=["process", "thread"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[mq.Bus]:
    with mq.connect(f"native:{tmp_path / 'f'}") as found:
        found.admin.ensure(mq.Queue("q"))
        with found.producer() as producer:
            producer.send_many(mq.Queue("q"), [b"1", b"2"]).result(5)
        yield found


def holding(kind: Any, tmp_path: Path) -> Party:
    party: Party = kind("hold", {"url": f"native:{tmp_path / 'f'}", "queue": "q", "take": 2, "ack": 0})
    assert sorted(party.expect("held", WAIT_S)["kept"]) == [b"1", b"2"]
    return party


def test_what_stops_gives_back_uncounted_and_what_is_killed_is_counted(kind: Any, bus: mq.Bus, tmp_path: Path) -> None:
    """The two ends differ as a shutdown and a crash do, for a thread as for a process."""
    for end, attempt in (("stop", 1), ("kill", 2)):
        party = holding(kind, tmp_path)
        party.stop(WAIT_S) if end == "stop" else party.kill()
        wait_until(lambda: bus.admin.depth(mq.Queue("q")) == 2, WAIT_S)
        with bus.consumer(mq.Queue("q")) as consumer:
            got = consumer.poll(timeout=WAIT_S)
            assert [delivery.attempt for delivery in got] == [attempt, attempt]
        party.stop(WAIT_S)  # harmless when it has ended


def test_a_party_that_says_nothing_is_no_verdict_and_one_that_fails_is(kind: Any, bus: mq.Bus, tmp_path: Path) -> None:
    """Ended without a word: nobody can tell. Failed, or silent beyond the deadline: the check failed."""
    party = holding(kind, tmp_path)
    with pytest.raises(CheckFailed, match="did not say 'never' within 0"):
        party.expect("never", 0.05)
    party.kill()
    with pytest.raises(CannotTell, match="ended without a word"):
        party.expect("never", WAIT_S)
    failing = kind("hold", {"url": f"native:{tmp_path / 'f'}", "queue": "missing", "take": 1, "ack": 0})
    with pytest.raises(CheckFailed, match="failed: NotFound"):
        failing.expect("held", WAIT_S)
    failing.stop(WAIT_S)


def test_a_process_ends_when_whoever_started_it_does(bus: mq.Bus, tmp_path: Path) -> None:
    """Its standard input is its life: with that closed it ends by itself, with the messages given back."""
    party = ProcessParty("hold", {"url": f"native:{tmp_path / 'f'}", "queue": "q", "take": 2, "ack": 0})
    party.expect("held", WAIT_S)
    party.stop(WAIT_S)
    with pytest.raises(ProcessLookupError):
        os.kill(party.pid, 0)
    assert bus.admin.depth(mq.Queue("q")) == 2


def test_messages_keep_bytes_and_texts_apart() -> None:
    """What travels between parties arrives as it was, whatever the names in it."""
    message = {"name": "x", "values": [b"", b"\xff\x00", None, "hex", {"hex": "00"}], "counts": {"t/0": 1}}
    assert unpack(pack(message)) == message
