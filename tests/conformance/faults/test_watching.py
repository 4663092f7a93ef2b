"""What happens in a history is seen while it is written, from all its files, and counted from a mark on."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mqbridge_conformance.faults import Watch, When
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.results import CannotTell

WAIT_S = 10.0


@pytest.fixture
def watch(recorder: Recorder) -> Watch:
    return Watch(recorder.folder)


def test_events_are_seen_as_they_come_and_torn_lines_are_not(recorder: Recorder, watch: Watch) -> None:
    """From files that are there and from those that come, each line once, when it is whole."""
    recorder.write("ok", "send")
    assert [event.f for event in watch.events()] == ["send"]
    other = Recorder(recorder.folder, "other")
    other.write("ok", "deliver")
    file = os.open(recorder.folder / "torn.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, b'{"seq":1,"t":1,"proc":"torn",')
    assert [event.f for event in watch.events()] == ["send", "deliver"]
    os.write(file, b'"kind":"ok","f":"ack"}\n{"seq"')
    assert [event.f for event in watch.events()] == ["send", "deliver", "ack"]
    os.close(file)
    other.close()


def test_what_is_waited_for_may_come_later(recorder: Recorder, watch: Watch) -> None:
    """By another thread or process; the wait ends when it is there, and not before."""
    for _ in range(2):
        recorder.write("ok", "send")
    timer = threading.Timer(0.1, lambda: recorder.write("ok", "send"))
    timer.start()
    watch.until(When("send", count=3), WAIT_S)
    assert len(watch.events()) == 3
    timer.join()


@pytest.mark.parametrize(
    "when",
    [
        When("send", count=3),
        When("send", "fail"),
        When("send", where=lambda event: event.key == "b"),
        When("send", count=2, each=["scenario"]),
        When("send", each=["scenario", "other"]),
    ],
    ids=["number", "kind", "predicate", "number of each", "each"],
)
def test_only_what_was_meant_counts(recorder: Recorder, watch: Watch, when: When) -> None:
    """Name, kind, number, predicate, and the number of each process; what does not come, nobody can tell."""
    third = Recorder(recorder.folder, "third")
    recorder.write("ok", "send", key="a")
    third.write("ok", "send", key="a")
    recorder.write("ok", "flush", key="b")
    with pytest.raises(CannotTell, match=r"only .* of \d send"):
        watch.until(when, 0.05)
    third.close()


def test_what_was_before_the_mark_does_not_count(recorder: Recorder, watch: Watch) -> None:
    """The whole history counts without one."""
    recorder.write("ok", "send")
    watch.until(When("send"), WAIT_S)
    mark = watch.now()
    with pytest.raises(CannotTell, match="only 0 of 1 send ok"):
        watch.until(When("send"), 0.05, since=mark)
    recorder.write("ok", "send")
    watch.until(When("send"), WAIT_S, since=mark)


def test_a_file_that_is_no_history_is_an_error(watch: Watch, recorder: Recorder, tmp_path: Path) -> None:
    """A line that cannot be read is not passed over."""
    (recorder.folder / "x.jsonl").write_text('{"seq":1}\n')
    with pytest.raises(ValueError, match="no event"):
        watch.events()
