"""Consuming queues, checked with raw pika and the management API."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import pika
import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from tests.rabbitmq import raw
from tests.rabbitmq.conftest import take

MakeQueue = Callable[..., mq.Queue[bytes]]


def fill(bus: mq.Bus, queue: mq.Queue[bytes], count: int) -> None:
    with bus.producer() as producer:
        producer.send_many(queue, [b"%d" % number for number in range(count)]).result(20)


def counts(url: str, queue: str) -> tuple[int, int]:
    """Ready and out, as the management API last sampled them."""
    facts = raw.queue_facts(url, queue)
    return facts.get("messages_ready", -1), facts.get("messages_unacknowledged", -1)


def test_acked_messages_are_gone_and_others_come_back(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """Every third is left open: closing gives it back uncounted, in order, and only those."""
    queue = make_queue(max_attempts=3)
    fill(rabbit, queue, 30)
    with rabbit.consumer(queue, prefetch=50) as consumer:
        for delivery in take(consumer, 30):
            if int(delivery.raw) % 3:
                delivery.ack()
    with rabbit.consumer(queue, prefetch=50) as consumer:
        again = take(consumer, 10)
        assert [int(one.raw) for one in again] == list(range(0, 30, 3))
        assert {(one.attempt, one.redelivered) for one in again} == {(1, True)}
        for one in again:
            one.ack()
    assert rabbit.admin.depth(queue) == 0


def test_each_verb_counts_as_it_says(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """release leaves the attempt number, retry raises it, and past the limit the broker dead-letters."""
    queue = make_queue(max_attempts=3)
    fill(rabbit, queue, 1)
    attempts = []
    with rabbit.consumer(queue) as consumer:
        for verb in ("release", "release", "retry", "release", "retry", "retry"):
            (delivery,) = take(consumer, 1)
            attempts.append(delivery.attempt)
            getattr(delivery, verb)()
            consumer.commit()
        assert consumer.poll(1, timeout=0.3) == []
    assert attempts == [1, 1, 1, 2, 2, 3]
    (letter,) = rabbit.admin.dead_letters(queue)
    assert letter.death is not None
    assert (letter.death.reason, letter.death.origin, letter.death.attempts, letter.death.error) == (
        "max-attempts",
        f"queue:{queue.name}",
        3,
        None,
    )


@pytest.mark.parametrize(("verb", "reason", "attempts"), [("reject", "rejected", 1), ("retry", "max-attempts", 2)])
def test_a_text_survives_dead_lettering(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue, verb: str, reason: str, attempts: int
) -> None:
    """AMQP's reject carries none: the dead letter has reason, origin, attempts, time and text, its id and its headers,
    and is there once."""
    queue = make_queue(max_attempts=2)
    with rabbit.producer() as producer:
        producer.send(queue, b"v", key=b"k", headers={"h": b"1"}, message_id="id").result(10)
    with rabbit.consumer(queue) as consumer:
        for _ in range(attempts):
            (delivery,) = take(consumer, 1)
            if verb == "reject":
                delivery.reject("the text")
            else:
                delivery.retry(error=ValueError("the text"))
            consumer.commit()
    (letter,) = rabbit.admin.dead_letters(queue)
    assert (letter.value, letter.key, letter.message_id, letter.headers.pairs) == (b"v", b"k", "id", (("h", b"1"),))
    assert letter.death is not None
    assert letter.death.at is not None
    assert (letter.death.reason, letter.death.origin, letter.death.attempts) == (
        reason,
        f"queue:{queue.name}",
        attempts,
    )
    assert (letter.death.error or "").endswith("the text")
    assert raw.ready(rabbitmq_url, queue.name) == 0


def test_a_reason_larger_than_a_frame_costs_nobody_the_connection(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """The dead letter has the beginning of the text, and other producers go on."""
    queue = make_queue(max_attempts=3)
    fill(rabbit, queue, 1)
    states: list[str] = []
    rabbit.on_state(lambda state, _why: states.append(state))
    with rabbit.consumer(queue) as consumer:
        take(consumer, 1)[0].reject("boom " * 40_000)
        consumer.commit()
    (letter,) = rabbit.admin.dead_letters(queue)
    assert letter.death is not None
    assert (letter.death.error or "").startswith("boom boom ")
    assert states == []


def test_leaving_counts_no_attempt_of_what_was_on_its_way(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """Consumers come and go in a stream of deliveries and only ever release: none is dead-lettered."""
    queue = make_queue(max_attempts=2)
    fill(rabbit, queue, 1000)
    for _ in range(8):
        with rabbit.consumer(queue, prefetch=200) as consumer:
            until = time.monotonic() + 0.15
            while time.monotonic() < until:
                for delivery in consumer.poll(50, timeout=0.1):
                    delivery.release()
    wait_until(lambda: raw.ready(rabbitmq_url, queue.name) == 1000, timeout_s=5)
    assert queue.dead_letter is not None
    assert raw.ready(rabbitmq_url, queue.dead_letter.name) == 0


def test_a_rejection_that_nobody_can_take_loses_nothing(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """The dead-letter queue is gone: commit() says so, and the message is delivered again, uncounted."""
    queue = make_queue(max_attempts=2)
    assert queue.dead_letter is not None
    fill(rabbit, queue, 1)
    rabbit.admin.delete(queue.dead_letter)
    with rabbit.consumer(queue) as consumer:
        (delivery,) = take(consumer, 1)
        delivery.reject("no")
        with pytest.raises(mq.NotFound, match="not there") as told:
            consumer.commit()
        assert told.value.outcome == "unknown", "what else was settled with it was applied"
        (again,) = take(consumer, 1)
        assert again.attempt == 1
        again.ack()
        consumer.commit()


def test_a_handler_longer_than_the_brokers_timeout_loses_its_lease(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """The broker cancels the consumer (4.3 does, for quorum queues): the old delivery is LeaseLost, the message comes
    again by itself, and no attempt was counted."""
    name = f"slow-{secrets.token_hex(4)}"
    with raw.channel(rabbitmq_url) as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", "x-consumer-timeout": 1000})
        channel.basic_publish("", name, b"v")
    queue = mq.Queue(name)
    with rabbit.consumer(queue) as consumer:
        (old,) = take(consumer, 1)
        (again,) = take(consumer, 1, timeout=25)
        assert (again.raw, again.attempt, again.redelivered) == (b"v", 1, True)
        with pytest.raises(mq.LeaseLost):
            old.ack()
        again.ack()
        consumer.commit()
    rabbit.admin.delete(queue)


def test_expired_and_overflowing_messages_say_why_they_died(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """What the broker dead-letters by itself: expiry and drop-head."""
    short, full = make_queue(message_ttl_s=0.05), make_queue(max_length=1, overflow="drop-head")
    fill(rabbit, short, 1)
    fill(rabbit, full, 2)
    for queue, reason in ((short, "expired"), (full, "max-length")):
        wait_until(lambda queue=queue: rabbit.admin.depth(queue.dead_letter) == 1, timeout_s=10)  # type: ignore[misc]
        (letter,) = rabbit.admin.dead_letters(queue)
        assert letter.death is not None
        assert (letter.death.reason, letter.death.origin, letter.death.attempts) == (reason, f"queue:{queue.name}", 0)


def test_the_broker_hands_out_no_more_than_the_prefetch(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """With 50 messages and a prefetch of 7 exactly 7 are out, and acks make room for as many."""
    queue = make_queue()
    fill(rabbit, queue, 50)
    with rabbit.consumer(queue, prefetch=7) as consumer:
        held = take(consumer, 7)
        assert consumer.poll(1, timeout=0.2) == []
        assert raw.ready(rabbitmq_url, queue.name) == 43
        wait_until(lambda: counts(rabbitmq_url, queue.name) == (43, 7), timeout_s=15)
        for delivery in held:
            delivery.ack()
        consumer.commit()
        take(consumer, 7)
        assert raw.ready(rabbitmq_url, queue.name) == 36


def test_after_a_cut_old_deliveries_are_refused_and_committed_ones_stay_settled(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """The broker closes the connection right after commit(): what was committed does not come back, the rest does, by
    itself and counted as an attempt, and a verb on the old deliveries is LeaseLost and touches none of the new ones."""
    queue = make_queue()
    fill(rabbit, queue, 20)
    client = f"cut-{secrets.token_hex(4)}"
    with mq.connect(f"{rabbitmq_url}&client_name={client}") as bus, bus.consumer(queue, prefetch=20) as consumer:
        old = take(consumer, 20)
        for delivery in old[::2]:
            delivery.ack()
        consumer.commit()
        wait_until(lambda: raw.drop_connections(rabbitmq_url, client) == 3, timeout_s=15)
        again = take(consumer, 10)
        assert [(int(one.raw), one.attempt) for one in again] == [(number, 2) for number in range(1, 20, 2)]
        with pytest.raises(mq.LeaseLost):
            old[1].ack()
        again[0].ack()
        consumer.commit()
        wait_until(lambda: bus.state == "connected", timeout_s=10)
    assert raw.ready(rabbitmq_url, queue.name) == 9


def test_at_most_once_shows_only_what_is_settled(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """ack="before": what was seen is gone from the queue when it is seen, and the rest stays."""
    queue = make_queue()
    fill(rabbit, queue, 40)
    with rabbit.consumer(queue, prefetch=5, ack="before") as consumer:
        seen = [int(one.raw) for one in take(consumer, 3)]
        assert seen == [0, 1, 2]
        left = raw.ready(rabbitmq_url, queue.name)
    assert left <= 37
    assert all(int(body) > 2 for _, _, body in raw.drain(rabbitmq_url, queue.name))


def test_priorities_come_first_and_none_is_the_lowest(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """Strict priorities; a message without one is 0, as on the other engines, and not RabbitMQ's 4."""
    queue = make_queue(max_priority=9)
    with rabbit.producer() as producer:
        for number, priority in enumerate((None, 1, 3, None, 3)):
            producer.send(queue, b"%d" % number, priority=priority).result(10)
    with rabbit.consumer(queue) as consumer:
        assert [int(one.raw) for one in take(consumer, 5)] == [2, 4, 1, 0, 3]


def test_a_consumer_of_a_deleted_queue_ends_with_not_found(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """The broker cancels the consumer; nothing is declared again."""
    queue = make_queue()
    with rabbit.consumer(queue) as consumer:
        assert consumer.poll(1, timeout=0.1) == []
        rabbit.admin.delete(queue)
        with pytest.raises(mq.NotFound, match="not there"):
            consumer.poll(1, timeout=10)
    with raw.channel(rabbitmq_url) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare(queue.name, passive=True)


def test_a_classic_queue_works_with_its_conditions(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """It is classic, shares, acks and dead-letters; of attempts it tells a first one from a later one."""
    queue = make_queue(type="classic")
    assert raw.queue_facts(rabbitmq_url, queue.name)["type"] == "classic"
    fill(rabbit, queue, 2)
    with rabbit.consumer(queue) as consumer:
        for delivery in take(consumer, 2):
            assert delivery.attempt == 1
            delivery.retry()
        consumer.commit()
        again = take(consumer, 2)
        assert {one.attempt for one in again} == {2}
        again[0].reject("no")
        again[1].ack()
    (letter,) = rabbit.admin.dead_letters(queue)
    assert letter.death is not None
    assert letter.death.error == "no"


def test_one_consumer_is_active_and_the_next_takes_over(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """Single active consumer: the second gets nothing until the first has gone, then all that is left, none of it
    counted."""
    queue = make_queue(single_active=True)
    fill(rabbit, queue, 6)
    with rabbit.consumer(queue, prefetch=2) as first:
        held = take(first, 2)
        with rabbit.consumer(queue, prefetch=10) as second:
            assert second.poll(1, timeout=0.3) == []
            held[0].ack()
            first.close()
            assert sorted((int(one.raw), one.attempt) for one in take(second, 5)) == [(n, 1) for n in range(1, 6)]


def test_pikas_own_channel_can_be_used_on_its_thread(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """run_on_client() gives the channel, or the connection, on the only thread that may touch them."""
    queue = make_queue()
    with rabbit.consumer(queue) as consumer:
        wait_until(lambda: consumer.run_on_client(pika.channel.Channel, lambda one: one.is_open), timeout_s=10)
        number = consumer.run_on_client(pika.channel.Channel, lambda one: one.channel_number)
        where = consumer.run_on_client(
            pika.SelectConnection, lambda one: (threading.current_thread().name, one.is_open)
        )
    assert number >= 1
    assert where == ("mqbridge-rabbitmq", True)


def test_foreign_messages_are_delivered(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """Published by raw pika with text headers and no id, through an exchange."""
    queue = make_queue()
    with raw.channel(rabbitmq_url) as channel:
        channel.queue_bind(queue.name, "amq.topic", "a.b")
        properties: Any = pika.BasicProperties(headers={"n": 5, "s": "text"}, timestamp=1000)
        channel.basic_publish("amq.topic", "a.b", b"", properties)
        channel.basic_publish("", queue.name, b"bare")
    with rabbit.consumer(queue) as consumer:
        first, second = take(consumer, 2)
        assert (first.value, first.routing_key, first.timestamp_ms) == (b"", "a.b", 1_000_000)
        assert first.headers.pairs == (("n", b"5"), ("s", b"text"))
        assert (second.value, second.key, second.message_id, second.headers.pairs) == (b"bare", None, None, ())
