"""Publish frames, octet by octet as pika's."""

from __future__ import annotations

from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from mqbridge_rabbitmq import framing, records

TEXT = st.text(max_size=20)


@given(st.integers(1, 2047), TEXT, TEXT)
def test_the_method_frame_is_pikas(channel: int, exchange: str, routing_key: str) -> None:
    """A mandatory basic.publish."""
    method: Any = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    assert framing.method(channel, exchange, routing_key) == frame.Method(channel, method).marshal()


@given(
    st.binary(max_size=100),
    st.integers(1, 2**40),
    st.integers(-(2**50), 2**50),
    st.dictionaries(TEXT, st.binary(max_size=9), max_size=3),
    st.integers(0, 255),
    TEXT,
    st.none() | st.integers(0, 2**40),
)
def test_the_header_frame_reads_as_the_properties(
    body: bytes,
    sequence: int,
    timestamp_ms: int,
    further: dict[str, bytes],
    priority: int,
    message_id: str,
    expires_ms: int | None,
) -> None:
    """What pika reads from it is what the properties of the slow way hold."""
    expiration = b"" if expires_ms is None else b"%d" % expires_ms
    fields = framing.fields(further)
    encoded = framing.header(7, len(body), sequence, timestamp_ms, fields, priority, message_id.encode(), expiration)
    size, read = frame.decode_frame(encoded)
    assert size == len(encoded)
    assert isinstance(read, frame.Header)
    assert (read.channel_number, read.body_size) == (7, len(body))
    expected = records.properties(
        {records.SEQUENCE: sequence, records.TIMESTAMP_MS: timestamp_ms, **further},
        timestamp_ms,
        message_id or None,
        priority=priority,
        expires_in_ms=expires_ms,
    )
    for name in vars(expected):
        assert getattr(read.properties, name) == getattr(expected, name), name


@pytest.mark.parametrize("size", [0, 1, 92, 93, 500])
def test_a_body_is_cut_at_frame_max(size: int) -> None:
    """No frame is larger than was negotiated, and an empty body has none (AMQP 0-9-1, 2.3.5.2)."""
    content = bytes(range(256)) * 2
    content = content[:size]
    encoded, read = framing.body(1, content, 100), b""
    while encoded:
        used, one = frame.decode_frame(encoded)
        assert 0 < used <= 100
        assert isinstance(one, frame.Body)
        read += one.fragment
        encoded = encoded[used:]
    assert read == content


def test_a_copys_header_is_what_pika_makes_of_its_properties() -> None:
    """Copies carry whatever their producer gave, so pika encodes them."""
    properties = pika.BasicProperties(content_type="text/plain", headers={"a": 1}, reply_to="x")
    _, read = frame.decode_frame(framing.properties_header(3, 10, properties))
    assert isinstance(read, frame.Header)
    assert read.properties == properties
