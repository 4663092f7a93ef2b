"""Each saboteur of groups and of reading does what its name says, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import mqbridge as mq
from tests.conformance.saboteurs.broken import Pair, fill, member, nothing_more, pair, receive

TOPIC = mq.Topic("t")
WIDE = mq.Topic("wide", partitions=2)


def committed(bus: Pair, group: str = "g") -> dict[tuple[str, int], int]:
    return dict(bus.clean.admin.describe_group(group).committed)


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

    def come(self, number: int) -> bool:
        """Wait until so many have come."""
        waiting = threading.Event()
        for _ in range(200):
            if len(self.got) >= number:
                return True
            waiting.wait(0.05)
        return False

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


def test_m19_keeps_what_it_gives_up_and_reads_it_on(tmp_path: Path) -> None:
    """After the second member joined both say that they own the partition that moved, both get what comes, and both
    may settle; the broker has what the new one committed."""
    with pair("M19", tmp_path) as bus:
        fill(bus, WIDE)
        with member(bus.broken, WIDE) as old:
            held = receive(old, 12)
            with Polled(old) as polled, member(bus.clean, WIDE) as new:
                moved = new.wait_assigned(10)
                assert len(moved) == 1
                assert old.assignment() == (("wide", 0), ("wide", 1))
                assert len(receive(new, 6)) == 6
                fill(bus, WIDE, 3)
                assert len(receive(new, 3)) == 3
                assert polled.come(6)
                assert {d.offset for d in polled.got if ("wide", d.partition) == moved[0]} == {6, 7, 8}
                for delivery in (*held, *polled.got):
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


def test_s10_reads_on_while_it_is_paused(tmp_path: Path) -> None:
    """What is written after the pause comes all the same."""
    with pair("S10", tmp_path) as bus:
        bus.clean.admin.ensure(TOPIC)
        with member(bus.broken) as consumer:
            consumer.wait_assigned(10)
            consumer.pause()
            fill(bus)
            assert len(receive(consumer, 6)) == 6


def test_s13_joins_as_any_member(tmp_path: Path) -> None:
    """The broker does not know its instance, so its place is free as soon as it leaves."""
    with pair("S13", tmp_path) as bus:
        bus.clean.admin.ensure(TOPIC)
        with member(bus.broken, instance_id="one") as consumer:
            consumer.wait_assigned(10)
            (told,) = bus.clean.admin.describe_group("g").members
            assert told.instance_id is None
        assert bus.clean.admin.describe_group("g").members == ()


def test_s14_gives_up_what_could_stay(tmp_path: Path) -> None:
    """When a second member joins, the first one loses the partition that it keeps, too."""
    with pair("S14", tmp_path) as bus:
        fill(bus, WIDE)
        with member(bus.broken, WIDE) as old:
            old.wait_assigned(10)
            revoked: list[Any] = []
            old.on_revoked(revoked.extend)
            with Polled(old), member(bus.another(), WIDE) as new:
                new.wait_assigned(10)
            assert set(revoked) == {("wide", 0), ("wide", 1)}


def test_s15_stays_in_its_group_after_it_was_closed(tmp_path: Path) -> None:
    """The broker counts it as a member until its connection ends."""
    with pair("S15", tmp_path) as bus:
        bus.clean.admin.ensure(TOPIC)
        with member(bus.broken) as consumer:
            consumer.wait_assigned(10)
        assert len(bus.clean.admin.describe_group("g").members) == 1
