"""Consumed records as the portable layer sees them. The rule: a block is a thin view of the client's own messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

from mqbridge.messages import Delivery, RawHeaders
from mqbridge.spi import Block
from mqbridge.topology import Destination
from mqbridge_kafka.records import decode_headers, message_id_of, timestamp_ms_of

if TYPE_CHECKING:
    from mqbridge.ledger import Page


class TopicBlock(Block):
    """Records of one partition in order; offsets rise and may have gaps (markers, compaction, aborted records)."""

    __slots__ = ("_keys", "_offsets", "count", "destination", "lease", "messages", "next_offset", "partition")

    def __init__(self, destination: Destination, partition: int, lease: int, messages: Sequence[Message]) -> None:
        self.destination = destination
        self.partition: int | None = partition
        self.lease = lease
        self.messages = messages
        self.count = len(messages)
        self.next_offset = (messages[-1].offset() or 0) + 1
        # Columns, made in one go by the first that asks: as calls of the client, one by one, they cost thrice as much.
        self._keys: list[bytes | None] | None = None
        self._offsets: list[Any] | None = None

    def key(self, index: int) -> bytes | None:
        keys = self._keys
        if keys is None:
            keys = self._keys = list(map(Message.key, self.messages))
        return keys[index]

    def raw(self, index: int) -> bytes | None:
        return self.messages[index].value()

    def headers(self, index: int) -> RawHeaders | None:
        return decode_headers(self.messages[index].headers())  # type: ignore[arg-type]

    def timestamp_ms(self, index: int) -> int:
        return timestamp_ms_of(self.messages[index])

    def message_id(self, index: int) -> str | None:
        return message_id_of(self.messages[index].headers())  # type: ignore[arg-type]

    def offset(self, index: int) -> int:
        offsets = self._offsets
        if offsets is None:
            offsets = self._offsets = list(map(Message.offset, self.messages))
        return offsets[index]  # type: ignore[no-any-return]

    def deliveries(self, lo: int, hi: int, page: Page) -> list[Delivery[Any]]:
        messages = self.messages if hi - lo == self.count else self.messages[lo:hi]
        return list(map(Delivery, repeat(self), range(lo, hi), repeat(page), map(Message.value, messages)))


class EndBlock(TopicBlock):
    """No record, but news: the partition has been read up to `next_offset`, and nothing lies between."""

    __slots__ = ()

    def __init__(self, destination: Destination, partition: int, next_offset: int) -> None:
        self.destination = destination
        self.partition = partition
        self.lease = 0
        self.messages = ()
        self.count = 0
        self.next_offset = next_offset


def parted(messages: list[Message], one_topic: bool) -> dict[tuple[Any, Any], list[Message]]:
    """What the client gave, by topic and partition, each in order; mostly it is of one."""
    numbers = list(map(Message.partition, messages))
    names = [messages[0].topic()] * len(messages) if one_topic else list(map(Message.topic, messages))
    if numbers.count(numbers[0]) == len(numbers) and names.count(names[0]) == len(names):
        return {(names[0], numbers[0]): messages}
    parts: dict[tuple[Any, Any], list[Message]] = {}
    for place, message in zip(zip(names, numbers, strict=True), messages, strict=True):
        parts.setdefault(place, []).append(message)
    return parts
