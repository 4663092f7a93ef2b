"""What a rebalance does to deliveries that are out."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import ConnectionLost, LeaseLost
from mqbridge.spi import Assigned, Revoking
from mqbridge.testing import wait_until
from tests.fakes import FakeBlock, FakeConnection
from tests.topic_consumer.shared import ONE, P0, TWO, drain, faked, join, raws, send


def test_a_second_member_drains_the_first(bus: mq.Bus) -> None:
    """While deliveries are out a second member joins: what is settled in time is committed, nothing is lost, and at
    most the unsettled come again."""
    send(bus, TWO, 40)
    with join(bus, TWO, drain_timeout_s=0.3) as first:
        got: list[mq.Delivery[Any]] = []
        while len(got) < 40:
            got += first.poll()
        seen = raws(got)
        for delivery in got[::2]:
            delivery.ack()
        with join(bus, TWO) as second:
            wait_until(lambda: (first.poll(timeout=0.01), len(first.assignment()) == 1)[1])
            (kept,) = first.assignment()
            moved = ({("two", 0), ("two", 1)} - {kept}).pop()
            refused, taken = [], []
            for delivery in got[1::2]:
                try:
                    delivery.ack()
                    taken.append(delivery)
                except LeaseLost:
                    refused.append(delivery)
            assert {("two", d.partition) for d in refused} == {moved}
            assert {("two", d.partition) for d in taken} == {kept}
            second.wait_assigned(5)
            again = drain(second, 0.3)
            second.commit()
            first.commit()
            behind = [d for d in got if ("two", d.partition) == moved and (d.offset or 0) >= _first(refused)]
            assert set(again) == {delivery.raw for delivery in behind}
            assert set(seen) == {b"%d" % number for number in range(40)}
            assert first.lag() == {kept: 0}
            assert second.lag() == {moved: 0}


def _first(deliveries: list[mq.Delivery[Any]]) -> int:
    return min(delivery.offset or 0 for delivery in deliveries)


def test_settled_while_draining_is_committed_before_the_partition_moves(bus: mq.Bus) -> None:
    """Deliveries settled during the drain are committed, the partition moves at once, and the new member begins
    behind them."""
    send(bus, ONE, 6)
    with join(bus, drain_timeout_s=30.0, instance_id="a", rebalance="eager", settle_interval_s=0.01) as first:
        got = first.poll(4)
        with join(bus, instance_id="0", rebalance="eager") as second:
            assert first.poll(timeout=0.02) == []  # the leftovers are not shown any more
            for delivery in got:
                delivery.ack()
            wait_until(lambda: (first.poll(timeout=0.01), not first.assignment())[1])
            assert drain(second, 0.3) == [b"4", b"5"]


def test_drain_waits_for_what_is_out_until_its_deadline(fake: Any) -> None:
    """A revoke waits for deliveries that are out; each settled one is in the commit that precedes the release."""
    consumer, subscription = fake
    released: list[dict[Any, int]] = []
    subscription.give(FakeBlock(ONE, [b"a", b"b", b"c"]))
    first, second, third = consumer.poll()
    first.ack()
    subscription.say(Revoking((P0,), 60.0, lambda: released.append(dict(subscription.committed))))
    consumer.poll(timeout=0)
    assert not released
    second.release()  # given back is not held: it goes to the next owner
    assert consumer.poll(timeout=0) == []
    assert not released
    third.ack()
    consumer.poll(timeout=0)
    assert released == [{P0: 1}]
    assert consumer.assignment() == ()
    with pytest.raises(LeaseLost):
        second.ack()


def test_drain_ends_at_its_deadline() -> None:
    """Deliveries that are not settled by then are lost, and say so; the partition is released."""
    for consumer, subscription in faked(drain_timeout_s=0.05):
        released: list[bool] = []
        subscription.give(FakeBlock(ONE, [b"a", b"b"]))
        first, second = consumer.poll()
        first.ack()
        subscription.say(Revoking((P0,), 60.0, lambda released=released: released.append(True)))  # type: ignore[misc]
        wait_until(lambda consumer=consumer, released=released: (consumer.poll(timeout=0.01), released)[1])  # type: ignore[misc]
        assert subscription.committed == {P0: 1}
        with pytest.raises(LeaseLost, match="revoked"):
            second.ack()


def test_drain_waits_for_a_dead_letter_on_its_way() -> None:
    """A partition is not released between the copy of a record and its commit."""
    for consumer, subscription in faked(dead_letter=mq.Topic("dead")):
        released: list[bool] = []
        subscription.give(FakeBlock(ONE, [b"a"]))
        (delivery,) = consumer.poll()
        delivery.reject()
        subscription.say(Revoking((P0,), 60.0, lambda released=released: released.append(True)))  # type: ignore[misc]
        consumer.poll(timeout=0)
        assert not released
        channel = consumer._bus.unwrap(FakeConnection).channels["dead"]
        channel.reports.confirmed(0, 1, 0, 0)
        consumer._settle_now()
        consumer.poll(timeout=0)
        assert released == [True]
        assert subscription.committed == {P0: 1}


def test_a_stream_hears_of_a_revoke_in_the_middle_of_a_block(bus: mq.Bus) -> None:
    """A slow handler in a stream over one large block gives a partition up long before the block ends."""
    send(bus, ONE, 2000)
    with join(bus, drain_timeout_s=0.1, instance_id="a", rebalance="eager") as first:
        pause = threading.Event()
        shown = 0
        second: Any = None
        for delivery in first.stream(idle_timeout_s=0.2):
            shown += 1
            delivery.ack()
            if shown == 10:
                second = join(bus, instance_id="0", rebalance="eager")
            pause.wait(0.01)
        assert shown < 200
        got = drain(second, 0.3)
        assert got == [b"%d" % number for number in range(shown, 2000)]
        second.close()


def test_leftovers_do_not_make_a_member_deaf(bus: mq.Bus) -> None:
    """Polling one by one through a large block hears of a rebalance as well."""
    send(bus, ONE, 500)
    with join(bus, drain_timeout_s=0.1, instance_id="a", rebalance="eager") as first:
        first.poll(1)[0].ack()
        with join(bus, instance_id="0", rebalance="eager") as second:
            while first.assignment():
                for delivery in first.poll(1, timeout=0.01):
                    delivery.ack()
            assert len(drain(second, 0.3)) > 300


def test_nobody_owns_twice_and_nothing_is_lost_while_members_come_and_go(bus: mq.Bus) -> None:
    """Members join and leave under load; every record is seen, and each is acked by one owner at a time."""
    topic = mq.Topic("six", partitions=6)
    bus.admin.ensure(topic)
    total, seen, lock = 1200, [], threading.Lock()
    stop = threading.Event()

    def member(number: int) -> None:
        while not stop.is_set():
            with join(bus, topic, drain_timeout_s=0.2, settle_interval_s=0.01) as consumer:
                for _ in range(6 + number):
                    for delivery in consumer.poll(20, timeout=0.02):
                        try:
                            delivery.ack()
                        except LeaseLost:
                            continue
                        with lock:
                            seen.append(delivery.raw)
                try:
                    consumer.commit()
                except LeaseLost:
                    continue

    threads = [threading.Thread(target=member, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for first in range(0, total, 100):
        send(bus, topic, 100, first)
    wait_until(lambda: len(set(seen)) == total, 30)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert set(seen) == {b"%d" % number for number in range(total)}
    assert sum(bus.admin.describe_group("g").committed.values()) == total


def test_a_partition_that_comes_back_while_it_drains_is_handed_out_again(fake: Any) -> None:
    """A revoke that nobody saw in time and the assignment behind it, in one look: the new lease is whole."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a"]))
    (out,) = consumer.poll()
    subscription.say(Revoking((P0,), 60.0, lambda: None), Assigned({P0: (2, 0)}))
    subscription.give(FakeBlock(ONE, [b"a"], lease=2))
    (again,) = consumer.poll()
    assert consumer.assignment() == (P0,)
    again.ack()
    consumer.commit()
    assert subscription.committed == {P0: 1}
    with pytest.raises(LeaseLost):
        out.ack()


def test_a_commit_that_fails_after_its_lease_has_ended_is_told(fake: Any) -> None:
    """The settled prefix was sent, the partition went, and only then came the error: commit() must not call that
    applied."""
    consumer, subscription = fake
    subscription.answering = False
    subscription.give(FakeBlock(ONE, [b"a"]))
    consumer.poll()[0].ack()
    subscription.say(Revoking((P0,), 60.0, lambda: None))
    consumer.poll(timeout=0)
    assert consumer.assignment() == ()
    (answer,) = subscription.unanswered
    answer(None, ConnectionLost("the coordinator moved", outcome="unknown"))
    with pytest.raises(LeaseLost, match="coordinator moved"):
        consumer.commit(1)
