"""Ordered failures: what fails, what does not, and that nothing else changes by it."""

from __future__ import annotations

import pytest

import mqbridge as mq
from mqbridge.testing import Recorder, embedded, fail_next

TOPIC = mq.Topic("t")
QUEUE = mq.Queue("q")


def test_the_next_sends_fail_and_the_others_keep_their_places() -> None:
    """Of five messages the second and third fail; the receipts of the others name the offsets they really have."""
    error = mq.Rejected("no room", retryable=True)
    with embedded() as bus, bus.producer() as producer:
        bus.admin.ensure(TOPIC)
        receipts = [producer.send(TOPIC, b"0")]
        fail_next(bus, 2, error)
        receipts += [producer.send(TOPIC, b"%d" % n) for n in (1, 2, 3, 4)]
        ends = [receipt.exception(5) for receipt in receipts]
        assert [type(end) for end in ends] == [type(None), mq.Rejected, mq.Rejected, type(None), type(None)]
        assert [receipts[n].result(5).offset for n in (0, 3, 4)] == [0, 1, 2]
        assert ends[1] is not ends[2]
        assert ends[1] is not None
        assert (ends[1].outcome, ends[1].retryable) == ("not_applied", True)
        assert [delivery.raw for delivery in bus.replay(TOPIC, mq.EARLIEST)] == [b"0", b"3", b"4"]


def test_failures_in_a_batch_shift_confirmations_across_the_chunks_of_receipts() -> None:
    """With three thousand sends and failures strewn in, each receipt ends as its own message did."""
    with embedded() as bus, bus.producer(linger_s=0.05) as producer:
        bus.admin.ensure(mq.Topic("wide", partitions=3))
        wide = mq.Topic("wide")
        failing = {0, 1, 700, 1023, 1024, 2999}
        receipts = []
        for n in range(3000):
            if n in failing:
                fail_next(bus, 1, mq.Rejected(f"number {n}"))
            receipts.append(producer.send(wide, b"%d" % n, key=b"%d" % (n % 7)))
        ended = [receipt.exception(10) for receipt in receipts]
        assert {n for n, error in enumerate(ended) if error is not None} == failing
        assert all(str(ended[n]) == f"number {n}" for n in failing)
        stored = {(d.partition, d.offset): d.raw for d in bus.replay(wide, mq.EARLIEST)}
        for n in sorted(set(range(3000)) - failing):
            at = receipts[n].result(0)
            assert stored[at.partition, at.offset] == b"%d" % n


def test_an_unobserved_failure_is_told_when_the_producer_closes() -> None:
    """A failed send nobody looked at raises one SendFailed, outcome included."""
    with embedded() as bus:
        bus.admin.ensure(QUEUE)
        producer = bus.producer()
        fail_next(bus, 1, mq.ConnectionLost("gone", outcome="unknown"))
        producer.send(QUEUE, b"x")
        with pytest.raises(mq.SendFailed) as caught:
            producer.close()
        assert caught.value.outcomes == {"unknown": 1}
        assert bus.admin.depth(QUEUE) == 0


def test_a_failed_commit_leaves_the_offset_and_the_next_one_moves_it() -> None:
    """The group's committed offset is what it was; the consumer tries again by itself."""
    with embedded() as bus, bus.producer() as producer:
        bus.admin.ensure(TOPIC)
        producer.send(TOPIC, b"x").result(5)
        with bus.consumer(TOPIC, group="g", start=mq.EARLIEST, settle_interval_s=60) as consumer:
            (delivery,) = consumer.poll(timeout=5)
            delivery.ack()
            fail_next(bus, 2, mq.ConnectionLost("gone"), what="commit")  # commit() tries twice
            with pytest.raises(mq.ConnectionLost):
                consumer.commit(5)
            assert consumer.committed() == {("t", 0): 0}
            consumer.commit(5)
            assert consumer.committed() == {("t", 0): 1}


def test_a_failed_settlement_leaves_the_message_with_the_broker() -> None:
    """What was not settled is given back when the consumer closes, and is delivered again."""
    with embedded() as bus, bus.producer() as producer:
        bus.admin.ensure(QUEUE)
        producer.send(QUEUE, b"x").result(5)
        with bus.consumer(QUEUE, settle_interval_s=60) as consumer:
            (delivery,) = consumer.poll(timeout=5)
            delivery.ack()
            fail_next(bus, 1, mq.ConnectionLost("gone"), what="settle")
            with pytest.raises(mq.ConnectionLost):
                consumer.commit(5)
        with bus.consumer(QUEUE) as consumer:
            (again,) = consumer.poll(timeout=5)
            assert (again.raw, again.redelivered) == (b"x", True)
            again.ack()


def test_what_cannot_be_ordered_is_refused() -> None:
    """Another bus than an embedded one, a foreign error, an operation that is none, a count of none."""
    with mq.connect("native:") as plain, pytest.raises(mq.ConfigurationError, match="embedded"):
        fail_next(plain, 1, mq.Rejected("x"))
    with embedded() as bus:
        with pytest.raises(mq.ConfigurationError, match="count"):
            fail_next(bus, 0, mq.Rejected("x"))
        with pytest.raises(mq.ConfigurationError, match=r"mqbridge\.errors"):
            fail_next(bus, 1, OSError("x"))  # type: ignore[arg-type]
        with pytest.raises(mq.ConfigurationError, match="send, commit, settle"):
            fail_next(bus, 1, mq.Rejected("x"), what="ack")  # type: ignore[arg-type]


def test_buses_of_one_name_share_a_broker_and_not_their_failures() -> None:
    """A failure ordered on one bus does not touch the other, which sees what the first one stores."""
    with embedded(name="testing-shared") as one, embedded(name="testing-shared") as two:
        one.admin.ensure(TOPIC)
        fail_next(one, 1, mq.Rejected("x"))
        with two.producer() as producer:
            assert producer.send(TOPIC, b"2").exception(5) is None
        with one.producer() as producer:
            assert isinstance(producer.send(TOPIC, b"1").exception(5), mq.Rejected)


def test_an_unknown_option_is_refused_as_connect_would() -> None:
    """The options are the engine's own; a wrong one names the nearest."""
    with pytest.raises(mq.UnsupportedOption) as caught:
        embedded(segment_byte=1024)
    assert caught.value.nearest == "segment_bytes"


def test_the_recorder_counts_messages_by_destination() -> None:
    """Sent, failed, received and settled are told apart, by destination, with the events behind them."""
    recorder = Recorder()
    with embedded(hooks=[recorder]) as bus, bus.producer() as producer:
        bus.admin.ensure(TOPIC, QUEUE)
        producer.send_many(TOPIC, [b"1", b"2", b"3"]).result(5)
        fail_next(bus, 1, mq.Rejected("x"))
        assert producer.send(QUEUE, b"1").exception(5) is not None
        with bus.consumer(TOPIC, group="g", start=mq.EARLIEST) as consumer:
            for delivery in consumer.poll(timeout=5):
                delivery.ack()
        assert recorder.wait_for("assignment")["assigned"] == (("t", 0),)
    assert (recorder.sent_count(TOPIC), recorder.sent_count(QUEUE), recorder.sent_count()) == (3, 0, 3)
    assert (recorder.failed_count(QUEUE), recorder.failed_count(TOPIC)) == (1, 0)
    assert recorder.received_count(TOPIC) == 3
    assert recorder.of("settled", TOPIC)
    assert recorder.events[-1].name == "closed"
    recorder.clear()
    assert recorder.events == []
