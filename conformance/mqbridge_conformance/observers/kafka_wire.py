"""One request of Kafka's protocol, spoken plainly: how far the share group of a queue has come.

The rule: only what no raw client offers is spoken here. librdkafka has no administration of share groups, and Kafka's
own tool takes a JVM's start for each look.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from mqbridge_conformance.results import CannotTell

__all__ = ["ShareProgress", "share_progress"]

_API_KEY: Final = 90
"""DescribeShareGroupOffsets (KIP-932); version 1 has the lag (KIP-1226)."""
_VERSION: Final = 1
_TIMEOUT_S: Final = 10.0
_MISSING: Final = 69
"""GROUP_ID_NOT_FOUND."""


class ShareProgress(NamedTuple):
    """Of one share partition: the first offset that is not settled, and how many records are not settled from there;
    -1 where the broker has nothing to say."""

    start: int
    lag: int


def share_progress(bootstrap: str, group: str) -> dict[tuple[str, int], ShareProgress]:
    """By topic and partition; empty for a group that was never there. Of one node, which coordinates all groups."""
    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    name = group.encode()
    # Compact arrays and strings hold their length plus one, null is 0; every structure ends with its tagged fields.
    body = b"\x02" + _uvarint(len(name) + 1) + name + b"\x00" + b"\x00" + b"\x00"
    client = b"conformance-observer"
    head = struct.pack(">hhih", _API_KEY, _VERSION, 1, len(client)) + client + b"\x00"
    try:
        with socket.create_connection((host, int(port)), _TIMEOUT_S) as talk:
            talk.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
            (size,) = struct.unpack(">i", _exactly(talk, 4))
            answer = _Reader(_exactly(talk, size))
    except OSError as error:
        raise CannotTell(f"Kafka at {bootstrap} does not say how far share group {group} is: {error}") from error
    return _parse(answer, group)


def _parse(answer: _Reader, group: str) -> dict[tuple[str, int], ShareProgress]:
    answer.skip(4)  # correlation id
    answer.tags()
    answer.skip(4)  # throttle time
    found: dict[tuple[str, int], ShareProgress] = {}
    for _ in range(answer.array()):
        answer.string()
        for _ in range(answer.array()):
            topic = answer.string() or ""
            answer.skip(16)  # topic id
            for _ in range(answer.array()):
                partition, start, _epoch, lag, error = answer.unpack(">iqiqh")
                answer.string()
                answer.tags()
                if not error:
                    found[topic, partition] = ShareProgress(start, lag)
            answer.tags()
        (error,) = answer.unpack(">h")
        text = answer.string()
        answer.tags()
        if error not in (0, _MISSING):
            raise CannotTell(f"Kafka does not say how far share group {group} is: error {error} ({text})")
    return found


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _exactly(talk: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = talk.recv(size - len(parts))
        if not part:
            raise OSError("the connection ended within an answer")
        parts += part
    return bytes(parts)


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def skip(self, size: int) -> None:
        self.at += size

    def unpack(self, shape: str) -> tuple[int, ...]:
        values = struct.unpack_from(shape, self.data, self.at)
        self.at += struct.calcsize(shape)
        return values

    def uvarint(self) -> int:
        number = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def array(self) -> int:
        return max(0, self.uvarint() - 1)

    def string(self) -> str | None:
        length = self.uvarint() - 1
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def tags(self) -> None:
        for _ in range(self.uvarint()):
            self.uvarint()
            self.skip(self.uvarint())
