"""Sending to queues and exchanges, checked with raw pika."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable

import pika
import pytest

import mqbridge as mq
from mqbridge.spi import Limits
from tests.rabbitmq import raw
from tests.rabbitmq.conftest import take

MakeQueue = Callable[..., mq.Queue[bytes]]
MakeExchange = Callable[..., mq.Exchange]


def test_what_is_confirmed_is_what_raw_pika_reads(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """2000 pipelined messages: all there, once, in order, persistent, each with its own id."""
    queue = make_queue()
    with rabbit.producer() as producer:
        producer.send_many(queue, [b"%d" % number for number in range(2000)]).result(20)
    found = raw.drain(rabbitmq_url, queue.name)
    assert [body for _, _, body in found] == [b"%d" % number for number in range(2000)]
    assert {properties.delivery_mode for _, properties, _ in found} == {2}
    assert len({properties.message_id for _, properties, _ in found}) == 2000


def test_fields_travel_where_amqp_has_them(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """Id, priority, expiry, time and headers are AMQP's own, for whoever reads with another client."""
    queue = make_queue()
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    with rabbit.producer() as producer:
        producer.send(
            queue,
            b"v",
            key=b"",
            headers={"a": b"\xff\x00"},
            timestamp=at,
            expires_in_s=60,
            priority=3,
            message_id="id-1",
        ).result(10)
        producer.send(queue, b"plain").result(10)
    (_, first, _), (_, second, _) = raw.drain(rabbitmq_url, queue.name)
    assert (first.message_id, first.priority, first.expiration) == ("id-1", 3, "60000")
    assert first.timestamp == int(at.timestamp())
    assert first.headers["a"] == b"\xff\x00"
    # None would count as 4 in a quorum queue, above priority 3.
    assert second.priority == 0


def test_returns_are_matched_to_the_right_receipts(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue, make_exchange: MakeExchange
) -> None:
    """Every seventh of 3000 pipelined messages has no binding: exactly those fail, with all ids the same."""
    queue, exchange = make_queue(), make_exchange(type="direct")
    rabbit.admin.bind(mq.Binding(exchange, queue, key="yes"))
    with rabbit.producer() as producer:
        receipts = [
            producer.send(exchange, b"%d" % number, routing_key="no" if number % 7 == 0 else "yes", message_id="same")
            for number in range(3000)
        ]
        errors = [receipt.exception(20) for receipt in receipts]
    assert [number for number, error in enumerate(errors) if error is not None] == list(range(0, 3000, 7))
    assert {type(error) for error in errors if error is not None} == {mq.Unroutable}
    assert raw.ready(rabbitmq_url, queue.name) == sum(1 for number in range(3000) if number % 7)


def test_a_full_queue_rejects(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """overflow='reject': what does not fit fails as not applied, and the queue holds what was confirmed."""
    queue = make_queue(max_length=5)
    with rabbit.producer() as producer:
        outcomes = []
        for number in range(20):
            error = producer.send(queue, b"%d" % number).exception(10)
            outcomes.append(None if error is None else (type(error), error.outcome))
    confirmed = outcomes.count(None)
    assert 5 <= confirmed < 20
    assert set(outcomes) == {None, (mq.Rejected, "not_applied")}
    assert raw.ready(rabbitmq_url, queue.name) == confirmed


def test_sending_creates_nothing(rabbit: mq.Bus, rabbitmq_url: str) -> None:
    """A missing queue and a missing exchange are NotFound when they are opened."""
    name = f"none-{secrets.token_hex(4)}"
    with rabbit.producer() as producer:
        for destination in (mq.Queue(name), mq.Exchange(name)):
            with pytest.raises(mq.NotFound, match=name):
                producer.send(destination, b"x")
    with raw.channel(rabbitmq_url) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare(name, passive=True)


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_a_destination_deleted_under_a_producer_is_not_found(
    rabbit: mq.Bus, rabbitmq_url: str, kind: str, make_queue: MakeQueue, make_exchange: MakeExchange
) -> None:
    """Sends after the deletion fail, none is called confirmed, and the same producer sends again once it is back."""
    destination = make_queue() if kind == "queue" else make_exchange(type="fanout")
    sink = make_queue()
    if isinstance(destination, mq.Exchange):
        rabbit.admin.bind(mq.Binding(destination, sink))
    with rabbit.producer() as producer:
        producer.send(destination, b"before").result(10)
        rabbit.admin.delete(destination)
        failures = [producer.send(destination, b"after").exception(10) for _ in range(3)]
        assert {type(error) for error in failures} == {mq.NotFound}
        assert failures[-1] is not None
        assert failures[-1].outcome == "not_applied"
        rabbit.admin.ensure(destination)
        if isinstance(destination, mq.Exchange):
            rabbit.admin.bind(mq.Binding(destination, sink))
        producer.send(destination, b"again").result(10)
    holder = destination if isinstance(destination, mq.Queue) else sink
    assert raw.drain(rabbitmq_url, holder.name)[-1][2] == b"again"


def test_a_full_buffer_makes_the_sender_wait_and_loses_nothing(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """A buffer of ten messages: `send` waits for room again and again, and every number is used once."""
    queue = make_queue()
    with rabbit.producer(max_in_flight_bytes=12_000) as producer:
        receipts = [producer.send(queue, b"x" * 1000) for _ in range(300)]
        for receipt in receipts:
            receipt.result(10)
    assert raw.ready(rabbitmq_url, queue.name) == 300


def test_a_body_of_many_frames_arrives_whole(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """Above frame_max (128 KiB) a body is cut; what is above max_message_bytes is refused before it is sent."""
    queue = make_queue()
    value = secrets.token_bytes(1_000_003)
    with rabbit.producer() as producer:
        producer.send(queue, value).result(10)
        assert rabbit.limits == Limits(16 * 1024 * 1024)
        with pytest.raises(mq.Rejected, match="max_message_bytes"):
            producer.send(queue, b"x" * (16 * 1024 * 1024 + 1))
        too_wide = producer.send(queue, b"", headers={"h": b"x" * 140_000})
        assert isinstance(too_wide.exception(10), mq.Rejected)
        producer.send(queue, b"after").result(10)
    assert [body for _, _, body in raw.drain(rabbitmq_url, queue.name)] == [value, b"after"]


def test_a_message_that_amqp_cannot_carry_fails_alone(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """A lone surrogate in the id, an expiry beyond the broker's, a header that the broker would close the channel over:
    the neighbours are confirmed, on the same channel."""
    queue = make_queue()
    with rabbit.producer() as producer:
        producer.send(queue, b"warm").result(10)
        odd = [
            producer.send(queue, b"bad", message_id="\ud800"),
            producer.send(queue, b"bad", expires_in_s=10**9),
        ]
        good = [producer.send(queue, b"good", headers={"CC": b"x", "x-death": b"y"}), producer.send(queue, b"good")]
        assert {type(receipt.exception(10)) for receipt in odd} == {mq.InvalidSpec}
        assert [receipt.exception(10) for receipt in good] == [None, None]
    with rabbit.consumer(queue) as consumer:
        delivered = take(consumer, 3)
    assert delivered[1].headers.pairs == (("CC", b"x"), ("x-death", b"y"))


def test_exchanges_route_as_amqp_says(rabbit: mq.Bus, make_queue: MakeQueue, make_exchange: MakeExchange) -> None:
    """Topic words, headers of bytes against bindings of text, an alternate exchange, exchange to exchange: one copy."""
    words, marked, rest = make_queue(), make_queue(), make_queue()
    spare = make_exchange(type="fanout")
    topics = make_exchange(type="topic", alternate=spare)
    headers = make_exchange(type="headers")
    for binding in (
        mq.Binding(topics, words, key="a.*"),
        mq.Binding(topics, words, key="#.b"),
        mq.Binding(spare, rest),
        mq.Binding(headers, marked, headers={"kind": "red"}),
        mq.Binding(headers, topics, headers={"kind": "on"}),
    ):
        rabbit.admin.bind(binding)
    with rabbit.producer() as producer:
        producer.send(topics, b"1", routing_key="a.b").result(10)
        producer.send(topics, b"2", routing_key="c.d").result(10)
        producer.send(headers, b"3", headers={"kind": b"red"}).result(10)
        producer.send(headers, b"4", headers={"kind": b"on"}, routing_key="a.x").result(10)
        assert isinstance(producer.send(headers, b"5", headers={"kind": b"blue"}).exception(10), mq.Unroutable)
    for queue, expected in ((words, [(b"1", "a.b"), (b"4", "a.x")]), (rest, [(b"2", "c.d")]), (marked, [(b"3", "")])):
        with rabbit.consumer(queue) as consumer:
            got = take(consumer, len(expected))
            assert [(one.value, one.routing_key) for one in got] == expected
            for delivery in got:
                delivery.ack()
