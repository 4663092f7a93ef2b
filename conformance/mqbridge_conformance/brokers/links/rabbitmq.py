"""The frames of AMQP 0-9-1 (4.2.3): type, u16 channel, u32 size, payload, end octet; before them the protocol header.

The rule: a method has its name, a content header, a body and a heartbeat are called what they are.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Final

from mqbridge_conformance.brokers.links.frames import Framer, Said, Way

__all__ = ["AmqpFrames"]

_HEAD: Final = struct.Struct(">BHI")
_METHOD: Final = struct.Struct(">HH")
_HEADER: Final = b"AMQP"
_END: Final = 0xCE
_TYPES: Final = {2: "header", 3: "body", 8: "heartbeat"}
_NAMES: Final = {
    (10, 50): "connection.close",
    (10, 51): "connection.close-ok",
    (20, 40): "channel.close",
    (20, 41): "channel.close-ok",
    (50, 10): "queue.declare",
    (50, 11): "queue.declare-ok",
    (60, 20): "basic.consume",
    (60, 21): "basic.consume-ok",
    (60, 40): "basic.publish",
    (60, 50): "basic.return",
    (60, 60): "basic.deliver",
    (60, 70): "basic.get",
    (60, 80): "basic.ack",
    (60, 90): "basic.reject",
    (60, 120): "basic.nack",
    (85, 10): "confirm.select",
    (85, 11): "confirm.select-ok",
}
"""Those that a fault is likely to be about; others are called by their numbers."""


class AmqpFrames(Framer):
    """Names such as ``basic.ack``: on the way of the requests a consumer's, on that of the answers a confirm."""

    SAID: ClassVar[Said] = {
        "send": (("basic.publish",), ("basic.ack",)),
        "settle": (("basic.ack", "basic.reject", "basic.nack"), ()),
    }

    def size(self, way: Way, buffer: bytearray, at: int) -> int:
        if len(buffer) < at + 8:
            return 0
        if buffer.startswith(_HEADER, at):
            return 8
        kind, _, size = _HEAD.unpack_from(buffer, at)
        if kind not in (1, *_TYPES):
            raise ValueError(f"an AMQP frame of type {kind}")
        return _HEAD.size + int(size) + 1

    def name(self, way: Way, frame: bytes) -> str:
        if frame.startswith(_HEADER):
            return "protocol"
        if frame[-1] != _END:
            raise ValueError("an AMQP frame without its end")
        if frame[0] != 1:
            return _TYPES[frame[0]]
        kind, method = _METHOD.unpack_from(frame, _HEAD.size)
        return _NAMES.get((kind, method), f"{kind}.{method}")
