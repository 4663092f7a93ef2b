"""Queues' administration on a real broker."""

from __future__ import annotations

import threading

import pytest

import mqbridge as mq
from mqbridge.spi import ExchangeDescription, QueueDescription
from tests.kafka.queues.raw import (
    client,
    collect,
    fresh_name,
    header,
    nothing_comes,
    records,
    send,
    taken_outside,
    topics,
)


def test_a_queue_stands_as_it_was_specified_for_every_connection(bus: mq.Bus, kafka_url: str) -> None:
    """Ensuring twice changes nothing, another connection reads the same, and another specification is a Mismatch."""
    queue = mq.Queue(fresh_name(), max_attempts=4, message_ttl_s=60.0)
    bus.admin.ensure(queue)
    bus.admin.ensure(queue)
    with mq.connect(kafka_url) as other:
        described = other.admin.describe(queue)
        assert isinstance(described, QueueDescription)
        assert (described.queue.max_attempts, described.queue.message_ttl_s) == (4, 60.0)
        assert described.queue.dead_letter == mq.Queue(f"{queue.name}.dlq")
        assert described.ready is None
        assert queue in other.admin.list_queues()
        assert {change.action for change in other.admin.plan(queue)} == {"keep"}
        with pytest.raises(mq.Mismatch) as caught:
            other.admin.ensure(mq.Queue(queue.name, max_attempts=5))
        assert caught.value.differences == (("max_attempts", 5, 4),)
    assert not [topic for topic in bus.admin.list_topics() if queue.name in topic.name]


def test_of_two_creators_the_first_one_stands(kafka_url: str) -> None:
    """Two connections ensure one exchange of two types at once: one is told Mismatch, and both read the same."""
    buses = [mq.connect(kafka_url) for _ in range(2)]
    name = fresh_name()
    specs = [mq.Exchange(name, type="topic"), mq.Exchange(name, type="fanout")]
    refused: list[int] = []
    start = threading.Barrier(2)

    def ensure(place: int) -> None:
        start.wait()
        try:
            buses[place].admin.ensure(specs[place])
        except mq.Mismatch:
            refused.append(place)

    try:
        threads = [threading.Thread(target=ensure, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (loser,) = refused
        for bus in buses:
            found = bus.admin.describe(specs[0])
            assert isinstance(found, ExchangeDescription)
            assert found.exchange.type == specs[1 - loser].type
    finally:
        for bus in buses:
            bus.close()


def test_a_topic_a_queue_and_an_exchange_may_share_a_name(bus: mq.Bus, kafka_url: str) -> None:
    """Each is made, listed and deleted for itself."""
    name = fresh_name()
    topic, queue, exchange = mq.Topic(name), mq.Queue(name, dead_letter=None), mq.Exchange(name)
    bus.admin.ensure(topic, queue, exchange)
    assert {name, f"{name}.mqq"} <= topics(kafka_url)
    bus.admin.delete(queue)
    assert f"{name}.mqq" not in topics(kafka_url)
    assert bus.admin.describe(topic)
    assert bus.admin.describe(exchange)
    with pytest.raises(mq.NotFound):
        bus.admin.describe(queue)
    with pytest.raises(mq.NotFound):
        bus.admin.delete(queue)


def test_ensure_mends_a_queue_whose_topic_is_gone(bus: mq.Bus, kafka_url: str) -> None:
    """Without its topic a queue is not found; ensuring it again makes the topic, and it works."""
    queue = mq.Queue(fresh_name(), dead_letter=None)
    bus.admin.ensure(queue)
    admin = client(kafka_url)
    admin.delete_topics([f"{queue.name}.mqq"])[f"{queue.name}.mqq"].result(10)
    with pytest.raises(mq.NotFound):
        bus.admin.describe(queue)
    bus.admin.ensure(queue)
    with bus.consumer(queue) as consumer:
        send(bus, queue, b"v")
        collect(consumer, 1)[0].ack()


def test_purge_drops_what_waits(bus: mq.Bus) -> None:
    """After purge() nothing that was sent before comes, and what is sent afterwards does."""
    queue = mq.Queue(fresh_name())
    bus.admin.ensure(queue)
    send(bus, queue, *(b"%d" % n for n in range(7)))
    assert bus.admin.purge(queue) == 7
    assert bus.admin.purge(queue) == 0
    send(bus, queue, b"new")
    with bus.consumer(queue) as consumer:
        (delivery,) = collect(consumer, 1)
        assert delivery.value == b"new"
        delivery.ack()


def test_redrive_brings_dead_letters_back_as_they_were(bus: mq.Bus, kafka_url: str) -> None:
    """They come as attempt 1, with id, key and headers, without death; the dead-letter queue is empty then."""
    queue = mq.Queue(fresh_name())
    bus.admin.ensure(queue)
    for n in range(5):
        send(bus, queue, b"%d" % n, key=b"k", headers={"h": "v"}, message_id=f"id-{n}")
    with bus.consumer(queue) as consumer:
        for delivery in collect(consumer, 5):
            delivery.reject("bad")
        consumer.commit()
    assert bus.admin.redrive(queue, max_messages=2) == 2
    assert bus.admin.redrive(queue) == 3
    assert taken_outside(kafka_url, f"{queue.name}.dlq", 0.8) == []
    with bus.consumer(queue) as consumer:
        found = collect(consumer, 5)
        assert {(d.message_id, d.attempt, d.death, d.key) for d in found} == {
            (f"id-{n}", 1, None, b"k") for n in range(5)
        }
        assert {d.headers["h"] for d in found} == {b"v"}
        for delivery in found:
            delivery.ack()
        consumer.commit()
        assert nothing_comes(consumer, 0.3)
    assert all(header(m, "mqbridge-death-reason") is None for m in records(kafka_url, f"{queue.name}.mqq")[5:])


def test_what_a_share_group_cannot_do_is_refused(bus: mq.Bus) -> None:
    """Looking into a dead-letter queue and moving single letters are refused by name, before anything is touched."""
    queue = mq.Queue(fresh_name())
    bus.admin.ensure(queue)
    with pytest.raises(mq.Unsupported) as caught:
        bus.admin.dead_letters(queue)
    assert caught.value.capability == "BROWSE_DEAD_LETTERS"
    with pytest.raises(mq.Unsupported) as caught:
        bus.admin.redrive(queue, tokens=[1])
    assert caught.value.capability == "REDRIVE"
    for refused in (mq.Queue(fresh_name(), max_length=5), mq.Queue(fresh_name(), single_active=True)):
        with pytest.raises(mq.Unsupported):
            bus.admin.ensure(refused)
