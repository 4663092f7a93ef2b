"""Two requests of Kafka's protocol, spoken plainly: what the share group of a queue has settled, and which release the
broker is; and those that show a password first, where the broker asks for one.

The rule: only what no raw client offers is spoken here. librdkafka has no administration of share groups, and Kafka's
own tool takes a JVM's start for each look.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from mqbridge_conformance.observers.kafka_login import KafkaLogin
from mqbridge_conformance.results import CannotTell

__all__ = ["NotHere", "ShareState", "release", "share_state"]

_SHARE_STATE: Final = (84, 0)
"""ReadShareGroupState (KIP-932), which brokers ask each other."""
_UNINITIALIZED: Final = 42
"""INVALID_REQUEST: what is said of a partition that no member ever had."""
_FORBIDDEN: Final = 31
"""CLUSTER_AUTHORIZATION_FAILED."""
_COORDINATORS: Final = (14, 15, 16)
"""COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR."""
_TERMINAL: Final = (2, 4)
"""ACKNOWLEDGED and ARCHIVED, which is rejected or delivered too often."""
_API_VERSIONS: Final = (18, 3)
"""ApiVersions; version 3 has the features (KIP-584)."""
_SASL_HANDSHAKE: Final = (17, 1)
_SASL_AUTHENTICATE: Final = (36, 0)
_RELEASES: Final = {range(22, 26): "4.0", range(26, 28): "4.1", range(28, 30): "4.2", range(30, 31): "4.3"}
"""The versions of the metadata by release, of those that have share groups; from Kafka's MetadataVersion.java."""
_TIMEOUT_S: Final = 10.0


class NotHere(CannotTell):
    """It is not this node that knows, or not yet."""


class ShareState(NamedTuple):
    """Of one share partition: where it begins, -1 while nothing was settled, and what is settled from there, by first
    and last offset."""

    start: int
    settled: tuple[tuple[int, int], ...]

    def has_settled(self, offset: int) -> bool:
        """Was this one acknowledged, rejected or given up?"""
        return offset < self.start or any(first <= offset <= last for first, last in self.settled)


def share_state(login: KafkaLogin, node: str, group: str, topic: bytes, partition: int) -> ShareState | None:
    """What the broker has written down of a partition of the topic with that id; None where the group never had a
    member. `node` is ``host:port``; `NotHere` where another one keeps the state of this group.

    Not DescribeShareGroupOffsets, which tells how many are not settled: that number is counted beside the state, and
    was seen to stay too high for good when two members settle at the same time (Kafka 4.3.1).
    """
    name = group.encode()
    # Compact arrays and strings hold their length plus one; every structure ends with its tagged fields. An epoch of
    # the leader of -1 is compared with nothing.
    body = _uvarint(len(name) + 1) + name + b"\x02" + topic + b"\x02" + struct.pack(">ii", partition, -1) + b"\x00" * 3
    try:
        return _state(_ask(login, node, _SHARE_STATE, body), group)
    except OSError as error:
        raise NotHere(f"Kafka at {node} does not say what share group {group} has settled: {error}") from error


def release(login: KafkaLogin) -> str:
    """Which release of Kafka the broker is, as far as the protocol tells: by the newest version of the metadata that
    it could write, whatever its cluster is set to. Empty if it does not say."""
    software = b"\x15conformance-observer" + b"\x021" + b"\x00"
    try:
        return _release(_ask(login, login.bootstrap.partition(",")[0], _API_VERSIONS, software))
    except OSError as error:
        raise CannotTell(f"Kafka at {login.bootstrap} does not say which release it is: {error}") from error


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


def _ask(login: KafkaLogin, node: str, request: tuple[int, int], body: bytes) -> _Reader:
    """One request to one node, and its answer."""
    with login.connect(node, _TIMEOUT_S) as talk:
        if login.mechanism:
            _exchange(talk, _SASL_HANDSHAKE, _text(login.mechanism))
            login.authenticate(lambda message: _authenticated(talk, message))
        return _exchange(talk, request, b"\x00" + body)  # the head of these ends with its tagged fields


def _exchange(talk: socket.socket, request: tuple[int, int], body: bytes) -> _Reader:
    head = struct.pack(">hhi", *request, 1) + _text("conformance-observer")
    talk.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    (size,) = struct.unpack(">i", _exactly(talk, 4))
    return _Reader(_exactly(talk, size))


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _authenticated(talk: socket.socket, message: bytes) -> bytes:
    """One step of showing who is there."""
    answer = _exchange(talk, _SASL_AUTHENTICATE, struct.pack(">i", len(message)) + message)
    answer.skip(4)  # correlation id
    error, length = answer.unpack(">hh")
    why = answer.raw(max(0, length)).decode()
    if error:
        raise CannotTell(f"the observer of Kafka is not let in: {why or f'error {error}'}")
    (size,) = answer.unpack(">i")
    return answer.raw(max(0, size))


def _state(answer: _Reader, group: str) -> ShareState | None:
    answer.skip(4)  # correlation id
    answer.tags()
    answer.array()
    answer.skip(16)  # topic id
    answer.array()
    answer.skip(4)  # partition
    (error,) = answer.unpack(">h")
    text = answer.string()
    _epoch, start = answer.unpack(">iq")
    if error == _UNINITIALIZED:
        return None
    if error == _FORBIDDEN:
        raise CannotTell(
            f"Kafka does not tell this user what share group {group} has settled: the observer of queues needs the "
            "right ClusterAction on the cluster, which a super user has"
        )
    if error:
        kind = NotHere if error in _COORDINATORS else CannotTell
        raise kind(f"Kafka does not say what share group {group} has settled: error {error} ({text})")
    settled = []
    for _ in range(answer.array()):
        first, last, state, _deliveries = answer.unpack(">qqbh")
        answer.tags()
        if state in _TERMINAL:
            settled.append((first, last))
    return ShareState(start, tuple(settled))


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

    def raw(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

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
