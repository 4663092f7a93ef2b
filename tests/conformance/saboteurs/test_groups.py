"""Each saboteur of groups and of reading does what its name says, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from tests.conformance.saboteurs.broken import Pair, nothing_more, pair, receive

TOPIC = mq.Topic("t")
WIDE = mq.Topic("wide", partitions=2)


def fill(bus: Pair, topic: mq.Topic[Any] = TOPIC, count: int = 6) -> None:
    bus.clean.admin.ensure(topic)
    for partition in range(topic.partitions or 1):
        with bus.clean.producer(partitioner=lambda *_, p=partition: p) as producer:
            producer.send_many(topic, [b"%d" % n for n in range(count)])


def committed(bus: Pair, group: str = "g") -> dict[tuple[str, int], int]:
    return dict(bus.clean.admin.describe_group(group).committed)


def member(bus: mq.Bus, topic: mq.Topic[Any] = TOPIC, **options: Any) -> mq.TopicConsumer[Any]:
    return bus.consumer(topic, group="g", start=options.pop("start", mq.EARLIEST), **options)


def test_m15_answers_a_commit_and_makes_none(tmp_path: Path) -> None:
    """`commit` returns, and the broker has what it had."""
    with pair("M15", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as consumer:
            for delivery in receive(consumer, 3):
                delivery.ack()
            consumer.commit(10)
        assert committed(bus) == {("t", 0): 0}
        assert bus.strikes


def test_m16_commits_past_a_delivery_that_is_not_settled(tmp_path: Path) -> None:
    """Three of six are settled, four are committed; all six settled, it is six."""
    with pair("M16", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as consumer:
            held = receive(consumer, 6)
            for delivery in held[:3]:
                delivery.ack()
            consumer.commit(10)
            assert committed(bus) == {("t", 0): 4}
            for delivery in held[3:]:
                delivery.ack()
            consumer.commit(10)
            assert committed(bus) == {("t", 0): 6}


def test_m17_goes_back_to_the_commit_before(tmp_path: Path) -> None:
    """After each commit the one before it counts."""
    with pair("M17", tmp_path) as bus:
        fill(bus)
        with member(bus.broken, settle_interval_s=60) as consumer:
            held = receive(consumer, 6)
            seen = []
            for delivery in held[:3]:
                delivery.ack()
                consumer.commit(10)
                seen.append(committed(bus)["t", 0])
            assert seen == [0, 1, 2]


class Polled:
    """A member that another thread keeps alive and draining."""

    def __init__(self, consumer: mq.TopicConsumer[Any]) -> None:
        self.consumer = consumer
        self.got: list[mq.Delivery[Any]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            self.got += self.consumer.poll(10, timeout=0.05)

    def __enter__(self) -> Polled:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(10)


def test_m18_takes_a_commit_of_a_member_that_was_removed(tmp_path: Path) -> None:
    """One that did not poll for too long still holds its partition and commits it, while another has it."""
    with pair("M18", tmp_path) as bus:
        fill(bus)
        with member(bus.broken, max_poll_interval_s=0.5) as zombie:
            held = receive(zombie, 3)
            with member(bus.clean) as heir:
                assert heir.wait_assigned(10) == (("t", 0),)
                for delivery in held:
                    delivery.ack()
                zombie.commit(10)
                assert zombie.assignment() == (("t", 0),)
                assert committed(bus) == {("t", 0): 0}
        assert len(bus.strikes) == 1


def test_m19_keeps_what_it_gives_up(tmp_path: Path) -> None:
    """After the second member joined both say that they own the partition that moved, and both may settle."""
    with pair("M19", tmp_path) as bus:
        fill(bus, WIDE)
        with member(bus.broken, WIDE) as old:
            held = receive(old, 12)
            with Polled(old), member(bus.clean, WIDE) as new:
                moved = new.wait_assigned(10)
                assert len(moved) == 1
                assert old.assignment() == (("wide", 0), ("wide", 1))
                for delivery in held:
                    delivery.ack()
                old.commit(10)
                assert committed(bus)[moved[0]] == 0
        assert len(bus.strikes) == 1


def test_m20_leaves_a_partition_to_nobody(tmp_path: Path) -> None:
    """The member gets one of two; the broker believes that it has both."""
    with pair("M20", tmp_path) as bus:
        fill(bus, WIDE)
        with member(bus.broken, WIDE) as consumer:
            assert consumer.wait_assigned(10) == (("wide", 0),)
            assert {d.partition for d in receive(consumer, 6)} == {0}
            assert nothing_more(consumer)
            (told,) = bus.clean.admin.describe_group("g").members
            assert len(told.assignment) == 2


def test_m21_skips_the_first_record_of_an_assignment(tmp_path: Path) -> None:
    """All but the first come, and what is committed covers it."""
    with pair("M21", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as consumer:
            got = receive(consumer, 5)
            assert [d.offset for d in got] == [1, 2, 3, 4, 5]
            for delivery in got:
                delivery.ack()
        assert committed(bus) == {("t", 0): 6}


def test_m22_rewinds_past_what_is_committed(tmp_path: Path) -> None:
    """The next owner begins two records early, and nothing says that they come again."""
    with pair("M22", tmp_path) as bus:
        fill(bus)
        with member(bus.clean) as consumer:
            for delivery in receive(consumer, 6)[:4]:
                delivery.ack()
        assert committed(bus) == {("t", 0): 4}
        with member(bus.broken) as consumer:
            got = receive(consumer, 4)
            assert [d.offset for d in got] == [2, 3, 4, 5]
            assert not any(d.redelivered for d in got)


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
