"""What AMQP carries of a message, without a broker."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge.messages import read_death
from mqbridge.semantics import reserved
from mqbridge_rabbitmq import records

NAMES = st.text(min_size=1, max_size=12).filter(lambda name: not name.startswith(("mqbridge-", "x-")))
PAIRS = st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=6).map(tuple)


def over_the_wire(properties: Any) -> Any:
    """As pika encodes and decodes it."""
    read = pika.BasicProperties()
    read.decode(b"".join(properties.encode()))
    return read


@given(PAIRS, st.none() | st.binary(max_size=9), st.integers(-(2**52), 2**52), st.none() | st.text(max_size=300))
def test_everything_of_a_message_comes_back(
    pairs: tuple[tuple[str, bytes], ...], key: bytes | None, timestamp_ms: int, message_id: str | None
) -> None:
    """Repeated names, empty keys, times before 1970 and ids longer than a short string survive the encoding."""
    table = records.table(key, False, pairs, timestamp_ms, message_id)
    read = over_the_wire(records.properties(table, timestamp_ms, message_id))
    assert (records.pairs_of(read) or ()) == _with_long_id(pairs, message_id)
    assert records.key_of(read) == key
    assert records.timestamp_ms_of(read) == timestamp_ms
    assert records.message_id_of(read) == message_id


def _with_long_id(pairs: tuple[tuple[str, bytes], ...], message_id: str | None) -> tuple[tuple[str, bytes], ...]:
    if message_id is None or len(message_id.encode()) <= records.MAX_SHORT:
        return pairs
    return (*pairs, (reserved.MESSAGE_ID, message_id.encode()))


@pytest.mark.parametrize("name", ["n" * 300, "CC", "BCC", "x-death", "x-delivery-count"])
def test_a_header_name_that_amqp_keeps_for_itself_travels_with_the_others(name: str) -> None:
    """A name above 255 bytes would make pika raise; CC of another type than AMQP's would cost the channel; x-death
    would be taken for the broker's."""
    pairs = ((name, b"1"), ("short", b"2"))
    assert name not in records.table(None, False, pairs, 0, None)
    read = over_the_wire(records.properties(records.table(None, False, pairs, 0, None), 0, None))
    assert records.pairs_of(read) == pairs


def test_a_null_value_is_not_an_empty_one() -> None:
    """Both have an empty body; only one has the mark."""
    null = records.properties(records.table(None, True, None, 0, None), 0, None)
    empty = records.properties(records.table(None, False, None, 0, None), 0, None)
    assert records.value_of(over_the_wire(null), b"") is None
    assert records.value_of(over_the_wire(empty), b"") == b""


def test_a_foreign_message_decodes() -> None:
    """Values of every AMQP type become their text, the time is read from the seconds, and a message without any
    properties has none of it."""
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    foreign = over_the_wire(
        pika.BasicProperties(
            headers={"s": "é", "n": 5, "big": 2**40, "t": True, "none": None, "list": [1, "a"], "at": at},
            message_id="id",
            timestamp=1000,
        )
    )
    assert dict(records.pairs_of(foreign) or ()) == {
        "s": "é".encode(),
        "n": b"5",
        "big": b"1099511627776",
        "t": b"true",
        "none": b"",
        "list": b'[1, "a"]',
        "at": b"2026-01-02T00:00:00+00:00",
    }
    assert records.timestamp_ms_of(foreign) == 1_000_000
    assert (records.message_id_of(foreign), records.key_of(foreign)) == ("id", None)
    bare = over_the_wire(pika.BasicProperties())
    assert records.pairs_of(bare) is None
    assert records.timestamp_ms_of(bare, 77) == 77
    assert records.message_id_of(bare) is None


def test_a_message_through_an_exchange_keeps_its_routing_key() -> None:
    """Of a foreign one it is read from the envelope, of our own from the header, which a dead-lettering leaves
    alone."""
    assert records.pairs_of(pika.BasicProperties(), "events", "a.b") == ((reserved.ROUTING_KEY, b"a.b"),)
    own = pika.BasicProperties(headers=records.table(None, False, None, 0, None, "a.b"))
    assert records.pairs_of(own, "events", "other") == ((reserved.ROUTING_KEY, b"a.b"),)


@pytest.mark.parametrize(
    ("broker", "portable"),
    [("rejected", "rejected"), ("expired", "expired"), ("maxlen", "max-length"), ("delivery_limit", "max-attempts")],
)
def test_each_reason_of_the_broker_is_one_of_the_four(broker: str, portable: str) -> None:
    """x-death's newest entry is the death; the count of attempts is what the queue counted."""
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    headers = {
        "x-death": [
            {"reason": broker, "queue": "work", "count": 1, "time": at, "exchange": "", "routing-keys": ["work"]},
            {"reason": "rejected", "queue": "older", "count": 1, "time": at, "exchange": "", "routing-keys": ["older"]},
        ],
        "x-delivery-count": 3,
        "x-first-death-queue": "older",
    }
    pairs = records.pairs_of(over_the_wire(pika.BasicProperties(headers=headers)), "", "work.dlq")
    death = read_death(pairs)
    assert death is not None
    assert (death.reason, death.origin, death.attempts, death.error, death.at) == (portable, "queue:work", 3, None, at)
    assert all(name.startswith(reserved.PREFIX) for name, _ in pairs or ())


def test_a_later_death_by_the_broker_wins_over_what_a_consumer_wrote() -> None:
    """A message rejected with a text, that then expired in the dead-letter queue, died of expiry there."""
    headers = {
        **records.death_table("rejected", "work", 2, 5, "bad"),
        "x-death": [{"reason": "expired", "queue": "work.dlq", "count": 1}],
    }
    death = read_death(records.pairs_of(pika.BasicProperties(headers=headers)))
    assert death is not None
    assert (death.reason, death.origin, death.error) == ("expired", "queue:work.dlq", None)


def test_a_copy_has_the_senders_properties_and_none_of_the_brokers() -> None:
    """A redriven message counts anew and expires no more; what its sender gave stays."""
    headers = {"h": b"1", "x-death": [{}], "x-delivery-count": 4, records.SEQUENCE: 9, records.KEY: b"k"}
    headers |= records.death_table("rejected", "work", 2, 5, "bad")
    headers |= {"CC": ["other"], "BCC": ["another"]}  # the broker would send the copy there too
    properties = pika.BasicProperties(headers=headers, message_id="id", expiration="5", priority=3, content_type="t")
    copy = records.copied(properties, {})
    assert copy.headers == {"h": b"1", records.KEY: b"k"}
    assert (copy.message_id, copy.expiration, copy.priority, copy.content_type) == ("id", None, 3, "t")
    assert copy.delivery_mode == 2


@pytest.mark.parametrize(
    ("headers", "redelivered", "attempt"),
    [
        (None, False, 1),
        ({}, True, 2),  # a classic queue tells no more
        ({"x-acquired-count": 1}, True, 1),  # released
        ({"x-acquired-count": 2, "x-delivery-count": 1}, True, 2),
        ({"x-acquired-count": 3, "x-delivery-count": 3, "x-death": [{}]}, False, 1),  # the count of where it died
        ({"x-acquired-count": 1, "x-delivery-count": 4, "x-death": [{}]}, True, 2),
    ],
)
def test_attempts_count_failures_not_deliveries(
    headers: dict[str, Any] | None, redelivered: bool, attempt: int
) -> None:
    """As measured on RabbitMQ 4.3.6: a release raises the acquired count alone."""
    assert records.attempt_of(pika.BasicProperties(headers=headers), redelivered) == attempt
