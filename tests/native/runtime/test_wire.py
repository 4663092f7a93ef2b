"""The codec of the host's socket: whatever the pieces, the same frames; whatever the garbage, a clear error."""

from __future__ import annotations

import inspect
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge import errors
from mqbridge.native.runtime import wire

MESSAGES: list[tuple[dict[str, Any], list[bytes]]] = [
    (
        {"t": "call", "id": 1, "op": "append", "args": {"topic": "ä", "partition": 0}},
        [b"one", b"", b"\0" * 40],
    ),
    ({"t": "bye"}, []),
    ({"t": "reply", "id": 1, "reply": {"base_offset": 2**40}}, [b"x"]),
]


def take(reader: wire.FrameReader) -> list[tuple[dict[str, Any], list[bytes]]]:
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append((frame.message, frame.batches))
    return frames


def framed(text: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("<II", 4 + len(text) + len(rest), len(text)) + text + rest


def test_frames_are_the_same_wherever_the_stream_is_split() -> None:
    """A stream cut in two at each byte gives the frames of the whole stream."""
    stream = b"".join(wire.encode_frame(message, batches) for message, batches in MESSAGES)
    for cut in range(len(stream) + 1):
        reader = wire.FrameReader()
        reader.feed(stream[:cut])
        found = take(reader)
        reader.feed(stream[cut:])
        assert found + take(reader) == MESSAGES
        assert reader.pending_bytes == 0


def test_frames_come_byte_by_byte() -> None:
    """One byte at a time gives each frame at its last byte, and a torn one is seen as pending."""
    stream = wire.encode_frame(*MESSAGES[0])
    reader = wire.FrameReader()
    for byte in stream[:-1]:
        reader.feed(bytes([byte]))
        assert reader.next_frame() is None
    assert reader.pending_bytes == len(stream) - 1
    reader.feed(stream[-1:])
    assert take(reader) == MESSAGES[:1]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x05\0\0\0\x01",
        struct.pack("<II", 100, 97) + b"x" * 96,
        framed(b"{not json}"),
        framed(b"\xff\xfe\xfd"),
        framed(b"[1]"),
        framed(b'{"no":"type"}'),
        framed(b'{"t":7}'),
        framed(b"[" * 200_000),
        framed(b'{"t":"x","batches":7}'),
        framed(b'{"t":"x","batches":[4]}', b"abc"),
        framed(b'{"t":"x","batches":[2]}', b"abc"),
        framed(b'{"t":"x","batches":[-1]}'),
        framed(b'{"t":"x","batches":[true]}', b"a"),
        framed(b'{"t":"x"}', b"abc"),
    ],
)
def test_garbage_is_a_clear_error(garbage: bytes) -> None:
    """Bytes that are no frame raise ConnectionLost, after the good frames before them, never anything else."""
    reader = wire.FrameReader()
    reader.feed(wire.encode_frame({"t": "bye"}) + garbage)
    assert reader.next_frame() == ({"t": "bye"}, [])
    with pytest.raises(errors.ConnectionLost, match="does not speak this protocol"):
        reader.next_frame()


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_clear_error(data: bytes) -> None:
    """Arbitrary bytes give frames, wait for more, or raise ConnectionLost."""
    reader = wire.FrameReader()
    reader.feed(data)
    try:
        take(reader)
    except errors.ConnectionLost as error:
        assert "protocol" in str(error)  # noqa: PT017 - that no other type escapes is the property


def test_a_length_above_the_bound_is_refused_before_its_bytes_come() -> None:
    """Four bytes are enough to refuse a frame that would not fit into memory."""
    reader = wire.FrameReader(max_frame_bytes=1000)
    reader.feed(struct.pack("<I", 1001))
    with pytest.raises(errors.ConnectionLost, match="1001"):
        reader.next_frame()


def test_a_frame_above_the_bound_is_not_made() -> None:
    """The sender refuses what the receiver would cut the connection for."""
    fits = wire.encode_frame({"t": "x"}, [b"a" * 900], max_frame_bytes=1000)
    reader = wire.FrameReader(max_frame_bytes=1000)
    reader.feed(fits)
    assert len(take(reader)) == 1
    with pytest.raises(errors.Rejected) as caught:
        wire.encode_frame({"t": "x"}, [b"a" * 1000], max_frame_bytes=1000)
    assert caught.value.outcome == "not_applied"


def test_nothing_that_can_execute_is_imported() -> None:
    """The codec uses JSON; pickle and marshal would run what a peer sends."""
    names = inspect.getsource(wire).split("from __future__")[1]
    assert "pickle" not in names
    assert "marshal" not in names


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no topic 'x'"),
        errors.OffsetLost("gone", topic="x", partition=1, committed=3, start=9),
        errors.Mismatch(
            "differs", differences=(("partitions", 3, 4), ("retention", None, {"max_age_s": 1.5}))
        ),
        errors.Rejected("full", retryable=True, engine="native"),
        errors.ConnectionLost("gone", outcome="not_applied"),
        errors.Unreachable("flush", outcome="unknown", retryable=False),
    ],
)
def test_errors_cross_as_what_they_are(error: errors.MqbridgeError) -> None:
    """Class, text, outcome, retryable, engine and facts are the same on the other side."""
    fields = json.loads(json.dumps(wire.error_to_wire(error)))
    rebuilt = wire.error_from_wire(fields)
    assert type(rebuilt) is type(error)
    assert rebuilt.message == error.message
    assert rebuilt.__dict__ == error.__dict__
    assert (rebuilt.outcome, rebuilt.retryable, rebuilt.engine) == (
        error.outcome,
        error.retryable,
        error.engine,
    )


def test_facts_that_json_cannot_carry_cross_as_text() -> None:
    """An odd fact of an error does not cost the caller its error."""
    error = errors.Rejected("odd", payload=b"\0", seen={1: 2})
    rebuilt = wire.error_from_wire(json.loads(json.dumps(wire.error_to_wire(error))))
    assert rebuilt.__dict__ == {"payload": "b'\\x00'", "seen": "{1: 2}"}


@pytest.mark.parametrize(
    "change",
    [
        {"class": "MqbridgeError"},
        {"class": "Any"},
        {"class": "os.system"},
        {"outcome": "maybe"},
        {"retryable": 1},
        {"engine": 4},
        {"facts": []},
    ],
)
def test_an_error_that_is_none_is_refused(change: dict[str, Any]) -> None:
    """Only classes of the tree are built from a peer's words."""
    fields = wire.error_to_wire(errors.NotFound("x")) | change
    with pytest.raises(errors.ConnectionLost, match="protocol"):
        wire.error_from_wire(fields)


def test_every_error_of_the_tree_can_cross() -> None:
    """No class of `mqbridge.errors` is left out of the table."""
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type) and found is not errors.MqbridgeError:
            assert type(wire.error_from_wire(wire.error_to_wire(found("x")))) is found
