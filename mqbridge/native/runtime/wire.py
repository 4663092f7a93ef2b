"""The bytes on the host's socket: frames of one JSON message and any number of record batches.

A frame, little-endian: u32 length of all that follows, u32 length of the JSON text, the JSON text, the
batches. The message says by "t" what it is; "batches" lists the batches' lengths, which must fill the frame
exactly.

The rule of this room: no I/O, nothing that can execute (no pickle, no marshal), no length believed before it
was compared with a bound. A peer that breaks the format is cut off with a ConnectionLost that says what was
found. What does not belong here: what an operation means, who may connect.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from mqbridge import errors

PROTOCOL = 1
# A take of 100 messages of 1 MiB must fit.
MAX_FRAME_BYTES = 256 * 1024 * 1024

_LENGTHS = struct.Struct("<II")
_TOTAL = struct.Struct("<I")
_ERROR_FIELDS = ("outcome", "retryable", "engine", "__notes__")
# A tuple survives JSON under this key; no fact of an error is a mapping with it.
_TUPLE = "()"
_CLASSES: dict[str, type[errors.MqbridgeError]] = {
    name: found
    for name in errors.__all__
    if isinstance(found := getattr(errors, name), type)
    and issubclass(found, errors.MqbridgeError)
    and found is not errors.MqbridgeError
}

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Frame(NamedTuple):
    """One message and its batches, still encoded."""

    message: dict[str, Any]
    batches: list[bytes]


def encode_frame(
    message: Mapping[str, Any], batches: Sequence[bytes] = (), max_frame_bytes: int = MAX_FRAME_BYTES
) -> bytes:
    """The bytes of a frame; Rejected, with nothing written, when it would exceed the bound."""
    if batches:
        message = {**message, "batches": [len(batch) for batch in batches]}
    text = _encode_json(message).encode()
    total = 4 + len(text) + sum(map(len, batches))
    if total > max_frame_bytes:
        raise errors.Rejected(
            f"a message of {total} bytes exceeds the {max_frame_bytes} bytes that one frame between processes may "
            "have; nothing was sent: use smaller batches"
        )
    return b"".join((_LENGTHS.pack(total, len(text)), text, *batches))


class FrameReader:
    """Takes bytes as they come, gives whole frames. After an error it must not be used again."""

    __slots__ = ("_at", "_buffer", "_max_frame_bytes")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._max_frame_bytes = max_frame_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes received of a frame that is not whole. Not 0 at the end of the stream: it was torn."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Add received bytes; take the frames with `next_frame` until it gives None."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None. ConnectionLost for bytes that are no frame."""
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have >= 4:
            # The length is judged as soon as it is there: a stranger's first bytes must not make us wait for
            # 1 GB.
            (total,) = _TOTAL.unpack_from(buffer, at)
            if not 6 <= total <= self._max_frame_bytes:
                raise _garbage(f"a frame of {total} bytes, allowed are 6 to {self._max_frame_bytes}")
            if have >= 4 + total:
                self._at = at + 4 + total
                return _parse(buffer, at + 4, self._at)
        if at:
            del buffer[:at]
            self._at = 0
        return None


def _parse(buffer: bytearray, start: int, end: int) -> Frame:
    (text_bytes,) = _TOTAL.unpack_from(buffer, start)
    at = start + 4 + text_bytes
    if at > end:
        raise _garbage(f"a text of {text_bytes} bytes in a frame of {end - start}")
    try:
        message = json.loads(bytes(buffer[start + 4 : at]).decode())
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors; deep nesting ends in a RecursionError.
        raise _garbage("a message that is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise _garbage("a message without a type")
    batches: list[bytes] = []
    lengths = message.pop("batches", ())
    if not isinstance(lengths, list | tuple):
        raise _garbage("a list of batches that is no list")
    for length in lengths:
        if type(length) is not int or not 0 <= length <= end - at:
            raise _garbage("a batch that does not fit its frame")
        batches.append(bytes(buffer[at : at + length]))
        at += length
    if at != end:
        raise _garbage(f"{end - at} bytes that belong to no batch")
    return Frame(message, batches)


def _garbage(found: str) -> errors.ConnectionLost:
    return errors.ConnectionLost(
        f"the peer on the host's socket does not speak this protocol: it sent {found}; the connection is "
        "closed"
    )


def expect(message: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """A field of a message that must be there and of that type; ConnectionLost otherwise."""
    value = message.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _garbage(f"a {message['t']} whose {name} is not {kind.__name__}")
    return value


def error_to_wire(error: errors.MqbridgeError) -> dict[str, Any]:
    """An error as JSON: class, message, outcome, retryable, engine, facts. What JSON cannot carry crosses as
    its repr.
    """
    facts = {name: _jsonable(value) for name, value in error.__dict__.items() if name not in _ERROR_FIELDS}
    return {
        "class": type(error).__name__,
        "message": error.message,
        "outcome": error.outcome,
        "retryable": error.retryable,
        "engine": error.engine,
        "facts": facts,
    }


def error_from_wire(fields: Any) -> errors.MqbridgeError:
    """The error that `error_to_wire` described, as the same class; ConnectionLost is raised for anything
    else.
    """
    if not isinstance(fields, dict):
        raise _garbage("an error that is no object")
    found = _CLASSES.get(str(fields.get("class")))
    facts = fields.get("facts")
    outcome, retryable, engine = fields.get("outcome"), fields.get("retryable"), fields.get("engine")
    if (
        found is None
        or not isinstance(facts, dict)
        or outcome not in get_args(errors.Outcome)
        or not isinstance(retryable, bool)
        or not isinstance(engine, str | None)
    ):
        raise _garbage(f"an error of class {fields.get('class')!r} that is not known here")
    error = found(
        str(fields.get("message")),
        outcome=None if outcome == found.outcome else outcome,
        retryable=None if retryable is found.retryable else retryable,
        engine=engine,
    )
    error.__dict__.update((name, _from_jsonable(value)) for name, value in facts.items())
    return error


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [_jsonable(item) for item in value]}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _jsonable(item) for name, item in value.items()}
    return repr(value)


def _from_jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_jsonable(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {_TUPLE} and isinstance(value[_TUPLE], list):
            return tuple(_from_jsonable(item) for item in value[_TUPLE])
        return {name: _from_jsonable(item) for name, item in value.items()}
    return value
