"""Producers of the client that are cut off are replaced, and what they had is answered for."""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_kafka import cut_off, outlet
from mqbridge_kafka.resending import _Waiting
from mqbridge_kafka.sending import KafkaSender
from tests.kafka.astray import astray
from tests.kafka.topics.raw import Raw

FIELDS: Any = {"headers": [("a", b"1"), ("a", b"2")], "timestamp": dt.datetime(2020, 2, 3, tzinfo=dt.UTC)}


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The first producer that is made from here on writes nothing, and is cut off once this is set."""
    lost = threading.Event()
    monkeypatch.setattr(outlet, "Producer", astray(Producer, lost))
    monkeypatch.setattr(cut_off, "CHECK_S", 0.3)
    return lost


def test_what_a_lost_producer_had_is_unknown_and_the_next_message_goes_out(
    bus: mq.Bus, raw: Raw, lost: threading.Event
) -> None:
    """Long before the delivery timeout the old messages are answered for, and the same producer goes on."""
    topic = raw.topic()
    with bus.producer(delivery_timeout_s=60.0) as producer:
        old = [producer.send(topic, b"old", key=b"k") for _ in range(20)]
        lost.set()
        for receipt in old:
            error = receipt.exception(30)
            assert isinstance(error, mq.ConnectionLost)
            assert (error.outcome, "replaced by a new one" in str(error)) == ("unknown", True)
        assert producer.send(topic, b"new", key=b"k").result(30).offset == 0
        assert len(producer.unwrap(Producer)) == 0
    assert [message.value() for message in raw.records(topic.name)] == [b"new"]


def test_order_is_kept_while_a_producer_is_replaced_under_a_sender(
    bus: mq.Bus, raw: Raw, lost: threading.Event
) -> None:
    """Whoever sends meanwhile waits for the new producer; each message ends once, unknown ones first, and the log has
    the confirmed ones in the order of their sends."""
    topic = raw.topic()
    receipts: list[mq.Receipt] = []
    pause, stop = threading.Event(), threading.Event()
    with bus.producer(delivery_timeout_s=60.0) as producer:

        def send() -> None:
            while not stop.is_set():
                receipts.append(producer.send(topic, b"%d" % len(receipts)))
                pause.wait(0.0005)

        sender = threading.Thread(target=send)
        sender.start()
        first = wait_until(lambda: receipts)[0]
        lost.set()
        first.exception(30)
        written = len(receipts) + 100
        wait_until(lambda: len(receipts) > written)
        stop.set()
        sender.join(60)
        assert not sender.is_alive()
        ends = [receipt.exception(30) for receipt in receipts]
    unknown = [error for error in ends if error is not None]
    assert ends == unknown + [None] * (len(ends) - len(unknown))
    assert 0 < len(unknown) < len(ends)
    expected = [b"%d" % number for number in range(len(unknown), len(ends))]
    assert [message.value() for message in raw.records(topic.name)] == expected


def test_resend_sends_what_a_lost_producer_had_before_anything_else(
    bus: mq.Bus, raw: Raw, lost: threading.Event
) -> None:
    """With on_unknown="resend" nothing fails: the log has all, as they were sent, in their order."""
    topic = raw.topic()
    with bus.producer(delivery_timeout_s=60.0, on_unknown="resend") as producer:
        old = [producer.send(topic, b"%d" % number, key=b"k", **FIELDS) for number in range(300)]
        lost.set()
        old += [producer.send(topic, b"%d" % number, key=b"k", **FIELDS) for number in range(300, 400)]
        assert [receipt.exception(30) for receipt in old] == [None] * 400
    found = raw.records(topic.name)
    assert [message.value() for message in found] == [b"%d" % number for number in range(400)]
    assert {(message.key(), message.timestamp()[1]) for message in found} == {(b"k", 1580688000000)}
    assert all(message.headers() == [("a", b"1"), ("a", b"2")] for message in found)


def test_a_producer_that_is_closed_sends_nothing_again(bus: mq.Bus, raw: Raw) -> None:
    """What waited to be given again is told as unknown, and is not given to a client that is being emptied."""
    topic = raw.topic()
    told: list[Any] = []
    written: list[int] = []
    producer = bus.producer(on_unknown="resend")
    producer.send(topic, b"before").result(20)
    (sender,) = [part for part in bus._connection.parts if isinstance(part, KafkaSender)]  # type: ignore[attr-defined]
    resending = sender.outlet._resending
    assert resending is not None
    closing = threading.Thread(target=producer.close)
    with sender.outlet._serving:  # so that nobody looks for what came before the close has begun
        letter = (topic.name, b"again", None, -1, 0, None)
        resending._left.append(_Waiting(9, time.monotonic() + 60, letter, lambda *end: told.append(end)))
        resending.write = lambda *_, **__: written.append(1)
        closing.start()
        wait_until(lambda: sender.outlet.ending)
    closing.join()
    ((error, _),) = told
    assert (error.code(), written) == (KafkaError._PURGE_INFLIGHT, [])


def test_a_full_buffer_of_a_lost_producer_lets_the_sender_go_on(bus: mq.Bus, raw: Raw, lost: threading.Event) -> None:
    """Who waits for room in it gets it from the new one, and no message is called too large meanwhile."""
    topic = raw.topic()
    with bus.producer(max_in_flight_bytes=64 << 10, max_block_s=30.0, delivery_timeout_s=60.0) as producer:
        receipts = [producer.send(topic, b"x" * 1000)]
        lost.set()
        receipts += [producer.send(topic, b"x" * 1000) for _ in range(400)]
        ends = [receipt.exception(30) for receipt in receipts]
    assert {type(error) for error in ends} == {mq.ConnectionLost, type(None)}
    assert len(raw.records(topic.name)) == ends.count(None) > 300


def test_nothing_is_too_large_for_a_producer_that_is_being_replaced(
    bus: mq.Bus, raw: Raw, lost: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the old one is empty and the new one not there yet, there is no room, which passes."""
    topic, empty = raw.topic(), outlet.Outlet._empty
    answers: list[mq.Receipt | None] = []
    with bus.producer() as producer:

        def emptied(self: outlet.Outlet) -> None:
            empty(self)
            answers.append(producer.try_send(topic, b"between"))

        old = producer.send(topic, b"old")
        monkeypatch.setattr(outlet.Outlet, "_empty", emptied)
        lost.set()
        assert isinstance(old.exception(30), mq.ConnectionLost)
        producer.send(topic, b"new").result(30)
        monkeypatch.undo()
    assert answers == [None]
    assert [message.value() for message in raw.records(topic.name)] == [b"new"]
