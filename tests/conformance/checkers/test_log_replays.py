"""A replay alone: it begins where it was asked to and ends where it was asked to, by what was known of its log then."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge_conformance.checkers.log_order import log_order
from tests.conformance.checkers.stories import TOPIC, Story, anomalies, findings, value

CHECKS = (log_order,)


def found(story: Story) -> set[str]:
    return anomalies(story.history(), CHECKS)


def read(*offs: int, records: int = 6, out: bool = True, start: int | None = None, **options: Any) -> Story:
    """One replay of six records, read out unless it was left."""
    story = Story().filled(records)
    story.replay("r", start, **options)
    if offs:
        story.poll("r", *offs, lease=None)
    if out:
        story.read_out()
    return story


def test_all_that_was_known_is_given() -> None:
    """Nothing is found, of a replay that was read out and of one that was left."""
    assert found(read(*range(6))) == set()
    assert found(read(0, 1, out=False)) == set()
    assert found(read(out=False)) == set()


def test_a_replay_that_begins_late() -> None:
    """replay-mismatch: from the earliest record on, without the first ones; also if it was not read out."""
    (finding,) = findings(read(2, 3, out=False).history(), CHECKS)
    assert (finding.anomaly, finding.where) == ("replay-mismatch", f"{TOPIC}/0")
    assert finding.text == (
        "main/r asked for all from the earliest record on and began at offset 2: without offsets 0, 1"
    )
    assert [event.f for event in finding.witness] == ["send", "send", "send", "send", "open", "deliver"]


def test_a_replay_that_ends_early() -> None:
    """replay-mismatch: read out, without the last ones that were confirmed before it was asked for."""
    (finding,) = findings(read(0, 1, 2, 3).history(), CHECKS)
    assert finding.anomaly == "replay-mismatch"
    assert "ended after offset 3" in finding.text
    assert finding.text.endswith("without offsets 4, 5")
    assert [event.f for event in finding.witness][-3:] == ["open", "deliver", "read_out"]


def test_a_replay_that_gives_nothing() -> None:
    """replay-mismatch: a whole partition is not there; not of an empty one."""
    (finding,) = findings(read().history(), CHECKS)
    assert "was given nothing" in finding.text
    assert found(read(records=0)) == set()


def test_what_was_not_known_then_need_not_be_given() -> None:
    """Confirmed while it was being read, or by one that was asked to be less than safe; unless somebody saw it."""
    story = Story().filled(3)
    op = story.begin(value(3))
    story.put(3, value(3))
    story.replay()
    story.end(op, 3)
    story.poll("r", 0, 1, 2, lease=None)
    story.read_out()
    assert found(story) == set()
    for seen in (False, True):
        story = Story().filled(3)
        story.producer("weak", acks="leader")
        story.send(value(3), 3, "weak")
        if seen:
            story.consumer()
            story.poll("c", 0, 1, 2, 3)
        story.replay()
        story.poll("r", 0, 1, 2, lease=None)
        story.read_out()
        assert found(story) == ({"replay-mismatch"} if seen else set())


def test_the_asked_range_is_what_is_due() -> None:
    """An end at an offset, a start at an offset, a start by time; an end that cannot be told, or no time of asking."""
    upto: dict[str, Any] = {"end": {"offsets": {"0": 3}}}
    assert found(read(0, 1, 2, **upto)) == set()
    assert found(read(0, 1, **upto)) == {"replay-mismatch"}
    assert found(read(end={"offsets": {"1": 3}})) == set()
    assert found(read(3, 4, 5, start=3)) == set()
    assert found(read(start=3)) == {"replay-mismatch"}
    assert found(read(start=6)) == set()
    assert found(read(4, 5, start=3)) == {"poll-skip"}
    assert found(_by_time(4, 5)) == set()
    assert found(_by_time(4)) == {"replay-mismatch"}
    assert found(_by_time()) == set()
    assert found(read(0, end={"when": "0:00:01"})) == set()
    assert found(read(0, asked_t=None)) == set()


def _by_time(*offs: int) -> Story:
    story = Story().filled(6)
    more = {"role": "replay", "start": {"when": "0:00:01"}, "end": {"name": "NOW"}, "asked_t": story.t + 1}
    story.say("ok", "open", client="r", dest=TOPIC, more=more)
    if offs:
        story.poll("r", *offs, lease=None)
    story.read_out()
    return story


def test_what_was_removed_is_not_due() -> None:
    """Records that were deleted, and a topic that keeps the newest alone, of which the last look says what is left."""
    story = Story().filled(6)
    story.did("delete_records", dest=TOPIC, more={"before": {"0": 2}})
    story.replay()
    story.poll("r", 2, 3, 4, 5, lease=None)
    story.read_out()
    assert found(story) == set()
    story = Story(retention={"max_bytes": 9}).filled(6)
    story.replay()
    story.poll("r", 3, 4, 5, lease=None)
    story.read_out()
    story.look(without=(0, 1, 2))
    assert found(story) == set()
    story.look(without=(0, 1))
    assert found(story) == {"replay-mismatch"}


@pytest.mark.parametrize("ended", [True, False])
def test_a_transaction_under_way_holds_back_what_lies_behind_it(ended: bool) -> None:
    """Only once it has ended is what was confirmed above it due."""
    story = Story().filled(1)
    story.producer("t")
    story.did("begin", "t", txn="x")
    story.send(value(7), 1, "t", txn="x")
    if ended:
        story.did("end", "t", txn="x", more={"commit": True})
    story.send(value(8), 3)
    story.replay()
    story.poll("r", 0, lease=None)
    story.read_out()
    assert found(story) == ({"replay-mismatch"} if ended else set())
