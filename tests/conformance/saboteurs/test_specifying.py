"""Each saboteur of specifications leaves out what its name says, and answers as if it had not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from tests.conformance.saboteurs.broken import fill, member, nothing_more, pair, receive

OTHER = mq.Exchange("other", type="fanout")


@pytest.mark.parametrize(
    ("code", "wanted", "field"),
    [
        ("S59", mq.Queue("q", max_length=2, dead_letter=None), "max_length"),
        ("S59", mq.Queue("q", max_bytes=2, dead_letter=None), "max_bytes"),
        ("S60", mq.Queue("q", max_length=2, overflow="drop-head", dead_letter=None), "overflow"),
        ("S61", mq.Queue("q", expires_s=60.0, dead_letter=None), "expires_s"),
        ("S62", mq.Queue("q", single_active=True, dead_letter=None), "single_active"),
        ("S63", mq.Exchange("x", type="fanout", alternate=OTHER), "alternate"),
        ("S64", mq.Topic("t", retention=mq.Retention(max_bytes=1 << 20)), "retention.max_bytes"),
    ],
)
def test_what_was_asked_for_is_left_out(code: str, wanted: Any, field: str, tmp_path: Path) -> None:
    """`ensure` is content; the clean bus finds that one field another, and all others as they were asked for."""
    with pair(code, tmp_path) as bus:
        bus.clean.admin.ensure(OTHER)
        bus.broken.admin.ensure(wanted)
        assert len(bus.strikes) == 1
        with pytest.raises(mq.Mismatch) as caught:
            bus.clean.admin.ensure(wanted)
        assert [difference[0] for difference in caught.value.differences] == [field]


def test_who_asks_for_nothing_special_gives_no_opportunity(tmp_path: Path) -> None:
    """There is nothing to leave out."""
    for code in ("S59", "S60", "S61", "S62", "S63", "S64"):
        (tmp_path / code).mkdir()
        with pair(code, tmp_path / code) as bus:
            bus.broken.admin.ensure(mq.Topic("t"), mq.Queue("q"), mq.Exchange("x", type="fanout"))
            assert bus.strikes == []


def test_s65_makes_all_groups_one(tmp_path: Path) -> None:
    """What one group has settled, another one is not given."""
    with pair("S65", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as reader:
            for delivery in receive(reader, 6):
                delivery.ack()
        assert [group.group for group in bus.clean.admin.list_groups()] == ["t-readers"]
        assert bus.clean.admin.describe_group("t-readers").committed == {("t", 0): 6}


def test_s66_waits_for_who_does_not_poll(tmp_path: Path) -> None:
    """A member asked to poll within a moment has a day; one that has as long already gives no opportunity."""
    with pair("S66", tmp_path) as bus:
        fill(bus)
        with member(bus.broken, max_poll_interval_s=0.2) as idle, member(bus.clean) as heir:
            idle.wait_assigned(10)
            assert len(bus.strikes) == 1
            assert not heir.poll(1, timeout=1.0)
            assert idle.assignment() == (("t", 0),)
        with member(bus.broken, max_poll_interval_s=86_400.0):
            assert len(bus.strikes) == 1


def test_s76_holds_a_silent_member_for_alive(tmp_path: Path) -> None:
    """A session is longer than anybody waits; one that is as long already gives no opportunity."""
    with pair("S76", tmp_path) as bus:
        fill(bus)
        with member(bus.broken, session_timeout_s=2.0) as silent:
            silent.wait_assigned(10)
            assert len(bus.strikes) == 1
        with member(bus.broken, session_timeout_s=300.0):
            assert len(bus.strikes) == 1


def test_s73_reads_one_topic_of_several(tmp_path: Path) -> None:
    """Nothing of the second one comes; a member of one topic gives no opportunity."""
    with pair("S73", tmp_path) as bus:
        topics = [mq.Topic("one", partitions=1), mq.Topic("two", partitions=1)]
        for topic in topics:
            fill(bus, topic)
        with bus.broken.consumer(topics, group="g", start=mq.EARLIEST) as reader:
            assert {delivery.destination.name for delivery in receive(reader, 6)} == {"one"}
            assert nothing_more(reader)
        assert len(bus.strikes) == 1
        with member(bus.broken, topics[1]):
            assert len(bus.strikes) == 1
