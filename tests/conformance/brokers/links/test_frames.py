"""Bytes are cut into the frames of their protocol, however they come, and every byte comes out again."""

from __future__ import annotations

import json
import struct

import pytest

from mqbridge_conformance.brokers.links import (
    ANSWER,
    REQUEST,
    AmqpFrames,
    Framer,
    KafkaFrames,
    NativeFrames,
    Plain,
    Way,
)


def kafka_request(key: int, correlation: int, body: bytes = b"body") -> bytes:
    rest = struct.pack(">hhi", key, 9, correlation) + body
    return struct.pack(">i", len(rest)) + rest


def kafka_response(correlation: int, body: bytes = b"answer") -> bytes:
    rest = struct.pack(">i", correlation) + body
    return struct.pack(">i", len(rest)) + rest


def amqp(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def method(number: int, method: int) -> bytes:
    return amqp(1, struct.pack(">HH", number, method) + b"arguments")


def native(batch: bytes = b"", **message: object) -> bytes:
    text = json.dumps(message).encode()
    return struct.pack("<II", 4 + len(text) + len(batch), len(text)) + text + batch


TALKS = [
    (
        KafkaFrames,
        [kafka_request(18, 1), kafka_request(0, 2), kafka_request(99, 3), kafka_request(0, 4)],
        ["ApiVersions", "Produce", "api 99", "Produce"],
        [kafka_response(1), kafka_response(2), kafka_response(4)],  # 3 had no answer
        ["ApiVersions", "Produce", "Produce"],
    ),
    (
        AmqpFrames,
        [b"AMQP\0\0\x09\x01", method(60, 40), amqp(2, b"h"), amqp(3, b"payload"), amqp(8, b""), method(60, 80)],
        ["protocol", "basic.publish", "header", "body", "heartbeat", "basic.ack"],
        [method(10, 10), method(60, 80), method(60, 120)],
        ["10.10", "basic.ack", "basic.nack"],
    ),
    (
        NativeFrames,
        [
            native(t="hello"),
            native(b"batch", t="call", id=1, op="enqueue", args={}),
            native(t="call", id=2, op="take", args={"settle": []}),
            native(t="call", id=3, op="take", args={"settle": [["ack", 1]]}),
        ],
        ["hello", "enqueue", "take", "settle"],
        [native(t="welcome"), native(t="error", id=2), native(b"b", t="reply", id=3), native(t="reply", id=1)],
        ["welcome", "take", "settle", "enqueue"],
    ),
]


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize(
    ("kind", "requests", "asked", "answers", "answered"), TALKS, ids=lambda x: getattr(x, "__name__", "")
)
def test_frames_have_names_and_no_byte_is_lost(
    kind: type[Framer], requests: list[bytes], asked: list[str], answers: list[bytes], answered: list[str], step: int
) -> None:
    """Byte by byte, in odd pieces, or all at once."""
    framer = kind()
    for way, whole, names in ((REQUEST, requests, asked), (ANSWER, answers, answered)):
        data = b"".join(whole)
        frames = [frame for at in range(0, len(data), step) for frame in framer.feed(way, data[at : at + step])]
        assert [frame.name for frame in frames] == names
        assert [frame.data for frame in frames] == whole


@pytest.mark.parametrize(
    ("kind", "way", "data"),
    [
        (KafkaFrames, REQUEST, b"\x16\x03\x01\x02\x00\x01\x00\x01"),  # the beginning of TLS
        (KafkaFrames, REQUEST, b"\0\0\0\1"),
        (KafkaFrames, ANSWER, kafka_response(7)),
        (AmqpFrames, REQUEST, b"GET / HTTP/1.1"),
        (AmqpFrames, REQUEST, amqp(1, b"\0\x3c\0\x28")[:-1] + b"x"),
        (NativeFrames, REQUEST, b"\xff\xff\xff\xff"),
    ],
)
def test_what_is_no_frame_is_an_error(kind: type[Framer], way: Way, data: bytes) -> None:
    """Bytes of another protocol are neither waited for nor passed for frames."""
    with pytest.raises(ValueError):
        kind().feed(way, data)


def test_without_a_protocol_bytes_go_on_as_they_come() -> None:
    """Nothing is kept back for the rest of a frame, and nothing has a name."""
    assert Plain().feed(REQUEST, b"half") == [("", b"half")]


def test_what_scenarios_say_is_known_by_each_protocol() -> None:
    """A word has the names of its requests and of its answers, which differ where a consumer acks as a broker does."""
    assert KafkaFrames.said(ANSWER, "commit") == ("OffsetCommit",)
    assert AmqpFrames.said(ANSWER, "send") == ("basic.ack",)
    assert AmqpFrames.said(REQUEST, "send") == ("basic.publish",)
    assert AmqpFrames.said(ANSWER, "settle") == ()
    assert AmqpFrames.said(ANSWER, "commit") == ()
    assert "enqueue" in NativeFrames.said(ANSWER, "send")
