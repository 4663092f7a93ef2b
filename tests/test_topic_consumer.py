"""Consuming topics: leases, the settled prefix, redelivery, and what a rebalance does to deliveries that are out."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import AlreadySettled, Closed, ConfigurationError, ConnectionLost, InvalidSpec, LeaseLost
from mqbridge.spi import Assigned, Disconnected, Fatal, Lost, Reconnected, Revoking
from mqbridge.testing import Recorder, VirtualClock, embedded, fail_next, wait_until
from tests.fakes import FakeBlock, FakeConnection, FakeTopicSubscription, fake_bus

ONE = mq.Topic("one", partitions=1)
TWO = mq.Topic("two", partitions=2)
P0 = ("one", 0)


def send(bus: mq.Bus, topic: mq.Topic[Any], count: int, first: int = 0) -> None:
    """In one batch a partition: consumers then get blocks of several records."""
    with bus.producer(partitioner="round_robin", linger_s=30.0) as producer:
        producer.send_many(topic, [b"%d" % number for number in range(first, first + count)])


def join(bus: mq.Bus, topic: mq.Topic[Any] = ONE, **options: Any) -> mq.TopicConsumer[Any]:
    return bus.consumer(topic, **{"group": "g", "start": mq.EARLIEST, **options})


def raws(deliveries: Any) -> list[bytes]:
    return [delivery.raw for delivery in deliveries]


def drain(consumer: mq.TopicConsumer[Any], idle_s: float = 0.1) -> list[bytes]:
    got: list[bytes] = []
    while batch := consumer.poll(timeout=idle_s):
        for delivery in batch:
            delivery.ack()
        got += raws(batch)
    return got


@pytest.fixture
def bus() -> Iterator[mq.Bus]:
    with mq.connect("native:") as bus:
        bus.admin.ensure(ONE, TWO)
        yield bus


@pytest.fixture
def fake() -> Iterator[tuple[mq.TopicConsumer[bytes], FakeTopicSubscription]]:
    yield from faked()


def faked(**options: Any) -> Iterator[tuple[mq.TopicConsumer[bytes], FakeTopicSubscription]]:
    bus, engine = fake_bus()
    with bus:
        options = {"settle_interval_s": 60.0, **options}
        consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST, **options)
        engine.topic_subscriptions[0].say(Assigned({P0: (1, 0)}))
        yield consumer, engine.topic_subscriptions[0]


# --- handing out --------------------------------------------------------------------------------------------------


def test_poll_cuts_blocks_and_loses_nothing(bus: mq.Bus) -> None:
    """Small polls of a large block hand out every record once, in order."""
    send(bus, ONE, 25)
    with join(bus) as consumer:
        got = [raws(consumer.poll(4)) for _ in range(7)]
        assert [len(batch) for batch in got] == [4, 4, 4, 4, 4, 4, 1]
        assert list(itertools.chain(*got)) == [b"%d" % number for number in range(25)]
        assert consumer.poll(timeout=0.01) == []


def test_poll_after_an_abandoned_stream_goes_on_there(bus: mq.Bus) -> None:
    """Leaving a stream early loses nothing: poll, and another stream, go on with the next record."""
    send(bus, ONE, 10)
    with join(bus) as consumer:
        for delivery in consumer.stream(idle_timeout_s=1):
            if delivery.raw == b"2":
                break
        assert raws(consumer.poll(3)) == [b"3", b"4", b"5"]
        assert raws(itertools.islice(consumer, 2)) == [b"6", b"7"]
        assert raws(consumer.poll()) == [b"8", b"9"]


def test_poll_inside_a_stream_and_the_stream_afterwards(bus: mq.Bus) -> None:
    """A poll in the body of a stream takes from it; the stream goes on behind it."""
    send(bus, ONE, 6)
    with join(bus) as consumer:
        stream = consumer.stream(idle_timeout_s=0.05)
        got = raws(itertools.islice(stream, 1)) + raws(consumer.poll(2)) + raws(stream)
        assert got == [b"%d" % number for number in range(6)]


def test_closing_inside_a_stream_ends_it(bus: mq.Bus) -> None:
    """After close() a stream under way shows nothing more of its block."""
    send(bus, ONE, 5)
    consumer = join(bus)
    got = []
    for delivery in consumer.stream(idle_timeout_s=1):
        got.append(delivery.raw)
        consumer.close()
    assert got == [b"0"]
    with pytest.raises(Closed):
        consumer.poll()


def test_a_block_that_comes_before_its_assignment_was_looked_at_is_not_dropped(fake: Any) -> None:
    """An assignment that arrives between events() and take() must not cost the records behind it."""
    consumer, subscription = fake
    assert consumer.poll(timeout=0) == []

    def assigned_meanwhile() -> None:
        subscription.on_take = lambda: None
        subscription.waiting.append(Assigned({P0: (2, 10)}))
        subscription.blocks.append(FakeBlock(ONE, [b"a", b"b"], lease=2, offsets=[10, 11]))

    subscription.on_take = assigned_meanwhile
    assert raws(consumer.poll(timeout=0)) == [b"a", b"b"]


def test_blocks_of_an_ended_lease_are_dropped(fake: Any) -> None:
    """What was fetched under an earlier lease is not shown under a later one."""
    consumer, subscription = fake
    subscription.say(Lost((P0,), "moved"), Assigned({P0: (3, 7)}))
    subscription.give(FakeBlock(ONE, [b"old"], lease=1), FakeBlock(ONE, [b"new"], lease=3, offsets=[7]))
    assert raws(consumer.poll(timeout=0)) == [b"new"]


# --- the settled prefix -------------------------------------------------------------------------------------------


def test_never_past_an_unsettled_one(bus: mq.Bus) -> None:
    """What is committed is the prefix, however much is acked beyond it; gaps close when it is."""
    send(bus, ONE, 5)
    with join(bus) as consumer:
        got = consumer.poll()
        for index in (4, 1, 3):
            got[index].ack()
        consumer.commit()
        assert consumer.committed() == {P0: 0}
        got[0].ack()
        consumer.commit()
        assert consumer.committed() == {P0: 2}
        got[2].ack()
        assert consumer.next_offsets() == {P0: 5}
        consumer.commit()
        assert consumer.committed() == {P0: 5}


def test_gaps_in_the_log_are_included(fake: Any) -> None:
    """Offsets have gaps; the committed one is the next of the block, or the one after the last settled record."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b", b"c"], offsets=[3, 7, 9], next_offset=12))
    first, second, third = consumer.poll()
    first.ack()
    consumer.commit()
    assert subscription.committed == {P0: 4}
    second.ack()
    third.ack()
    consumer.commit()
    assert subscription.committed == {P0: 12}


def test_marks_reach_the_engine_by_themselves(bus: mq.Bus) -> None:
    """Without poll or commit the engine learns of settlements within the interval."""
    send(bus, ONE, 3)
    with join(bus, settle_interval_s=0.01) as consumer:
        for delivery in consumer.poll():
            delivery.ack()
        wait_until(lambda: consumer.committed() == {P0: 3})


def test_a_failed_commit_is_told_once_and_tried_again() -> None:
    """commit() raises what its own attempt failed with; the next one submits the same offsets again."""
    with embedded() as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 2)
        with join(bus, settle_interval_s=60.0) as consumer:
            for delivery in consumer.poll():
                delivery.ack()
            fail_next(bus, 2, ConnectionLost("gone"), "commit")  # it tries twice
            with pytest.raises(ConnectionLost):
                consumer.commit()
            consumer.commit()
            assert consumer.committed() == {P0: 2}


def test_a_background_failure_that_was_made_good_is_no_failure(fake: Any) -> None:
    """An earlier commit failed, this one has everything: nothing is raised."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b"]))
    first, second = consumer.poll()
    first.ack()
    subscription.error = ConnectionLost("gone")
    consumer._settle_now()
    subscription.error = None
    second.ack()
    consumer.commit()
    assert subscription.committed == {P0: 2}


def test_commit_that_came_too_late_is_lease_lost(fake: Any) -> None:
    """A commit that the engine refuses raises LeaseLost naming the partitions."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a"]))
    consumer.poll()[0].ack()
    subscription.refused = (P0,)
    with pytest.raises(LeaseLost, match="one/0") as caught:
        consumer.commit()
    assert caught.value.__dict__["partitions"] == (P0,)
    subscription.refused = ()
    consumer.commit()


def test_acks_that_were_never_sent_before_the_loss_are_told(fake: Any) -> None:
    """Acked, not yet committed, then the partition was lost: commit() must not pretend."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b"]))
    first, second = consumer.poll()
    first.ack()
    subscription.say(Lost((P0,), "the session timed out"))
    assert consumer.poll(timeout=0) == []
    with pytest.raises(LeaseLost, match="the session timed out"):
        second.ack()
    with pytest.raises(LeaseLost, match="the session timed out"):
        consumer.commit()
    consumer.commit()


def test_hooks_are_told_how_many_were_settled() -> None:
    """The counts of `settled` add up to the deliveries settled, in whatever portions they are committed."""
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 7)
        with join(bus, settle_interval_s=60.0) as consumer:
            got = consumer.poll()
            for portion in (got[:3], got[3:4], got[4:]):
                for delivery in portion:
                    delivery.ack()
                consumer.next_offsets()
                consumer.commit()

    # Hooks run on the callback thread, which has ended with the bus.
    counts = [event["count"] for event in recorder.of("settled", ONE)]
    assert sum(counts) == 7
    assert len(counts) == 3


def test_unsettled_at_close_is_delivered_again(bus: mq.Bus) -> None:
    """close() commits the prefix; what is not settled, and what is beyond it, comes again to the next member."""
    send(bus, ONE, 5)
    with join(bus) as consumer:
        got = consumer.poll()
        for index in (0, 1, 3):
            got[index].ack()
    with pytest.raises(LeaseLost, match="closed"):
        got[2].ack()
    with join(bus) as consumer:
        assert drain(consumer) == [b"2", b"3", b"4"]


def test_memory_is_bounded_by_what_is_unsettled(monkeypatch: pytest.MonkeyPatch, bus: mq.Bus) -> None:
    """Above the bound nothing more is fetched, redeliveries still are; settling opens it again."""
    from mqbridge import topic_consumer

    monkeypatch.setattr(topic_consumer, "MAX_UNSETTLED", 5)
    for first in (0, 5, 10):
        send(bus, ONE, 5, first)
    with join(bus) as consumer:
        got = consumer.poll()
        assert len(got) == 5
        assert consumer.poll(timeout=0.05) == []
        got[0].release()
        again = consumer.poll(timeout=1)
        assert raws(again) == [b"0"]
        for delivery in [*again, *got[1:]]:
            delivery.ack()
        consumer.commit()
        assert len(drain(consumer)) == 10


# --- verbs --------------------------------------------------------------------------------------------------------


def test_release_and_retry_hold_the_prefix(bus: mq.Bus) -> None:
    """A record given back is delivered again from here; attempts count failures only; the prefix waits below it."""
    send(bus, ONE, 3)
    with join(bus, retry=mq.RetryPolicy(max_attempts=None, first_delay_s=0.0)) as consumer:
        first, second, third = consumer.poll()
        third.ack()
        first.release()
        second.retry(error="not now")
        consumer.commit()
        assert consumer.committed() == {P0: 0}
        again = {delivery.raw: delivery for delivery in consumer.poll(timeout=1)}
        assert {raw: (d.attempt, d.redelivered, d.offset) for raw, d in again.items()} == {
            b"0": (1, True, 0),
            b"1": (2, True, 1),
        }
        again[b"0"].ack()
        again[b"1"].release()
        consumer.commit()
        assert consumer.committed() == {P0: 1}
        (last,) = consumer.poll(timeout=1)
        assert (last.raw, last.attempt) == (b"1", 2)
        for stale in (first, second, again[b"1"]):
            with pytest.raises(AlreadySettled):
                stale.ack()
        last.ack()
        consumer.commit()
        assert consumer.committed() == {P0: 3}


def test_delayed_redelivery_waits(bus: mq.Bus) -> None:
    """A delay is kept, and poll wakes up for what is due."""
    send(bus, ONE, 1)
    with join(bus) as consumer:
        consumer.poll()[0].release(delay_s=0.2)
        assert consumer.poll(timeout=0.05) == []
        assert raws(consumer.poll(timeout=5)) == [b"0"]


@pytest.mark.parametrize("delay_s", [-1, float("nan"), float("inf"), "soon", True])
def test_a_delay_that_is_none_is_refused_and_settles_nothing(bus: mq.Bus, delay_s: Any) -> None:
    """The delivery can still be settled afterwards."""
    send(bus, ONE, 1)
    with join(bus) as consumer:
        (delivery,) = consumer.poll()
        for verb in (delivery.release, delivery.retry):
            with pytest.raises(InvalidSpec, match="delay_s"):
                verb(delay_s)
        delivery.ack()


def test_two_threads_settle_one_delivery_once(fake: Any) -> None:
    """An ack that slips in while release() is under way wins or loses; never do both succeed."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a"]))
    (delivery,) = consumer.poll()
    look = consumer._ledger_of

    def acked_meanwhile(asked: Any) -> Any:
        delivery.ack()
        return look(asked)

    consumer._ledger_of = acked_meanwhile
    with pytest.raises(AlreadySettled):
        delivery.release()
    consumer._ledger_of = look
    assert consumer.poll(timeout=0.02) == []
    consumer.commit()
    assert subscription.committed == {P0: 1}


# --- dead letters -------------------------------------------------------------------------------------------------


def test_reject_and_exhausted_retries_are_buried(bus: mq.Bus) -> None:
    """Copies go to TOPIC.GROUP.dlq with why, where from and how often; the originals count as settled."""
    send(bus, ONE, 3)
    policy = mq.RetryPolicy(max_attempts=2, first_delay_s=0.0)
    with join(bus, dead_letter=True, retry=policy) as consumer:
        first, second, third = consumer.poll()
        first.reject("unreadable")
        second.retry(error=ValueError("bad"))
        third.ack()
        consumer.poll(timeout=1)[0].retry(error=ValueError("bad again"))
        consumer.commit()
        assert consumer.committed() == {P0: 3}
    one, two = bus.replay(mq.Topic("one.g.dlq"), mq.EARLIEST)
    assert one.death is not None
    assert two.death is not None
    assert (one.raw, one.death.reason, one.death.origin, one.death.attempts, one.death.error) == (
        b"0",
        "rejected",
        "topic:one/0/0",
        1,
        "unreadable",
    )
    assert (two.raw, two.death.reason, two.death.attempts) == (b"1", "max-attempts", 2)
    assert two.death.error == "ValueError: bad again"


def test_commit_and_close_wait_for_burials(bus: mq.Bus) -> None:
    """reject() then close(): the confirmed copy is not made a second time by the next member."""
    send(bus, ONE, 20)
    with join(bus, dead_letter=True, settle_interval_s=60.0) as consumer:
        for delivery in consumer.poll():
            delivery.reject()
    with join(bus) as consumer:
        assert drain(consumer) == []
    assert sum(1 for _ in bus.replay(mq.Topic("one.g.dlq"), mq.EARLIEST)) == 20


def test_commit_on_the_callback_thread_does_not_wait_for_itself(bus: mq.Bus) -> None:
    """A callback may commit although a burial is under way."""
    send(bus, ONE, 2)
    with join(bus, dead_letter=True) as consumer:
        first, second = consumer.poll()
        committed: list[Any] = []
        consumer.on_lost(lambda partitions: None)

        def commit() -> None:
            first.reject()
            second.ack()
            consumer.commit(5)
            committed.append(consumer.committed())

        bus._callbacks.submit(commit)
        wait_until(lambda: committed == [{P0: 2}])


def test_a_dead_letter_that_is_not_taken_is_delivered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the copy fails the record is not settled: it comes again, and the failure is told to the hooks."""
    from mqbridge import topic_consumer

    monkeypatch.setattr(topic_consumer, "BURY_AGAIN_S", 0.01)
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 1)
        with join(bus, dead_letter=True) as consumer:
            (delivery,) = consumer.poll()
            fail_next(bus, 1, mq.Rejected("no room"))
            delivery.reject("poison")
            (again,) = consumer.poll(timeout=5)
            assert again.raw == b"0"
            assert consumer.committed() == {P0: 0}
            assert isinstance(recorder.wait_for("error")["error"], mq.Rejected)
            again.reject("poison")
            consumer.commit()
            assert consumer.committed() == {P0: 1}


def test_reject_without_a_place_settles_nothing(bus: mq.Bus) -> None:
    """No dead-letter topic: refused, and the delivery is still ours to settle."""
    send(bus, ONE, 1)
    with join(bus) as consumer:
        (delivery,) = consumer.poll()
        with pytest.raises(ConfigurationError, match="dead_letter"):
            delivery.reject()
        delivery.ack()


# --- rebalancing --------------------------------------------------------------------------------------------------


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


# --- seek, pause, resume ------------------------------------------------------------------------------------------


def test_seek_backwards_with_deliveries_out(bus: mq.Bus) -> None:
    """What is out can no longer be settled, the record sought comes next, and the group's offset goes back with it."""
    send(bus, ONE, 6)
    with join(bus) as consumer:
        got = consumer.poll(4)
        for delivery in got[:3]:
            delivery.ack()
        consumer.commit()
        consumer.seek(ONE, 0, 1)
        with pytest.raises(LeaseLost, match="seek"):
            got[3].ack()
        assert raws(consumer.poll(2)) == [b"1", b"2"]
        consumer.commit()
        assert consumer.committed() == {P0: 1}


def test_seek_forward_skips_what_is_out(bus: mq.Bus) -> None:
    """Forward: nothing between is shown, not even what was fetched or given back already."""
    send(bus, ONE, 10)
    with join(bus) as consumer:
        got = consumer.poll(3)
        got[0].release(delay_s=0.01)
        consumer.seek(ONE, 0, 8)
        assert drain(consumer, 0.1) == [b"8", b"9"]
        consumer.commit()
        assert consumer.committed() == {P0: 10}


def test_seek_inside_a_stream(bus: mq.Bus) -> None:
    """The next record of a stream is the one sought, though the rest of the block was at hand."""
    send(bus, ONE, 8)
    with join(bus) as consumer:
        got: list[bytes | None] = []
        sought = False
        for delivery in consumer.stream(idle_timeout_s=0.1):
            got.append(delivery.raw)
            delivery.ack()
            if delivery.raw == b"2" and not sought:
                sought = True
                consumer.seek(ONE, 0, 1)
            elif delivery.raw == b"4":
                consumer.seek(ONE, 0, 7)
        assert got == [b"0", b"1", b"2", b"1", b"2", b"3", b"4", b"7"]


def test_a_burial_that_fails_after_a_seek_brings_nothing_back() -> None:
    """The lease in which it was rejected has ended: its record is not shown out of place."""
    for consumer, subscription in faked(dead_letter=mq.Topic("dead")):
        subscription.give(FakeBlock(ONE, [b"a"]))
        consumer.poll()[0].reject()
        consumer.seek(ONE, 0, 5)
        channel = consumer._bus.unwrap(FakeConnection).channels["dead"]
        channel.reports.failed((0,), mq.Rejected("no"))
        consumer._settle_now()
        assert consumer._heap == []
        consumer._dead_letters._producer._route(mq.Topic("dead")).log.failures.clear()  # type: ignore[union-attr]


def test_seek_where_there_is_nothing(bus: mq.Bus) -> None:
    """A partition that is not ours is LeaseLost, a negative offset InvalidSpec; beyond the end the consumer says so."""
    send(bus, ONE, 1)
    with join(bus) as consumer:
        consumer.wait_assigned(5)
        with pytest.raises(LeaseLost, match="one/7"):
            consumer.seek(ONE, 7, 0)
        with pytest.raises(InvalidSpec):
            consumer.seek(ONE, 0, -1)
        assert raws(consumer.poll()) == [b"0"]


def test_pause_holds_back_leftovers_too(bus: mq.Bus) -> None:
    """After pause() nothing of the partition is shown, though a block of it was at hand; resume() goes on in order."""
    send(bus, TWO, 20)
    with join(bus, TWO) as consumer:
        (first,) = consumer.poll(1)
        shut = ("two", first.partition or 0)
        consumer.pause([shut])
        got = drain(consumer, 0.05)
        assert len(got) == 10
        consumer.resume([shut])
        rest = []
        while batch := consumer.poll(3, timeout=0.05):
            assert {delivery.partition for delivery in batch} == {first.partition}
            rest += [delivery.offset for delivery in batch]
        assert rest == list(range(1, 10))


def test_pause_inside_a_stream(bus: mq.Bus) -> None:
    """A stream shows nothing of a paused partition from the next step on, and all of it once it is resumed."""
    send(bus, ONE, 5)
    with join(bus) as consumer:
        stream = consumer.stream(idle_timeout_s=0.05)
        assert next(stream).raw == b"0"
        consumer.pause()
        assert list(stream) == []
        consumer.resume()
        assert raws(consumer.stream(idle_timeout_s=0.05)) == [b"1", b"2", b"3", b"4"]


def test_a_redelivery_of_a_paused_partition_waits(bus: mq.Bus) -> None:
    """Given back, then paused: it comes after resume()."""
    send(bus, ONE, 1)
    with join(bus) as consumer:
        consumer.poll()[0].release()
        consumer.pause()
        assert consumer.poll(timeout=0.05) == []
        consumer.resume()
        assert raws(consumer.poll(timeout=1)) == [b"0"]


def test_kept_back_records_are_given_up_with_their_partition(fake: Any) -> None:
    """Paused and lost: after resume() nothing of the old lease is shown."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b"]))
    assert raws(consumer.poll(1)) == [b"a"]
    consumer.pause()
    subscription.say(Lost((P0,), "moved"))
    assert consumer.poll(timeout=0) == []
    consumer.resume()
    assert consumer.poll(timeout=0) == []


# --- ack modes ----------------------------------------------------------------------------------------------------


def test_before_is_committed_before_it_is_seen(bus: mq.Bus) -> None:
    """ack="before": what poll returned is committed already, so a crash loses it and never repeats it."""
    send(bus, ONE, 3)
    with join(bus, ack="before") as consumer:
        got = consumer.poll()
        assert consumer.committed() == {P0: 3}
        with pytest.raises(AlreadySettled):
            got[0].ack()


def test_before_shows_what_it_has_settled_even_when_the_partition_goes() -> None:
    """Settled in our name, nobody else will show it: a rebalance must not swallow the leftovers."""
    for consumer, subscription in faked(ack="before"):
        subscription.give(FakeBlock(ONE, [b"a", b"b", b"c"]))
        assert raws(consumer.poll(1)) == [b"a"]
        subscription.say(Revoking((P0,), 60.0, lambda: None))
        assert raws(consumer.poll(1)) == [b"b"]
        subscription.say(Lost((P0,), "gone"))
        assert raws(consumer.poll(1)) == [b"c"]


def test_before_hands_out_nothing_that_was_not_committed(fake: Any) -> None:
    """If the commit is refused, the records are another's: nothing is shown."""
    for consumer, subscription in faked(ack="before"):
        subscription.give(FakeBlock(ONE, [b"a"]))
        subscription.refused = (P0,)
        with pytest.raises(LeaseLost):
            consumer.poll()
        subscription.refused = ()


def test_auto_commits_what_was_returned_and_not_what_was_fetched(bus: mq.Bus) -> None:
    """ack="auto" commits after the records that poll or a stream has shown, never further."""
    send(bus, ONE, 10)
    with join(bus, ack="auto") as consumer:
        consumer.poll(3)
        consumer.commit()
        assert consumer.committed() == {P0: 3}
        list(itertools.islice(consumer.stream(), 2))
        consumer.commit()
        assert consumer.committed() == {P0: 5}
    with join(bus) as consumer:
        assert len(drain(consumer)) == 5


def test_auto_commits_by_itself(bus: mq.Bus) -> None:
    """At the interval, without any call of commit()."""
    send(bus, ONE, 4)
    with join(bus, ack="auto", settle_interval_s=0.02) as consumer:
        consumer.poll()
        wait_until(lambda: consumer.committed() == {P0: 4})


# --- signs of life ------------------------------------------------------------------------------------------------


def test_who_does_not_poll_loses_its_partitions_and_comes_back() -> None:
    """Past max_poll_interval_s without a poll: verbs are LeaseLost, nothing is lost, and the next poll joins again."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 3)
        with join(bus, max_poll_interval_s=60.0, settle_interval_s=1000.0) as consumer:
            first, second, third = consumer.poll()
            first.ack()
            consumer.commit()
            second.ack()
            clock.advance(61, step_s=1)
            again = consumer.poll(timeout=5)
            with pytest.raises(LeaseLost, match="max_poll_interval_s"):
                third.ack()
            with pytest.raises(LeaseLost, match="max_poll_interval_s"):
                consumer.commit()
            assert raws(again) == [b"1", b"2"]
            for delivery in again:
                delivery.ack()
            consumer.commit()
            assert consumer.committed() == {P0: 3}


def test_small_polls_of_a_large_block_are_signs_of_life() -> None:
    """Polling one record a minute out of one block keeps the membership, for that is what polling is for."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 20)
        with join(bus, max_poll_interval_s=60.0) as consumer:
            for number in range(20):
                (delivery,) = consumer.poll(1)
                assert delivery.raw == b"%d" % number
                delivery.ack()
                clock.advance(40, step_s=1)
            consumer.commit()
            assert consumer.committed() == {P0: 20}


def test_a_slow_stream_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a stream whose body takes long over each record of one block."""
    from mqbridge import consumer as module

    clock = VirtualClock()
    monkeypatch.setattr(module, "now_s", clock.mono_s)
    with embedded(clock) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 20)
        with join(bus, max_poll_interval_s=60.0) as consumer:
            for delivery in consumer.stream(idle_timeout_s=0.05):
                delivery.ack()
                clock.advance(40, step_s=1)
            consumer.commit()
            assert consumer.committed() == {P0: 20}


MEMBER = """
import sys, mqbridge as mq
topic = mq.Topic("one", partitions=1)
with mq.connect(sys.argv[1]) as bus:
    consumer = bus.consumer(topic, group="g", start=mq.EARLIEST, session_timeout_s=1.5)
    first, second, third = consumer.poll(3, timeout=10)
    first.ack()
    consumer.commit()
    second.ack()  # marked, and perhaps not committed when the signal comes
    print("out", flush=True)
    sys.stdin.readline()
    lost = 0
    while not lost:
        consumer.poll(timeout=0.05)
        try:
            third.ack()
        except mq.LeaseLost:
            lost = 1
        except mq.AlreadySettled:
            break
    print("lost" if lost else "settled", flush=True)
    try:
        consumer.close()
    except mq.LeaseLost:
        pass
"""


def test_a_stopped_member_loses_its_lease_and_knows_it(tmp_path: Path) -> None:
    """A process that is stopped past its session timeout has lost its partition: another one gets what it had not
    committed, and when it goes on its verbs are LeaseLost."""
    url = f"native:{tmp_path / 'db'}"
    with mq.connect(url) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 3)
        here = Path(mq.__file__).parent.parent
        member = subprocess.Popen(
            [sys.executable, "-c", MEMBER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(here)},
        )
        assert member.stdin is not None
        assert member.stdout is not None
        with member:
            try:
                assert member.stdout.readline() == "out\n"
                member.send_signal(signal.SIGSTOP)
                with join(bus) as consumer:
                    got: list[bytes] = []
                    while b"2" not in got:
                        got += drain(consumer, 0.2)
                    assert got in ([b"1", b"2"], [b"2"])
                    consumer.commit()
                    member.send_signal(signal.SIGCONT)
                    print("go", file=member.stdin, flush=True)
                    assert member.stdout.readline() == "lost\n"
                    assert consumer.committed() == {P0: 3}
                    assert member.wait(20) == 0
            finally:
                member.kill()


# --- the engine goes and comes ------------------------------------------------------------------------------------


def test_fatal_ends_it_for_good(fake: Any) -> None:
    """What the engine calls fatal is raised by this poll and every later one, leftovers or not."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b"]))
    consumer.poll(1)
    subscription.say(Fatal(mq.Fenced("another took over")))
    for _ in range(2):
        with pytest.raises(mq.Fenced):
            consumer.poll(1)


def test_disconnected_and_back(fake: Any) -> None:
    """Leases end with the connection; after the reconnection records come under the new one."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a"]))
    (old,) = consumer.poll()
    subscription.say(Disconnected("host gone"), Lost((P0,), "host gone"), Reconnected(), Assigned({P0: (9, 0)}))
    subscription.give(FakeBlock(ONE, [b"a"], lease=9))
    (new,) = consumer.poll()
    with pytest.raises(LeaseLost):
        old.ack()
    new.ack()
    consumer.commit()
    assert subscription.commits[-1] == {P0: (9, 1)}


def test_callbacks_of_a_rebalance_come_on_the_callback_thread(bus: mq.Bus) -> None:
    """on_assigned, on_revoked: with the partitions, in order, on the one callback thread; they may use the consumer."""
    heard: list[tuple[str, Any, str]] = []
    consumer = join(bus, drain_timeout_s=0.1, instance_id="a", rebalance="eager")

    def hear(what: str, partitions: Any) -> None:
        consumer.commit()
        heard.append((what, partitions, threading.current_thread().name))

    consumer.on_assigned(lambda partitions: hear("assigned", partitions))
    consumer.on_revoked(lambda partitions: hear("revoked", partitions))
    consumer.wait_assigned(5)
    with join(bus, instance_id="0", rebalance="eager"):
        wait_until(lambda: (consumer.poll(timeout=0.01), len(heard) == 2)[1])
    assert [(what, partitions) for what, partitions, _ in heard] == [("assigned", (P0,)), ("revoked", (P0,))]
    assert {name for _, _, name in heard} == {"mqbridge-callbacks"}
    consumer.close()


def test_in_a_forked_child_deliveries_are_not_ours(fake: Any) -> None:
    """In the child every verb says so at once, whatever locks other threads held at the moment of the fork."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b", b"c"]))
    acked, released, rejected = consumer.poll()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with consumer._settling:
            held.set()
            go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        for call in (acked.ack, released.release, rejected.retry, consumer.next_offsets, consumer.commit):
            try:
                call()
            except (LeaseLost, mq.ForkedProcess):
                continue
            os._exit(1)
        consumer.close()
        os._exit(0)
    go.set()
    holder.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    acked.ack()
