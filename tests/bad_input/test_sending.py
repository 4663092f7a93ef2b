"""Errors of sending: what is refused, what fails, and what was not applied."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import mqbridge as mq
from tests.bad_input.shared import LOG, ONE, WORK, send


@pytest.mark.parametrize("destination", [mq.Topic("none"), mq.Queue("none"), mq.Exchange("none")])
def test_sending_to_what_is_missing_is_not_found_and_makes_nothing(bus: mq.Bus, destination: Any) -> None:
    """A missing destination is NotFound, a LookupError, and is not created by sending."""
    with bus.producer() as producer, pytest.raises(mq.NotFound) as caught:
        producer.send(destination, b"x")
    assert isinstance(caught.value, LookupError)
    names = [d.name for d in (*bus.admin.list_topics(), *bus.admin.list_queues(), *bus.admin.list_exchanges())]
    assert "none" not in names


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"key": 7}, "key"),
        ({"headers": {"a": 1}}, "headers"),
        ({"headers": {"mqbridge-id": b"x"}}, "headers"),
        ({"headers": {7: b"x"}}, "headers"),
        ({"timestamp": 7}, "timestamp"),
        ({"message_id": 7}, "message_id"),
        ({"routing_key": "a.b"}, "routing_key"),
    ],
)
def test_wrong_arguments_of_send_name_their_field(bus: mq.Bus, options: dict[str, Any], field: str) -> None:
    """A key, header, timestamp or routing key of the wrong kind is refused, and nothing is sent."""
    with bus.producer() as producer:
        with pytest.raises(mq.InvalidSpec) as caught:
            producer.send(ONE, b"x", **options)
        assert caught.value.field == field
    assert bus.admin.offsets(ONE)[0].end == 0


def test_a_naive_timestamp_is_refused(bus: mq.Bus) -> None:
    """A timestamp without a time zone would mean another moment on another machine."""
    with bus.producer() as producer, pytest.raises(mq.ConfigurationError, match="time zone"):
        producer.send(ONE, b"x", timestamp=dt.datetime(2026, 1, 1))


@pytest.mark.parametrize("options", [{"priority": 1}, {"delay_s": 1.0}, {"expires_in_s": 1.0}])
def test_queue_arguments_on_a_topic_are_unsupported(bus: mq.Bus, options: dict[str, Any]) -> None:
    """A log has no priority, delay or expiry: the argument is refused, with what to use instead."""
    with bus.producer() as producer, pytest.raises(mq.Unsupported) as caught:
        producer.send(ONE, b"x", **options)
    assert caught.value.instead
    assert bus.admin.offsets(ONE)[0].end == 0


def test_too_large_is_rejected_before_sending(bus: mq.Bus) -> None:
    """A message above the engine's limit is Rejected with both sizes; one at the limit goes through."""
    limit = bus.limits.max_message_bytes
    with bus.producer() as producer:
        with pytest.raises(mq.Rejected, match=str(limit)) as caught:
            producer.send(ONE, b"x" * (limit + 1))
        assert not caught.value.retryable
        with pytest.raises(mq.Rejected):
            producer.send(ONE, b"x" * limit, headers={"h": b"y"})
        assert producer.send(ONE, b"x" * limit).result().offset == 0


def test_values_the_codec_cannot_take_are_codec_errors(bus: mq.Bus) -> None:
    """What a codec cannot encode is refused in send(), and nothing is sent."""
    with bus.producer() as producer:
        with pytest.raises(mq.CodecError, match="Nothing was sent"):
            producer.send(mq.Topic("single", codec=mq.codecs.json), {"x": object()})
        with pytest.raises(mq.CodecError):
            producer.send(ONE, "text")  # type: ignore[misc]
        with pytest.raises(mq.InvalidSpec, match="nullable"):
            producer.send(mq.Topic("single", nullable=False), None)
    assert bus.admin.offsets(ONE)[0].end == 0


def test_unroutable_fails_the_receipt(bus: mq.Bus) -> None:
    """A message that no binding matches fails with Unroutable; others of the same batch are applied."""
    exchange = mq.Exchange("events", type="direct")
    bus.admin.ensure(exchange, mq.Binding(exchange, WORK, key="yes"))
    with bus.producer() as producer:
        receipts = [producer.send(exchange, b"x", routing_key=key) for key in ("yes", "no", "yes")]
        assert isinstance(receipts[1].exception(5), mq.Unroutable)
        assert receipts[0].result(5)
        assert receipts[2].result(5)
    assert bus.admin.depth(WORK) == 2


def test_a_full_queue_rejects(bus: mq.Bus) -> None:
    """A queue at its limit rejects the message, which is not applied and may be tried again."""
    short = mq.Queue("short", max_length=2)
    bus.admin.ensure(short)
    with bus.producer() as producer:
        receipts = [producer.send(short, b"x") for _ in range(3)]
        error = receipts[2].exception(5)
        assert isinstance(error, mq.Rejected)
        assert error.outcome == "not_applied"
        receipts[0].result(5)
    assert bus.admin.depth(short) == 2


def test_failures_nobody_saw_raise_send_failed(bus: mq.Bus) -> None:
    """Leaving the producer raises one SendFailed with the count, the first failures and their outcomes."""
    short = mq.Queue("short", max_length=1)
    bus.admin.ensure(short)
    with pytest.raises(mq.SendFailed) as caught:
        send(bus, short, *[b"x"] * 30)
    assert caught.value.count == 29
    assert len(caught.value.failures) == 20
    assert caught.value.outcomes == {"not_applied": 29}


def test_the_bodys_exception_wins(bus: mq.Bus) -> None:
    """When the body of `with` raised, its exception comes out, with the send failures attached as a note."""
    short = mq.Queue("short", max_length=1)
    bus.admin.ensure(short)

    def body() -> None:
        with bus.producer() as producer:
            producer.send(short, b"x")
            producer.send(short, b"x")
            raise KeyError("body")

    with pytest.raises(KeyError) as caught:
        body()
    assert any("SendFailed" in note for note in caught.value.__notes__)


def test_refused_producer_options() -> None:
    """Options that the engine cannot honour are refused when the producer is made."""
    with mq.connect("native:") as bus:
        for options in ({"acks": "none"}, {"idempotent": True}, {"compression": "zstd"}):
            with pytest.raises(mq.Unsupported):
                bus.producer(**options)
        for wrong in ({"acks": "some"}, {"linger_s": -1.0}, {"partitioner": "random"}):
            with pytest.raises(mq.ConfigurationError):
                bus.producer(**wrong)


def test_a_partitioner_outside_the_topic_is_refused(bus: mq.Bus) -> None:
    """A custom partitioner that names no partition of the topic is refused, and nothing is sent."""
    with bus.producer(partitioner=lambda *_: 99) as producer, pytest.raises(mq.ConfigurationError, match="99"):
        producer.send(LOG, b"x")
    assert sum(o.end for o in bus.admin.offsets(LOG).values()) == 0
