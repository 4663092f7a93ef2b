"""What a member holds: its partitions, the blocks fetched of each, and which of them may be handed out.

The rule of this room: one lock, held for a few steps and never while calling out. A lease, or a seek within one, ends
what was fetched before it: its blocks are dropped in the same step.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from confluent_kafka import Message

from mqbridge.spi import Block, TopicPartition
from mqbridge.topology import Topic
from mqbridge_kafka.blocks import TopicBlock

MAX_RECORDS: Final = 8000
"""How many records wait to be taken before no more are asked of the client; bytes bound them too."""


class Holding:
    """One partition of ours."""

    __slots__ = ("blocks", "leaving", "lease", "moving", "position", "records", "size", "stopped", "topic")

    def __init__(self, topic: Topic[Any], lease: int, position: int) -> None:
        self.topic = topic
        self.lease = lease
        self.position = position
        """The next offset to come from the client."""
        self.blocks: deque[tuple[TopicBlock, int]] = deque()
        self.records = 0
        self.size = 0
        self.moving = 0
        """Seeks that the client has not done yet: what it gives until then is from before."""
        self.stopped = False
        """Its next offset is lost: nothing comes until the application seeks."""
        self.leaving = False
        """It is being given up: nothing of it is handed out."""


class Holdings:
    """All partitions of a member. `take`, `seek` and `pause` come from the application's side, the rest from the
    client's."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: dict[TopicPartition, Holding] = {}
        self._turn = 0
        self._records = 0
        self._bytes = 0
        self.paused: set[TopicPartition] = set()

    def __contains__(self, place: TopicPartition) -> bool:
        return place in self._held

    def lease(self, place: TopicPartition) -> int | None:
        held = self._held.get(place)
        return None if held is None else held.lease

    def get(self, place: TopicPartition) -> Holding | None:
        return self._held.get(place)

    def positions(self) -> dict[TopicPartition, int]:
        """Where the client is to read on, in each partition."""
        with self._lock:
            return {place: held.position for place, held in self._held.items()}

    @property
    def full(self) -> bool:
        return self._records >= MAX_RECORDS or self._bytes >= self._max_bytes

    @property
    def half_full(self) -> bool:
        return self._records * 2 >= MAX_RECORDS or self._bytes * 2 >= self._max_bytes

    # --- the client's side

    def begin(self, place: TopicPartition, holding: Holding) -> None:
        with self._lock:
            old = self._held.pop(place, None)
            if old is not None:
                self._drop(place, old)
            self._held[place] = holding

    def end(self, places: Iterable[TopicPartition]) -> tuple[TopicPartition, ...]:
        """These are not ours any more; returns those that were."""
        with self._lock:
            ended = tuple(place for place in places if place in self._held)
            for place in ended:
                self._drop(place, self._held.pop(place))
        return ended

    def end_all(self) -> tuple[TopicPartition, ...]:
        return self.end(tuple(self._held))

    def leave(self, places: Iterable[TopicPartition]) -> None:
        """Nothing of these is handed out any more: they are being given up."""
        with self._lock:
            for place in places:
                held = self._held.get(place)
                if held is not None:
                    held.leaving = True
                    self._drop(place, held)

    def stop(self, place: TopicPartition, lease: int) -> bool:
        """Nothing more of it comes until a seek; what was fetched before is handed out. False as for `skip`."""
        with self._lock:
            held = self._held.get(place)
            if held is None or held.lease != lease or held.moving:
                return False
            held.stopped = True
        return True

    def put(self, place: TopicPartition, messages: Sequence[Message], size: int) -> bool:
        """Keep what the client gave; false if it is of no use any more."""
        with self._lock:
            held = self._held.get(place)
            if held is None or held.moving or held.leaving:
                return False
            block = TopicBlock(held.topic, place[1], held.lease, messages)
            held.position = block.next_offset
            held.blocks.append((block, size))
            self._count(place, held, block.count, size)
        return True

    def skip(self, place: TopicPartition, lease: int, offset: int) -> bool:
        """The client is to go on at `offset`; what was fetched before is still handed out. False if the partition is
        not ours any more, or the application has just chosen another place."""
        with self._lock:
            held = self._held.get(place)
            if held is None or held.lease != lease or held.moving:
                return False
            held.position = offset
        return True

    def moved(self, place: TopicPartition, lease: int) -> None:
        """The client has done a seek."""
        with self._lock:
            held = self._held.get(place)
            if held is not None and held.lease == lease and held.moving:
                held.moving -= 1

    # --- the application's side

    def take(self) -> Block | None:
        """The next block, partitions in turn."""
        if not self._records:
            return None
        with self._lock:
            places = list(self._held.items())
            for step in range(len(places)):
                place, held = places[(self._turn + step) % len(places)]
                if held.blocks and not held.leaving and place not in self.paused:
                    self._turn = (self._turn + step + 1) % len(places)
                    block, size = held.blocks.popleft()
                    self._count(place, held, -block.count, -size)
                    return block
        return None

    def seek(self, place: TopicPartition, offset: int) -> int | None:
        """Forget what was fetched of it; returns its lease, or None if it is not ours."""
        with self._lock:
            held = self._held.get(place)
            if held is None:
                return None
            self._drop(place, held)
            held.moving += 1
            held.stopped = False
            held.position = offset
            return held.lease

    def pause(self, places: Iterable[TopicPartition]) -> None:
        """Keep back what was fetched of these. It does not count as waiting: others would starve behind it."""
        with self._lock:
            for place in places:
                held = self._held.get(place)
                if held is not None and place not in self.paused:
                    self._records -= held.records
                    self._bytes -= held.size
                self.paused.add(place)

    def resume(self, places: Iterable[TopicPartition]) -> None:
        with self._lock:
            for place in places:
                held = self._held.get(place)
                if held is not None and place in self.paused:
                    self._records += held.records
                    self._bytes += held.size
                self.paused.discard(place)

    def _count(self, place: TopicPartition, held: Holding, records: int, size: int) -> None:
        held.records += records
        held.size += size
        if place not in self.paused:
            self._records += records
            self._bytes += size

    def _drop(self, place: TopicPartition, held: Holding) -> None:
        self._count(place, held, -held.records, -held.size)
        held.blocks.clear()
