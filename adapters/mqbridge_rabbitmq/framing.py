"""The frames of a publish, as bytes. The rule: what a reader decodes is what it would decode of pika's frames; made in
one piece and without pika's objects. The octets may differ: numbers in the table are always 64 bits wide here (``l``),
where pika takes the narrowest type.

AMQP 0-9-1, 2.3.5 (frames) and 4.2.6 (content): a method frame, a header frame, body frames. pika builds three objects
and some twenty small strings for each message; most of them are the same for every message of a destination.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from pika import data, frame, spec

from mqbridge_rabbitmq import records

_FRAME: Final = struct.Struct(">BHI")
_HEADER: Final = struct.Struct(">HHQHI")
_STAMPS: Final = struct.Struct(">q")
_TIMESTAMP: Final = struct.Struct(">Q")
_END: Final = b"\xce"
_BASIC: Final = 60
_OVERHEAD: Final = 8
"""Of each frame: type, channel, size and end."""

# Which properties follow, in the order of the flags (AMQP 0-9-1, 4.2.6.1).
_HEADERS, _MODE, _PRIORITY = 1 << 13, 1 << 12, 1 << 11
_EXPIRATION, _MESSAGE_ID, _TIME = 1 << 8, 1 << 7, 1 << 6


def _short(text: bytes) -> bytes:
    return bytes((len(text),)) + text


_SEQUENCE: Final = _short(records.SEQUENCE.encode()) + b"l"
_MILLIS: Final = _short(records.TIMESTAMP_MS.encode()) + b"l"
_STATIC: Final = len(_SEQUENCE) + len(_MILLIS) + 16


def method(channel: int, exchange: str, routing_key: str) -> bytes:
    """The frame of a mandatory basic.publish."""
    payload = (
        struct.pack(">HHH", _BASIC, 40, 0) + _short(exchange.encode()) + _short(routing_key.encode()) + b"\x01"
    )  # bit 0: mandatory
    return _FRAME.pack(1, channel, len(payload)) + payload + _END


def header(
    channel: int,
    body_bytes: int,
    sequence: int,
    timestamp_ms: int,
    further: bytes,
    priority: int,
    message_id: bytes,
    expiration: bytes,
) -> bytes:
    """The content header. `further` are encoded fields of the header table; an empty id or expiration is left out."""
    flags = _HEADERS | _MODE | _PRIORITY | _TIME
    tail = bytes((2, priority))
    if expiration:
        flags |= _EXPIRATION
        tail += _short(expiration)
    if message_id:
        flags |= _MESSAGE_ID
        tail += _short(message_id)
    payload = b"".join(
        (
            _HEADER.pack(_BASIC, 0, body_bytes, flags, _STATIC + len(further)),
            _SEQUENCE,
            _STAMPS.pack(sequence),
            _MILLIS,
            _STAMPS.pack(timestamp_ms),
            further,
            tail,
            _TIMESTAMP.pack(timestamp_ms // 1000 if timestamp_ms > 0 else 0),
        )
    )
    return b"%b%b\xce" % (_FRAME.pack(2, channel, len(payload)), payload)


def fields(table: Mapping[str, Any]) -> bytes:
    """Encoded fields of a header table, as pika encodes them, without the table's length."""
    pieces: list[bytes] = []
    for name, value in table.items():
        data.encode_short_string(pieces, name)
        data.encode_value(pieces, value)
    return b"".join(pieces)


def body(channel: int, content: bytes, frame_max: int) -> bytes:
    """The body in frames of at most `frame_max` bytes; an empty one has none."""
    largest = frame_max - _OVERHEAD
    if len(content) <= largest:
        return b"%b%b\xce" % (_FRAME.pack(3, channel, len(content)), content) if content else b""
    return b"".join(body(channel, content[at : at + largest], frame_max) for at in range(0, len(content), largest))


def properties_header(channel: int, body_bytes: int, properties: Any) -> bytes:
    """A content header from pika's properties: for copies, which carry whatever their producer gave."""
    encoded: bytes = frame.Header(channel, body_bytes, properties).marshal()
    return encoded


def fits(header_frame: bytes, frame_max: int) -> bool:
    """A content header has one frame (AMQP 0-9-1, 4.2.6.1): a table that does not fit would cost the connection."""
    return len(header_frame) <= frame_max


assert spec.FRAME_END == _END[0]
