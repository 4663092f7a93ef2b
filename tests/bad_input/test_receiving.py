"""Errors of receiving and settling."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import embedded, fail_next, wait_until
from tests.bad_input.shared import LOG, ONE, WORK, consume, send


def test_a_topic_needs_group_and_start(bus: mq.Bus) -> None:
    """There is no silent default for where a group begins."""
    with pytest.raises(mq.ConfigurationError, match="start= is mandatory"):
        bus.consumer(LOG, group="g")  # type: ignore[call-overload]
    with pytest.raises(mq.ConfigurationError, match="group"):
        bus.consumer(LOG, start=mq.EARLIEST)  # type: ignore[call-overload]
    with pytest.raises(mq.InvalidSpec):
        bus.consumer("orders", group="g", start=mq.EARLIEST)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", [mq.Topic("none"), mq.Queue("none")])
def test_consuming_what_is_missing_is_not_found(bus: mq.Bus, missing: Any) -> None:
    """Consuming never creates a destination either."""
    with pytest.raises(mq.NotFound):
        consume(bus, missing)


@pytest.mark.parametrize("source", [ONE, WORK])
def test_settling_twice(bus: mq.Bus, source: Any) -> None:
    """A second verb raises AlreadySettled, and the first one stands."""
    send(bus, source, b"a")
    with consume(bus, source) as consumer:
        (delivery,) = consumer.poll(timeout=5)
        delivery.ack()
        for verb in (delivery.ack, delivery.release, delivery.retry):
            with pytest.raises(mq.AlreadySettled, match="the first verb stands"):
                verb()
        consumer.commit()


@pytest.mark.parametrize("source", [ONE, WORK])
def test_settling_after_close_is_lease_lost(bus: mq.Bus, source: Any) -> None:
    """After the consumer is closed its deliveries are not ours, and are delivered again."""
    send(bus, source, b"a")
    consumer = consume(bus, source)
    (delivery,) = consumer.poll(timeout=5)
    consumer.close()
    with pytest.raises(mq.LeaseLost):
        delivery.ack()
    with pytest.raises(mq.Closed):
        consumer.poll()
    with consume(bus, source) as again:
        assert [d.raw for d in again.poll(timeout=5)] == [b"a"]


def test_a_revoked_partition_is_lease_lost(bus: mq.Bus) -> None:
    """A verb on a delivery of a partition that moved raises LeaseLost; the new owner gets the message."""
    send(bus, ONE, b"a")
    first = bus.consumer(ONE, group="g", start=mq.EARLIEST, drain_timeout_s=0.05, rebalance="eager")
    (delivery,) = first.poll(timeout=5)
    second = bus.consumer(ONE, group="g", start=mq.EARLIEST, rebalance="eager")

    def moved() -> bool:
        first.poll(timeout=0.01)
        second.poll(timeout=0.01)
        return delivery.settled

    wait_until(moved, timeout_s=10)
    with pytest.raises(mq.LeaseLost, match="another consumer"):
        delivery.ack()


def test_a_poison_record_does_not_break_poll(bus: mq.Bus) -> None:
    """A value that cannot be decoded raises CodecError at .value, with .raw at hand; poll goes on, reject works."""
    json_work = mq.Queue("work", codec=mq.codecs.json)
    send(bus, WORK, b"{", b"1")
    with bus.consumer(json_work) as consumer:
        poison, good = consumer.poll(timeout=5)
        with pytest.raises(mq.CodecError) as caught:
            poison.value  # noqa: B018 - the read is what raises
        assert caught.value.__cause__ is not None
        assert poison.raw == b"{"
        assert good.value == 1
        poison.reject("not JSON")
        good.ack()
        consumer.commit()
    (dead,) = bus.admin.dead_letters(WORK)
    assert dead.death is not None
    assert dead.death.error == "not JSON"


def test_reject_without_a_dead_letter_destination_settles_nothing(bus: mq.Bus) -> None:
    """reject() that would drop is refused, and the delivery can still be acked."""
    plain = mq.Queue("plain", dead_letter=None)
    bus.admin.ensure(plain)
    send(bus, plain, b"a")
    send(bus, ONE, b"a")
    for consumer in (consume(bus, plain), consume(bus, ONE)):
        (delivery,) = consumer.poll(timeout=5)
        with pytest.raises(mq.ConfigurationError, match="Nothing was settled"):
            delivery.reject("x")
        delivery.ack()
        consumer.commit()


def test_two_threads_in_one_consumer(bus: mq.Bus) -> None:
    """The second thread that polls gets ConcurrentUse; the first one is not disturbed."""
    consumer = bus.consumer(ONE, group="g", start=mq.EARLIEST)
    consumer.wait_assigned()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.extend(consumer.poll(timeout=20)))
    thread.start()
    wait_until(lambda: consumer._polling.locked(), timeout_s=5)
    with pytest.raises(mq.ConcurrentUse):
        consumer.poll(timeout=0)
    send(bus, ONE, b"a")
    thread.join(20)
    assert [d.raw for d in got] == [b"a"]


def test_offset_lost_is_raised_until_decided(bus: mq.Bus) -> None:
    """A committed offset that is gone raises OffsetLost with both numbers, until a seek; on_gap decides beforehand."""
    send(bus, ONE, *[b"%d" % n for n in range(10)])
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
        for delivery in consumer.poll(2, timeout=5):
            delivery.ack()
    bus.admin.delete_records(ONE, {0: 6})
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
        for _ in range(2):
            with pytest.raises(mq.OffsetLost) as caught:
                consumer.poll(timeout=5)
        assert (caught.value.__dict__["committed"], caught.value.__dict__["start"]) == (2, 6)
        consumer.seek(ONE, 0, 8)
        assert [d.raw for d in consumer.poll(timeout=5)] == [b"8", b"9"]
    bus.admin.reset_offsets("other", ONE, mq.At({0: 6}), dry_run=False)
    bus.admin.delete_records(ONE, {0: 8})
    with bus.consumer(ONE, group="other", start=mq.LATEST, on_gap="earliest") as consumer:
        assert consumer.poll(timeout=5)[0].offset == 8


def test_a_deleted_queue_ends_its_consumers(bus: mq.Bus) -> None:
    """A consumer of a queue that is deleted is told so, instead of waiting for messages that cannot come."""
    with bus.consumer(WORK) as consumer:
        assert consumer.poll(timeout=0) == []
        bus.admin.delete(WORK)
        with pytest.raises(mq.NotFound, match="work"):
            consumer.poll(timeout=10)


def test_the_same_instance_twice_fences_the_first(bus: mq.Bus) -> None:
    """A second consumer with the same instance id takes the place; the first one is Fenced."""
    first = bus.consumer(ONE, group="g", start=mq.EARLIEST, instance_id="a")
    first.wait_assigned()
    second = bus.consumer(ONE, group="g", start=mq.EARLIEST, instance_id="a")
    assert second.wait_assigned() == (("single", 0),)
    with pytest.raises(mq.Fenced, match="instance_id"):
        first.poll(timeout=5)


def test_no_assignment_is_a_timeout(bus: mq.Bus) -> None:
    """A member without a partition times out in wait_assigned, which is a TimeoutError and applied nothing."""
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as first:
        first.wait_assigned()
        with bus.consumer(ONE, group="g", start=mq.EARLIEST) as second:
            with pytest.raises(mq.OperationTimeout) as caught:
                second.wait_assigned(timeout=0.2)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.outcome == "not_applied"


def test_reset_is_refused_while_the_group_is_active(bus: mq.Bus) -> None:
    """Offsets of a running group are not moved under its feet; a dry run changes nothing."""
    send(bus, ONE, b"a", b"b")
    with bus.consumer(ONE, group="g", start=mq.LATEST) as consumer:
        consumer.wait_assigned()
        with pytest.raises(mq.Rejected, match="1 members"):
            bus.admin.reset_offsets("g", ONE, mq.EARLIEST, dry_run=False)
    plan = bus.admin.reset_offsets("g", ONE, mq.EARLIEST)
    assert (plan.before, plan.after, plan.applied) == ({0: 2}, {0: 0}, False)
    assert bus.admin.describe_group("g").committed == {("single", 0): 2}
    assert bus.admin.reset_offsets("g", ONE, mq.EARLIEST, dry_run=False).applied
    assert bus.admin.describe_group("g").committed == {("single", 0): 0}


def test_emulations_can_be_forbidden() -> None:
    """emulation="forbid" refuses what is only emulated, before anything is sent."""
    with mq.connect("native:", emulation="forbid") as bus:
        bus.admin.ensure(ONE)
        with pytest.raises(mq.Unsupported, match="emulation='forbid'"):
            bus.consumer(ONE, group="g", start=mq.EARLIEST, dead_letter=True)
        with pytest.raises(mq.Unsupported):
            bus.require(mq.Capability.SEND_OFFSET, mq.Capability.TOPIC_RETRY)


def test_replayed_deliveries_have_nothing_to_settle(bus: mq.Bus) -> None:
    """A replay belongs to no group: each verb says so."""
    send(bus, ONE, b"a")
    (delivery,) = bus.replay(ONE, mq.EARLIEST)
    for verb in (delivery.ack, delivery.release, delivery.retry, delivery.reject):
        with pytest.raises(mq.ConfigurationError, match="replay"):
            verb()


def test_options_of_the_other_kind_are_named(bus: mq.Bus) -> None:
    """group= on a queue, prefetch= on a topic, and a misspelt option are refused by name, with what is taken."""
    with pytest.raises(mq.ConfigurationError, match="group= is for consumers of topics"):
        bus.consumer(WORK, group="g")  # type: ignore[call-overload]
    with pytest.raises(mq.ConfigurationError, match="prefetch= is for consumers of a queue"):
        bus.consumer(ONE, group="g", start=mq.EARLIEST, prefetch=5)  # type: ignore[call-overload]
    with pytest.raises(mq.ConfigurationError, match="did you mean prefetch="):
        bus.consumer(WORK, prefech=5)  # type: ignore[call-overload]
    with pytest.raises(mq.ConfigurationError, match="prefetch must be a whole number"):
        bus.consumer(WORK, prefetch="5")  # type: ignore[call-overload]


def test_a_handler_that_cannot_be_called_is_refused_before_anything_is_taken(bus: mq.Bus) -> None:
    """run(None) is a mistake in the program, not a failure of each message."""
    send(bus, WORK, b"a")
    with bus.consumer(WORK) as consumer, pytest.raises(mq.ConfigurationError, match="cannot be called"):
        consumer.run(None)  # type: ignore[arg-type]
    assert bus.admin.depth(WORK) == 1


def test_a_settlement_that_failed_is_sent_again() -> None:
    """When the engine refuses to settle (a full disk), nothing is forgotten: commit tries again, then says so."""
    with embedded() as bus:
        bus.admin.ensure(WORK)
        send(bus, WORK, *[b"%d" % n for n in range(5)])
        with bus.consumer(WORK, settle_interval_s=60) as consumer:
            for delivery in consumer.poll(timeout=5):
                delivery.ack()
            fail_next(bus, 2, mq.Rejected("no room", retryable=True), what="settle")
            with pytest.raises(mq.Rejected, match="no room"):
                consumer.commit()
            assert described(bus).unsettled == 5
            consumer.commit()
            assert described(bus).unsettled == 0


def described(bus: mq.Bus) -> Any:
    return bus.admin.describe(WORK)


def test_a_consumer_goes_on_when_others_settle_below_the_bound(
    bus: mq.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the bound of unsettled deliveries a poll waits, and goes on when another thread has settled some."""
    monkeypatch.setattr("mqbridge.topic_consumer.MAX_UNSETTLED", 10)
    send(bus, ONE, *[b"x"] * 10)
    send(bus, ONE, b"last")
    with bus.consumer(ONE, group="g", start=mq.EARLIEST) as consumer:
        out: list[Any] = []
        while len(out) < 10:
            out += consumer.poll(timeout=5)
        thread = threading.Timer(0.1, lambda: [delivery.ack() for delivery in out])
        thread.start()
        assert [delivery.raw for delivery in consumer.poll(timeout=10)] == [b"last"]
        thread.join()
