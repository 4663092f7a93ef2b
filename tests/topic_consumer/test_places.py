"""Seek, pause, resume, and the modes of ack."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import AlreadySettled, InvalidSpec, LeaseLost
from mqbridge.spi import Lost, Revoking
from mqbridge.testing import wait_until
from tests.fakes import FakeBlock, FakeConnection
from tests.topic_consumer.shared import ONE, P0, TWO, drain, faked, join, raws, send

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
