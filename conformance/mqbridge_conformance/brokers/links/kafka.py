"""Kafka's frames: u32 length, then a header that begins with api key, api version and correlation id in a request, and
with the correlation id in a response (source: Kafka protocol guide, "Request Header" and "Response Header").

The rule: a response is known by its request alone, so a framer sees a connection from its first byte on.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Final

from mqbridge_conformance.brokers.links.frames import REQUEST, Framer, Said, Way

__all__ = ["KafkaFrames"]

_NAMES: Final = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    8: "OffsetCommit",
    9: "OffsetFetch",
    10: "FindCoordinator",
    11: "JoinGroup",
    12: "Heartbeat",
    13: "LeaveGroup",
    14: "SyncGroup",
    18: "ApiVersions",
    19: "CreateTopics",
    22: "InitProducerId",
    24: "AddPartitionsToTxn",
    25: "AddOffsetsToTxn",
    26: "EndTxn",
    28: "TxnOffsetCommit",
    68: "ConsumerGroupHeartbeat",
    76: "ShareGroupHeartbeat",
    78: "ShareFetch",
    79: "ShareAcknowledge",
}
"""Those that a fault is likely to be about; others are called by their number."""
_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">ihhi")
_RESPONSE: Final = struct.Struct(">ii")


class KafkaFrames(Framer):
    """Names such as ``Produce``."""

    SAID: ClassVar[Said] = {
        word: (names, names)
        for word, names in {
            "send": ("Produce",),
            "commit": ("OffsetCommit",),
            "settle": ("ShareAcknowledge", "ShareFetch"),
            "end": ("EndTxn",),
        }.items()
    }

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[int, str] = {}

    def size(self, way: Way, buffer: bytearray, at: int) -> int:
        if len(buffer) < at + _LENGTH.size:
            return 0
        (length,) = _LENGTH.unpack_from(buffer, at)
        if length < _LENGTH.size:
            raise ValueError(f"a Kafka frame of {length} bytes")
        return _LENGTH.size + int(length)

    def name(self, way: Way, frame: bytes) -> str:
        if way == REQUEST:
            _, key, _, correlation = _REQUEST.unpack_from(frame)
            found = self._asked[correlation] = _NAMES.get(key, f"api {key}")
            return found
        _, correlation = _RESPONSE.unpack_from(frame)
        # Answers come in the order of their requests; a request before this one that has none (acks=0) gets none.
        for asked in list(self._asked):
            found = self._asked.pop(asked)
            if asked == correlation:
                return found
        raise ValueError(f"an answer to request {correlation}, which nobody made")
