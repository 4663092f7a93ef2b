"""Verbs, and what is given up for dead."""

from __future__ import annotations

from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import AlreadySettled, ConfigurationError, InvalidSpec
from mqbridge.testing import Recorder, embedded, fail_next, wait_until
from tests.fakes import FakeBlock
from tests.topic_consumer.shared import ONE, P0, drain, join, raws, send

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
