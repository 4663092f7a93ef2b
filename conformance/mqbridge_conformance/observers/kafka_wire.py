"""Two requests of Kafka's protocol, spoken plainly: how far the share group of a queue has come, and which release
the broker is.

The rule: only what no raw client offers is spoken here. librdkafka has no administration of share groups, and Kafka's
own tool takes a JVM's start for each look.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from mqbridge_conformance.results import CannotTell

__all__ = ["ShareProgress", "release", "share_progress"]

_SHARE_OFFSETS: Final = (90, 1)
"""DescribeShareGroupOffsets (KIP-932); version 1 has the lag (KIP-1226)."""
_API_VERSIONS: Final = (18, 3)
"""ApiVersions; version 3 has the features (KIP-584)."""
_RELEASES: Final = {range(22, 26): "4.0", range(26, 28): "4.1", range(28, 30): "4.2", range(30, 31): "4.3"}
"""The versions of the metadata by release, of those that have share groups; from Kafka's MetadataVersion.java."""
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
    name = group.encode()
    # Compact arrays and strings hold their length plus one, null is 0; every structure ends with its tagged fields.
    body = b"\x02" + _uvarint(len(name) + 1) + name + b"\x00" + b"\x00" + b"\x00"
    try:
        return _parse(_ask(bootstrap, _SHARE_OFFSETS, body), group)
    except OSError as error:
        raise CannotTell(f"Kafka at {bootstrap} does not say how far share group {group} is: {error}") from error


def release(bootstrap: str) -> str:
    """Which release of Kafka the broker is, as far as the protocol tells: by the newest version of the metadata that
    it could write, whatever its cluster is set to. Empty if it does not say."""
    software = b"\x15conformance-observer" + b"\x021" + b"\x00"
    try:
        return _release(_ask(bootstrap, _API_VERSIONS, software))
    except OSError as error:
        raise CannotTell(f"Kafka at {bootstrap} does not say which release it is: {error}") from error


def _release(answer: _Reader) -> str:
    answer.skip(4)  # correlation id; the head of this answer alone never has tagged fields
    answer.skip(2)  # error
    for _ in range(answer.array()):
        answer.skip(6)  # a request and its versions
        answer.tags()
    answer.skip(4)  # throttle time
    for _ in range(answer.uvarint()):
        tag, _size = answer.uvarint(), answer.uvarint()
        if tag != 0:
            break
        for _ in range(answer.array()):
            feature = answer.string()
            _, newest = answer.unpack(">hh")
            answer.tags()
            if feature == "metadata.version":
                known = (name for versions, name in _RELEASES.items() if newest in versions)
                return next(known, f"metadata.version {newest}")
    return ""


def _ask(bootstrap: str, request: tuple[int, int], body: bytes) -> _Reader:
    """One request to one node, and its answer."""
    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    client = b"conformance-observer"
    head = struct.pack(">hhih", *request, 1, len(client)) + client + b"\x00"
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as talk:
        talk.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", _exactly(talk, 4))
        return _Reader(_exactly(talk, size))


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
