"""Fetched batches as the portable layer sees them. The rule: a block is a thin view; the batch's columns are not
copied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from mqbridge.messages import Delivery, RawHeaders
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.semantics import reserved
from mqbridge.spi import Block
from mqbridge.topology import Destination

if TYPE_CHECKING:
    from mqbridge.ledger import Page


class RecordBlock(Block):
    """A batch of a partition: offsets are consecutive from `base_offset` on."""

    __slots__ = ("_batch", "base_offset", "count", "destination", "lease", "next_offset", "partition")

    def __init__(
        self, destination: Destination, partition: int, lease: int, base_offset: int, batch: RecordBatch
    ) -> None:
        self.destination = destination
        self.partition: int | None = partition
        self.lease = lease
        self.base_offset = base_offset
        self.count = batch.count
        self.next_offset = base_offset + batch.count
        self._batch = batch

    def key(self, index: int) -> bytes | None:
        return self._batch.keys[index]

    def raw(self, index: int) -> bytes | None:
        return self._batch.values[index]

    def headers(self, index: int) -> RawHeaders | None:
        headers = self._batch.headers
        return None if headers is None else headers[index]

    def timestamp_ms(self, index: int) -> int:
        return self._batch.timestamps_ms[index]

    def message_id(self, index: int) -> str | None:
        for name, value in self.headers(index) or ():
            if name == reserved.MESSAGE_ID:
                return value.decode()
        return None

    def offset(self, index: int) -> int:
        return self.base_offset + index

    def deliveries(self, lo: int, hi: int, page: Page) -> list[Delivery[Any]]:
        values = self._batch.values
        if hi - lo != len(values):
            values = values[lo:hi]
        return list(map(Delivery, repeat(self), range(lo, hi), repeat(page), values))


class QueueBlock(RecordBlock):
    """Messages taken from a queue: `offset` is the tag that settles one."""

    __slots__ = ("_attempts", "_redelivered", "_tags")

    def __init__(
        self,
        destination: Destination,
        tags: Sequence[int],
        attempts: Sequence[int],
        redelivered: Sequence[bool],
        batch: RecordBatch,
    ) -> None:
        super().__init__(destination, 0, 0, 0, batch)
        self.partition = None
        self._tags = tags
        self._attempts = attempts
        self._redelivered = redelivered

    def offset(self, index: int) -> int:
        return self._tags[index]

    def attempt(self, index: int) -> int:
        return self._attempts[index]

    def redelivered(self, index: int) -> bool:
        return self._redelivered[index]
