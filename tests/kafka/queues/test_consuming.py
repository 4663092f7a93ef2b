"""Queues on a real broker, looked at from outside with raw clients."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest

import mqbridge as mq
from mqbridge_kafka import pulling, verdicts
from mqbridge_kafka.courier import Courier
from tests.kafka.queues.raw import (
    client,
    collect,
    fresh_name,
    header,
    nothing_comes,
    produce,
    records,
    send,
    set_group,
    share_member,
    taken_outside,
    topics,
    until,
)


def _queue(bus: mq.Bus, **options: Any) -> mq.Queue[bytes]:
    queue: mq.Queue[bytes] = mq.Queue(fresh_name(), **options)
    bus.admin.ensure(queue)
    return queue


def test_competing_consumers_get_each_message_once(bus: mq.Bus, kafka_url: str) -> None:
    """Two consumers of two connections share the messages, and nothing is left or given twice."""
    queue = _queue(bus)
    values = [b"%d" % n for n in range(150)]
    seen: Counter[bytes] = Counter()
    with mq.connect(kafka_url) as other, bus.consumer(queue, prefetch=5) as a, other.consumer(queue, prefetch=5) as b:
        send(bus, queue, *values)
        counts = [0, 0]

        def all_seen() -> bool:
            for place, consumer in enumerate((a, b)):
                for delivery in consumer.poll(timeout=0.02):
                    seen[delivery.value] += 1
                    counts[place] += 1
                    delivery.ack()
            return sum(seen.values()) >= len(values)

        until(all_seen, "all messages")
        a.commit()
        b.commit()
    assert seen == Counter(values)
    assert min(counts) > 0
    assert taken_outside(kafka_url, queue.name, 0.8) == []


def test_a_commit_means_that_the_broker_has_the_acknowledgement(bus: mq.Bus, kafka_url: str) -> None:
    """After commit() another member of the share group gets what was not acked, and that alone."""
    queue = _queue(bus)
    send(bus, queue, b"acked", b"left")
    with bus.consumer(queue, prefetch=2) as consumer:
        deliveries = collect(consumer, 2)
        next(d for d in deliveries if d.value == b"acked").ack()
        consumer.commit()
        assert [v for v, _ in taken_outside(kafka_url, queue.name, 0.5)] == []
    assert [v for v, _ in taken_outside(kafka_url, queue.name)] == [b"left"]


def test_a_retried_message_is_counted_and_dead_lettered_at_the_limit(bus: mq.Bus, kafka_url: str) -> None:
    """Attempts go 1, 2, 3; the third failure writes a letter that says why, where, how often and with which error."""
    queue = _queue(bus, max_attempts=3)
    send(bus, queue, b"v", key=b"k", headers={"h": "x"}, message_id="id-1")
    with bus.consumer(queue) as consumer:
        for attempt in (1, 2, 3):
            (delivery,) = collect(consumer, 1)
            assert (delivery.attempt, delivery.redelivered) == (attempt, attempt > 1)
            delivery.retry(error=ValueError(f"number {attempt}"))
        consumer.commit()
        assert nothing_comes(consumer, 0.4)
    (letter,) = records(kafka_url, f"{queue.name}.dlq.mqq")
    assert (letter.value(), letter.key(), header(letter, "h")) == (b"v", b"k", b"x")
    assert header(letter, "mqbridge-death-reason") == b"max-attempts"
    assert header(letter, "mqbridge-death-attempts") == b"3"
    assert header(letter, "mqbridge-death-queue") == queue.name.encode()
    assert header(letter, "mqbridge-death-error") == b"ValueError: number 3"
    assert header(letter, "mqbridge-id") == b"id-1"
    assert queue.dead_letter is not None
    with bus.consumer(queue.dead_letter) as consumer:
        (dead,) = collect(consumer, 1)
        assert dead.death is not None
        assert (dead.death.reason, dead.death.attempts, dead.attempt) == ("max-attempts", 3, 1)
        dead.ack()


@pytest.mark.parametrize("max_attempts", [None, 13])
def test_attempts_go_on_beyond_the_brokers_own_limit(bus: mq.Bus, kafka_url: str, max_attempts: int | None) -> None:
    """A share group drops a record after ten deliveries; a queue's message is not lost, and its count goes on."""
    queue = _queue(bus, max_attempts=max_attempts)
    send(bus, queue, b"v", message_id="one")
    with bus.consumer(queue, settle_interval_s=0.01) as consumer:
        for attempt in range(1, 14):
            (delivery,) = collect(consumer, 1)
            assert (delivery.attempt, delivery.message_id) == (attempt, "one")
            delivery.retry()
        if max_attempts is None:
            (delivery,) = collect(consumer, 1)
            assert delivery.attempt == 14
            delivery.ack()
        consumer.commit()
    letters = records(kafka_url, f"{queue.name}.dlq.mqq")
    assert [header(m, "mqbridge-death-attempts") for m in letters] == ([] if max_attempts is None else [b"13"])


def test_a_released_message_keeps_its_id_and_attempt(bus: mq.Bus, kafka_url: str) -> None:
    """Release writes a copy with the same id, which comes again as the same attempt, and the original is settled."""
    queue = _queue(bus, max_attempts=2)
    send(bus, queue, b"v", key=b"", message_id="same")
    with bus.consumer(queue) as consumer:
        for _ in range(3):
            (delivery,) = collect(consumer, 1)
            assert (delivery.attempt, delivery.message_id, delivery.key) == (1, "same", b"")
            delivery.release()
        (delivery,) = collect(consumer, 1)
        assert (delivery.attempt, delivery.redelivered) == (1, True)
        delivery.ack()
        consumer.commit()
    assert [header(m, "mqbridge-id") for m in records(kafka_url, f"{queue.name}.mqq")] == [b"same"] * 4
    assert taken_outside(kafka_url, queue.name, 0.8) == []


def test_a_rejected_message_is_a_dead_letter_before_it_is_settled(bus: mq.Bus, kafka_url: str) -> None:
    """Once commit() returned, the letter is written with its text, and the message is gone."""
    queue = _queue(bus)
    send(bus, queue, b"bad")
    with bus.consumer(queue) as consumer:
        collect(consumer, 1)[0].reject("not for us: ä")
        consumer.commit()
        (letter,) = records(kafka_url, f"{queue.name}.dlq.mqq")
    assert header(letter, "mqbridge-death-reason") == b"rejected"
    assert header(letter, "mqbridge-death-error") == "not for us: ä".encode()
    assert taken_outside(kafka_url, queue.name, 0.8) == []


def test_closing_gives_back_what_is_out_without_counting_it(bus: mq.Bus) -> None:
    """What a closed consumer held comes to the next one with the attempt it had, and as delivered before."""
    queue = _queue(bus)
    send(bus, queue, b"1", b"2", b"3")
    with bus.consumer(queue) as consumer:
        collect(consumer, 3)
    with bus.consumer(queue) as consumer:
        again = collect(consumer, 3)
        assert sorted((d.value, d.attempt) for d in again) == [(b"1", 1), (b"2", 1), (b"3", 1)]
        assert {d.redelivered for d in again} == {True}
        for delivery in again:
            delivery.ack()


def test_no_more_than_prefetch_are_out_and_others_get_the_rest(
    bus: mq.Bus, kafka_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one batch of ten a consumer shows two; what it holds unseen reaches another consumer, uncounted."""
    monkeypatch.setattr(pulling, "GIVE_BACK_S", 0.5)
    queue = _queue(bus)
    produce(kafka_url, f"{queue.name}.mqq", [b"%d" % n for n in range(10)])
    with bus.consumer(queue, prefetch=2) as slow:
        shown = collect(slow, 2)
        assert nothing_comes(slow, 0.3)
        with bus.consumer(queue, prefetch=20) as other:
            rest = collect(other, 8)
            assert {d.attempt for d in rest} == {1}
            assert {d.value for d in rest} | {d.value for d in shown} == {b"%d" % n for n in range(10)}
            for delivery in rest + shown:
                delivery.ack()
            other.commit()
            slow.commit()


def test_a_message_held_beyond_its_lock_is_refused(bus: mq.Bus, kafka_url: str) -> None:
    """After the record lock another consumer has the message, counted; the late ack is LeaseLost and does nothing."""
    queue = _queue(bus)
    set_group(kafka_url, queue.name, "share.record.lock.duration.ms", "1000")
    send(bus, queue, b"slow")
    with bus.consumer(queue, prefetch=1) as slow:  # one member: a second one might fetch it, and be counted too
        (late,) = collect(slow, 1)
        with bus.consumer(queue) as other:
            (delivery,) = collect(other, 1)
            assert (delivery.value, delivery.attempt, delivery.redelivered) == (b"slow", 2, True)
            late.ack()
            with pytest.raises(mq.LeaseLost):
                slow.commit()
            delivery.ack()
            other.commit()
    assert taken_outside(kafka_url, queue.name, 0.8) == []


def test_an_expired_message_is_never_shown(bus: mq.Bus, kafka_url: str) -> None:
    """A message whose time is over on receipt is dead-lettered as expired; one without a limit is shown."""
    queue = _queue(bus)
    send(bus, queue, b"short", expires_in_s=0.05)
    send(bus, queue, b"stays")
    until(lambda: time.time() * 1000 > max(m.timestamp()[1] for m in records(kafka_url, f"{queue.name}.mqq")) + 60, "")
    with bus.consumer(queue) as consumer:
        (delivery,) = collect(consumer, 1)
        assert delivery.value == b"stays"
        delivery.ack()
        assert nothing_comes(consumer, 0.3)
    (letter,) = records(kafka_url, f"{queue.name}.dlq.mqq")
    assert (letter.value(), header(letter, "mqbridge-death-reason")) == (b"short", b"expired")
    assert header(letter, "mqbridge-expires-ms") is None


def test_a_queues_ttl_counts_from_the_enqueue_not_from_the_senders_timestamp(bus: mq.Bus) -> None:
    """With a timestamp of last year in it a fresh message is shown, and no retention removes it."""

    queue = _queue(bus, message_ttl_s=30, dead_letter=None)
    past = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    with bus.consumer(queue) as consumer:
        send(bus, queue, b"fresh", timestamp=past)
        (delivery,) = collect(consumer, 1)
        assert (delivery.value, delivery.timestamp) == (b"fresh", past)
        delivery.ack()
        send(bus, queue, b"old", timestamp=datetime.datetime(1969, 12, 31, 23, 59, 59, tzinfo=datetime.UTC))
        for _ in range(2):
            (delivery,) = collect(consumer, 1)
            assert delivery.timestamp_ms == -1000
            delivery.release()
        consumer.commit()


def test_a_killed_consumer_loses_its_messages_to_the_next_counted(bus: mq.Bus, kafka_url: str) -> None:
    """SIGKILL breaks the connection: the broker gives the message to another member, as the second attempt."""
    queue = _queue(bus)
    send(bus, queue, b"v")
    program = (
        "import sys, mqbridge as mq\n"
        "bus = mq.connect(sys.argv[1]); consumer = bus.consumer(mq.Queue(sys.argv[2]))\n"
        "while not consumer.poll(timeout=1): pass\n"
        "print('has it', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, kafka_url, queue.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"has it\n"
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    with bus.consumer(queue) as consumer:
        (delivery,) = collect(consumer, 1)
        assert (delivery.value, delivery.attempt) == (b"v", 2)
        delivery.ack()


def test_ack_before_settles_what_it_shows(bus: mq.Bus, kafka_url: str) -> None:
    """At most once: what the application has seen is gone although it never acked, what it has not seen is there."""
    queue = _queue(bus)
    send(bus, queue, b"1", b"2", b"3")
    with bus.consumer(queue, ack="before") as consumer:
        (delivery,) = consumer.poll(timeout=10, max_messages=1) or collect(consumer, 1)
    left = sorted(value or b"" for value, _ in taken_outside(kafka_url, queue.name))
    assert left == sorted({b"1", b"2", b"3"} - {delivery.value})


def test_a_foreign_producers_message_reads_like_ours(bus: mq.Bus, kafka_url: str) -> None:
    """No id, a str header, a header without a value, a null value: all decode."""
    queue = _queue(bus)
    produce(kafka_url, f"{queue.name}.mqq", [b""], headers=[("text", "ä"), ("none", None)], key=b"k")
    with bus.consumer(queue) as consumer:
        (delivery,) = collect(consumer, 1)
        assert (delivery.key, delivery.message_id, delivery.raw) == (b"k", None, b"")
        assert delivery.headers.pairs == (("text", "ä".encode()), ("none", b""))
        delivery.ack()


def test_nothing_is_made_by_sending_or_consuming(bus: mq.Bus, kafka_url: str) -> None:
    """A queue that nobody ensured is NotFound, on a broker that would make topics by itself, and no topic appears."""
    name = fresh_name()
    with bus.producer() as producer, pytest.raises(mq.NotFound):
        producer.send(mq.Queue(name), b"v")
    with pytest.raises(mq.NotFound):
        bus.consumer(mq.Queue(name))
    assert not [topic for topic in topics(kafka_url) if name in topic]


def test_deleting_a_queue_ends_its_consumers_and_senders(bus: mq.Bus, kafka_url: str) -> None:
    """An open consumer hears NotFound, an open producer's next send fails, and the topic does not come back."""
    queue = _queue(bus, dead_letter=None)
    with mq.connect(kafka_url) as other, other.producer() as producer:
        producer.send(queue, b"v").result(10)
        consumer = other.consumer(queue)
        collect(consumer, 1)[0].ack()
        bus.admin.delete(queue)

        def ended() -> bool:
            try:
                return bool(consumer.poll(timeout=0.2)) and False
            except mq.NotFound:
                return True

        until(ended, "the end of the consumer")
        with pytest.raises(mq.NotFound):
            producer.send(queue, b"w").result(10)
        assert f"{queue.name}.mqq" not in topics(kafka_url)
        consumer.close()


def test_the_native_consumer_can_be_reached(bus: mq.Bus, kafka_url: str) -> None:
    """A function runs with the ShareConsumer, on its thread, also while a message is out."""
    from confluent_kafka import ShareConsumer

    queue = _queue(bus)
    send(bus, queue, b"v")
    with bus.consumer(queue) as consumer:
        (delivery,) = collect(consumer, 1)
        assert consumer.run_on_client(ShareConsumer, lambda native: native.subscription()) == [f"{queue.name}.mqq"]
        delivery.ack()
    with share_member(kafka_url, queue.name) as member:
        assert list(member.poll(0.1)) == []


def test_a_letter_that_cannot_be_written_leaves_the_message(bus: mq.Bus, kafka_url: str) -> None:
    """With the dead-letter queue's topic gone, reject() fails at commit(), and the message is still there."""
    queue = _queue(bus)
    send(bus, queue, b"v")
    admin = client(kafka_url)
    admin.delete_topics([f"{queue.name}.dlq.mqq"])[f"{queue.name}.dlq.mqq"].result(10)
    with bus.consumer(queue, prefetch=1) as consumer:
        collect(consumer, 1)[0].reject("no")
        with pytest.raises(mq.NotFound):
            consumer.commit()
        collect(consumer, 1)[0].ack()
        consumer.commit()
    assert f"{queue.name}.dlq.mqq" not in topics(kafka_url)


def test_a_message_outlives_a_dead_letter_queue_that_is_not_there(
    kafka_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its attempts, with nowhere to die, it is taken more often than the broker allows, and dies when it can."""
    monkeypatch.setattr(verdicts, "PAUSE_MAX_S", 1.0)  # short, and time to read what is there in between
    with mq.connect(kafka_url, options={"metadata_s": 1}) as bus:  # so long a missing topic may be a young one
        queue = _queue(bus, max_attempts=1)
        dead = f"{queue.name}.dlq.mqq"
        set_group(kafka_url, queue.name, "share.delivery.count.limit", "2")
        send(bus, queue, b"precious")
        admin = client(kafka_url)
        admin.delete_topics([dead])[dead].result(10)
        with bus.consumer(queue, prefetch=1) as consumer:
            collect(consumer, 1)[0].reject("no")
            with pytest.raises(mq.NotFound, match="not shown again"):
                consumer.commit()
            until(lambda: consumer.poll(timeout=0.1) or len(records(kafka_url, f"{queue.name}.mqq")) >= 3, "two copies")
            bus.admin.ensure(queue)
            until(lambda: consumer.poll(timeout=0.1) or records(kafka_url, dead), "the letter")
    assert [letter.value() for letter in records(kafka_url, dead)] == [b"precious"]
    assert taken_outside(kafka_url, queue.name, 0.8) == []


def test_a_letter_that_outlasts_the_lock_is_told_as_unknown(
    bus: mq.Bus, kafka_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The letter is there, so commit() must not say that nothing was applied; the message comes again as well."""
    queue = _queue(bus)
    set_group(kafka_url, queue.name, "share.record.lock.duration.ms", "1000")
    send(bus, queue, b"v")
    real, pause = Courier.deliver, threading.Event()

    def slow(self: Courier, letters: Any, what: str, timeout_s: float = 15.0) -> Any:
        errors = real(self, letters, what, timeout_s)
        pause.wait(1.2)
        return errors

    with bus.consumer(queue, prefetch=1) as consumer:
        (delivery,) = collect(consumer, 1)
        monkeypatch.setattr(Courier, "deliver", slow)
        delivery.reject("bad")
        with pytest.raises(mq.LeaseLost) as caught:
            consumer.commit()
        monkeypatch.undo()
        assert caught.value.outcome == "unknown"
        assert [letter.value() for letter in records(kafka_url, f"{queue.name}.dlq.mqq")] == [b"v"]
        collect(consumer, 1)[0].ack()
        consumer.commit()
