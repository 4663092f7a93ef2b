"""Handing out, and the settled prefix."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import Closed, ConnectionLost, LeaseLost
from mqbridge.spi import Assigned, Lost
from mqbridge.testing import Recorder, embedded, fail_next, wait_until
from tests.fakes import FakeBlock
from tests.topic_consumer.shared import ONE, P0, drain, join, raws, send

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
