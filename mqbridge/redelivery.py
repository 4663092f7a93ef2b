"""A topic's record delivered again, and its burial in a dead-letter topic.

The rule of this room: the record's mark in its first page stays HELD until a redelivery of it is DONE or its copy in
the dead-letter topic is confirmed; only then does the settled prefix move past it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mqbridge.ledger import DONE, Ledger, Page
from mqbridge.messages import Delivery, RawHeaders
from mqbridge.semantics import reserved
from mqbridge.semantics.naming import dead_letter_topic_name
from mqbridge.spi import FULL, Block
from mqbridge.topology import Topic

if TYPE_CHECKING:
    from mqbridge.bus import Bus
    from mqbridge.producer import Producer
    from mqbridge.receipts import Receipt


class Redelivery(Block):
    """One record of another block, as a block of its own with its attempt counted."""

    __slots__ = (
        "_attempt",
        "_block",
        "_index",
        "_raw",
        "count",
        "destination",
        "lease",
        "ledger",
        "next_offset",
        "origin",
        "origin_index",
        "partition",
        "place",
    )

    def __init__(self, delivery: Delivery[Any], ledger: Ledger, origin: Page, origin_index: int, attempt: int) -> None:
        block = delivery._block
        self._block: Block = block._block if isinstance(block, Redelivery) else block
        self._index: int = block._index if isinstance(block, Redelivery) else delivery._index
        self._raw = delivery.raw
        self._attempt = attempt
        self.ledger = ledger
        self.origin = origin
        self.origin_index = origin_index
        self.destination = block.destination
        self.partition = block.partition
        self.lease = block.lease
        self.count = 1
        self.next_offset = self._block.offset(self._index) + 1
        self.place = (ledger.topic, ledger.partition)

    @classmethod
    def of(cls, delivery: Delivery[Any], ledger: Ledger) -> Redelivery:
        block = delivery._block
        if isinstance(block, Redelivery):
            ledger.replaced(delivery._page)
            return cls(delivery, ledger, block.origin, block.origin_index, block._attempt)
        return cls(delivery, ledger, delivery._page, delivery._index, 1)

    def failed(self) -> Redelivery:
        """The attempt before this one counts as failed."""
        self._attempt += 1
        return self

    def finish(self) -> None:
        """The record is settled after all."""
        if self.ledger.lost is None:
            self.origin.marks[self.origin_index] = DONE

    def key(self, index: int) -> bytes | None:
        return self._block.key(self._index)

    def headers(self, index: int) -> RawHeaders | None:
        return self._block.headers(self._index)

    def timestamp_ms(self, index: int) -> int:
        return self._block.timestamp_ms(self._index)

    def raw(self, index: int) -> bytes | None:
        return self._raw

    def message_id(self, index: int) -> str | None:
        return self._block.message_id(self._index)

    def offset(self, index: int) -> int:
        return self._block.offset(self._index)

    def attempt(self, index: int) -> int:
        return self._attempt

    def redelivered(self, index: int) -> bool:
        return True


class DeadLetters:
    """The dead-letter topic of one consumer, and the producer that fills it."""

    def __init__(self, producer: Producer, topics: dict[str, Topic[bytes]]) -> None:
        self._producer = producer
        self._topics = topics

    @classmethod
    def open(
        cls, bus: Bus, topics: tuple[Topic[Any], ...], group: str, dead_letter: bool | Topic[Any] | None
    ) -> DeadLetters | None:
        """True makes ``TOPIC.GROUP.dlq`` for each topic; a Topic must be there already."""
        if not dead_letter:
            return None
        targets: dict[str, Topic[bytes]] = {}
        for topic in topics:
            if isinstance(dead_letter, Topic):
                targets[topic.name] = Topic(dead_letter.name, physical_name=dead_letter.physical_name)
            else:
                target = Topic(dead_letter_topic_name(topic.name, group))
                bus.admin.ensure(target)
                targets[topic.name] = target
        producer = bus.producer(linger_s=0.0)
        for target in targets.values():
            producer._route(target)  # NotFound now, not when the first poison record comes
        return cls(producer, targets)

    def bury(self, delivery: Delivery[Any], reason: str, error: BaseException | str | None) -> Receipt | None:
        """Send a copy with why and where from. None if the buffer is full: a verb does not block."""
        block, index = delivery._block, delivery._index
        now_ms = self._producer._bus._connection.clock.wall_ms()
        text = error if isinstance(error, str) or error is None else f"{type(error).__name__}: {error}"
        death: list[tuple[str, bytes]] = [
            (reserved.DEATH_REASON, reason.encode()),
            (reserved.DEATH_QUEUE, str(delivery).encode()),
            (reserved.DEATH_ATTEMPTS, str(delivery.attempt).encode()),
            (reserved.DEATH_AT_MS, str(now_ms).encode()),
        ]
        if text is not None:
            death.append((reserved.DEATH_ERROR, text.encode()[:4096]))
        kept = tuple(pair for pair in block.headers(index) or () if pair[0] not in reserved.DEATH)
        route = self._producer._route(self._topics[delivery.destination.name])
        message = (delivery.raw, delivery.key, (*kept, *death), delivery.timestamp_ms, None, None)
        sequence = route.append(*message)
        if sequence == FULL:
            return None
        route.channel.seal()
        return route.log.receipt(sequence)

    def close(self, timeout_s: float | None) -> None:
        self._producer.close(timeout_s)
