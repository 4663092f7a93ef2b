"""Each saboteur of reading does what its name says, and nothing else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from tests.conformance.saboteurs.broken import TOPIC, fill, member, pair, receive


def test_m23_misses_where_it_seeks_and_where_it_begins_to_replay(tmp_path: Path) -> None:
    """A seek goes one before, a replay begins one late and still ends."""
    with pair("M23", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as consumer:
            receive(consumer, 6)
            consumer.seek(TOPIC, 0, 3)
            assert receive(consumer, 1)[0].offset == 2
            consumer.seek(TOPIC, 0, 0)
            assert receive(consumer, 1)[0].offset == 1
        assert [d.offset for d in bus.broken.replay(TOPIC, mq.EARLIEST)] == [1, 2, 3, 4, 5]
        assert [d.offset for d in bus.broken.replay(TOPIC, mq.At({0: 5}))] == [5]


@pytest.mark.parametrize(("start", "offset"), [(mq.EARLIEST, 6), (mq.LATEST, 0), (mq.At({0: 3}), 3)])
def test_m24_begins_at_the_other_end(start: Any, offset: int, tmp_path: Path) -> None:
    """Earliest is latest and latest is earliest; what is told exactly is kept."""
    with pair("M24", tmp_path) as bus:
        fill(bus)
        with member(bus.broken, start=start) as consumer:
            consumer.wait_assigned(10)
            assert consumer.next_offsets() == {("t", 0): offset}
        assert len(list(bus.broken.replay(TOPIC, start))) == 6 - offset


def test_s12_reads_on_where_a_gap_was_to_be_told(tmp_path: Path) -> None:
    """The group's place was removed, and it begins at what is left."""
    with pair("S12", tmp_path) as bus:
        fill(bus)
        with member(bus.clean) as consumer:
            consumer.wait_assigned(10)
        bus.clean.admin.delete_records(TOPIC, {0: 3})
        with member(bus.broken) as consumer:
            assert [d.offset for d in receive(consumer, 3)] == [3, 4, 5]


def test_s17_hands_out_twice(tmp_path: Path) -> None:
    """Each fetched batch comes a second time, and the commits are the same."""
    with pair("S17", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as consumer:
            got = receive(consumer, 12)
            assert [d.offset for d in got] == [*range(6), *range(6)]
            for delivery in got:
                delivery.ack()
        assert bus.clean.admin.describe_group("g").committed == {("t", 0): 6}


def test_s18_replays_backwards(tmp_path: Path) -> None:
    """A batch that lies wholly within the range comes from its end."""
    with pair("S18", tmp_path) as bus:
        fill(bus)
        assert [d.offset for d in bus.broken.replay(TOPIC, mq.EARLIEST)] == [5, 4, 3, 2, 1, 0]
        assert [d.offset for d in bus.broken.replay(TOPIC, mq.EARLIEST, mq.At({0: 4}))] == [0, 1, 2, 3]


def test_s19_begins_a_millisecond_late(tmp_path: Path) -> None:
    """A record of exactly that time is left out, by a group and by a replay."""
    at = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with pair("S19", tmp_path) as bus:
        bus.clean.admin.ensure(TOPIC)
        with bus.clean.producer() as producer:
            for number in range(3):
                producer.send(TOPIC, b"%d" % number, timestamp=at + dt.timedelta(milliseconds=number)).result(10)
        assert [d.raw for d in bus.broken.replay(TOPIC, mq.Since(at))] == [b"1", b"2"]
        with member(bus.broken, start=mq.Since(at)) as consumer:
            assert [d.raw for d in receive(consumer, 2)] == [b"1", b"2"]


def test_s20_ends_before_the_last_record(tmp_path: Path) -> None:
    """Of six records five are replayed, and of one that one."""
    with pair("S20", tmp_path) as bus:
        fill(bus)
        assert [d.offset for d in bus.broken.replay(TOPIC, mq.EARLIEST)] == [0, 1, 2, 3, 4]
        assert [d.offset for d in bus.broken.replay(TOPIC, mq.At({0: 5}))] == [5]


def test_s70_leaves_a_group_behind(tmp_path: Path) -> None:
    """What it reads is what is there."""
    with pair("S70", tmp_path) as bus:
        fill(bus)
        assert [delivery.raw for delivery in bus.broken.replay(TOPIC, mq.EARLIEST)] == bus.values(TOPIC)
        assert [group.group for group in bus.clean.admin.list_groups()] == ["t-replay"]
