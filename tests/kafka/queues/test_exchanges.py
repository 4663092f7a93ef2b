"""Exchanges on a real broker: what is written where, and what the sender hears."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.spi import ExchangeDescription
from tests.kafka.queues.raw import client, fresh_name, header, records, send, topics, until


def _queue(bus: mq.Bus) -> mq.Queue[bytes]:
    queue = mq.Queue(fresh_name(), dead_letter=None)
    bus.admin.ensure(queue)
    return queue


def _values(url: str, queue: mq.Queue[bytes]) -> list[bytes | None]:
    return [message.value() for message in records(url, f"{queue.name}.mqq")]


@pytest.mark.parametrize(
    ("type_", "binding", "matching", "other"),
    [
        ("direct", {"key": "a"}, {"routing_key": "a"}, {"routing_key": "b"}),
        ("topic", {"key": "a.*.#"}, {"routing_key": "a.b.c"}, {"routing_key": "a"}),
        ("headers", {"headers": {"h": "x"}, "match": "all"}, {"headers": {"h": "x"}}, {"headers": {"h": "y"}}),
    ],
)
def test_each_type_routes_by_its_rule(
    bus: mq.Bus,
    kafka_url: str,
    type_: Any,
    binding: dict[str, Any],
    matching: dict[str, Any],
    other: dict[str, Any],
) -> None:
    """What matches is in the queue once, with its routing key; what does not is Unroutable and nowhere."""
    exchange, queue = mq.Exchange(fresh_name(), type=type_), _queue(bus)
    bus.admin.ensure(exchange, mq.Binding(exchange, queue, **binding))
    send(bus, exchange, b"in", **matching)
    with pytest.raises(mq.Unroutable):
        send(bus, exchange, b"out", **other)
    (message,) = records(kafka_url, f"{queue.name}.mqq")
    assert message.value() == b"in"
    assert header(message, "mqbridge-key-routing") == matching.get("routing_key", "").encode()


def test_a_fanout_through_an_exchange_and_an_alternate_reaches_each_queue_once(bus: mq.Bus, kafka_url: str) -> None:
    """Two ways to a queue are one copy; what a direct exchange does not route goes to its alternate."""
    fanout, alternate = mq.Exchange(fresh_name(), type="fanout"), mq.Exchange(fresh_name(), type="fanout")
    direct = mq.Exchange(fresh_name(), type="direct", alternate=alternate)
    a, b = _queue(bus), _queue(bus)
    bus.admin.ensure(
        fanout,
        alternate,
        direct,
        mq.Binding(fanout, a),
        mq.Binding(fanout, b),
        mq.Binding(direct, fanout, key="k"),
        mq.Binding(direct, a, key="k"),
        mq.Binding(alternate, b),
    )
    send(bus, direct, b"1", routing_key="k")
    send(bus, direct, b"2", routing_key="none")
    assert (_values(kafka_url, a), _values(kafka_url, b)) == ([b"1"], [b"1", b"2"])


def test_a_new_binding_is_seen_by_an_open_sender_of_another_connection(bus: mq.Bus, kafka_url: str) -> None:
    """Within a second after bind() returned elsewhere, a sender that was open before routes by it."""
    exchange, queue = mq.Exchange(fresh_name(), type="fanout"), _queue(bus)
    bus.admin.ensure(exchange)
    with mq.connect(kafka_url) as other, other.producer() as producer:
        with pytest.raises(mq.Unroutable):
            producer.send(exchange, b"early").result(10)
        bus.admin.bind(mq.Binding(exchange, queue))
        begun = threading.Event()
        timer = threading.Timer(1.0, begun.set)
        timer.start()

        def routed() -> bool:
            try:
                producer.send(exchange, b"late").result(10)
            except mq.Unroutable:
                assert not begun.is_set(), "a binding was not seen within a second"
                return False
            return True

        until(routed, "the binding")
        timer.cancel()
        bus.admin.unbind(mq.Binding(exchange, queue))

        def gone() -> bool:
            try:
                producer.send(exchange, b"gone").result(10)
            except mq.Unroutable:
                return True
            return False

        until(gone, "the end of the binding")


def test_a_partial_failure_is_unknown_and_names_who_has_it(bus: mq.Bus, kafka_url: str) -> None:
    """One of two queues' topics was removed behind the library's back: the error names the queue that got it."""
    exchange, good, bad = mq.Exchange(fresh_name(), type="fanout"), _queue(bus), _queue(bus)
    bus.admin.ensure(exchange, mq.Binding(exchange, good), mq.Binding(exchange, bad))
    admin = client(kafka_url)
    admin.delete_topics([f"{bad.name}.mqq"])[f"{bad.name}.mqq"].result(10)
    with bus.producer(delivery_timeout_s=8.0) as producer, pytest.raises(mq.MqbridgeError) as caught:
        producer.send(exchange, b"v").result(20)
    assert caught.value.outcome == "unknown"
    assert good.name in str(caught.value)
    assert vars(caught.value)["applied"] == (good.name,)
    assert vars(caught.value)["failed"] == (bad.name,)
    assert _values(kafka_url, good) == [b"v"]
    assert f"{bad.name}.mqq" not in topics(kafka_url)


def test_a_missing_exchange_is_not_found(bus: mq.Bus, kafka_url: str) -> None:
    """Opening an exchange that nobody ensured fails, and makes nothing."""
    name = fresh_name()
    with bus.producer() as producer, pytest.raises(mq.NotFound):
        producer.send(mq.Exchange(name), b"v")
    assert not [topic for topic in topics(kafka_url) if name in topic]


def test_bindings_do_not_outlive_what_they_were_made_for(bus: mq.Bus) -> None:
    """A queue, or an exchange, that is deleted and made again has none of the bindings of its namesake."""
    exchange, queue = mq.Exchange(fresh_name(), type="fanout"), _queue(bus)
    binding = mq.Binding(exchange, queue)
    bus.admin.ensure(exchange, binding)
    bus.admin.delete(queue)
    bus.admin.ensure(queue)
    found = bus.admin.describe(exchange)
    assert isinstance(found, ExchangeDescription)
    assert found.bindings == ()
    bus.admin.bind(binding)
    bus.admin.delete(exchange)
    bus.admin.ensure(exchange)
    found = bus.admin.describe(exchange)
    assert isinstance(found, ExchangeDescription)
    assert found.bindings == ()


def test_concurrent_writers_do_not_lose_bindings(kafka_url: str) -> None:
    """Four connections bind four queues each to one exchange at the same time: all sixteen stand, for each of them."""
    exchange = mq.Exchange(fresh_name(), type="topic")
    buses = [mq.connect(kafka_url) for _ in range(4)]
    queue = _queue(buses[0])
    try:
        buses[0].admin.ensure(exchange)
        bindings = [[mq.Binding(exchange, queue, key=f"{n}.{m}") for m in range(4)] for n in range(4)]
        threads = [
            threading.Thread(target=bus.admin.ensure, args=mine) for bus, mine in zip(buses, bindings, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = {binding.key for mine in bindings for binding in mine}
        for bus in buses:
            found = bus.admin.describe(exchange)
            assert isinstance(found, ExchangeDescription)
            assert {binding.key for binding in found.bindings} == wanted
    finally:
        for bus in buses:
            bus.close()
