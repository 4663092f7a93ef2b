"""Reading partitions ahead: one fetch under way for each, its batches kept as blocks until they are taken.

The rule: a fetch that was asked for before a seek, or under an earlier lease, is recognised by its generation and
dropped; the answer looks at the generation and moves the place on in one step, so that no seek falls in between.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mqbridge.errors import ConnectionLost, MqbridgeError
from mqbridge.native.blocks import RecordBlock
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.topology import Topic

if TYPE_CHECKING:
    from mqbridge.native.runtime.session import Session

MAX_FETCH_BYTES = 1 << 20
LOW_WATER_RECORDS = 500


class PartitionFetch:
    """The reading place in one partition. `take` is called by one thread; answers and seeks come on any."""

    def __init__(
        self,
        session: Session,
        topic: Topic[Any],
        partition: int,
        lease: int,
        position: int,
        ready: Callable[[], None],
        failed: Callable[[PartitionFetch, MqbridgeError], None],
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.lease = lease
        self.position = position
        self.paused = False
        self.stopped = False
        self._session = session
        self._ready = ready
        self._failed = failed
        self._blocks: deque[RecordBlock] = deque()
        self._buffered = 0
        self._generation = 0
        self._asked = False
        self._watching = False
        # Held for a few assignments, never while calling out.
        self._moving = threading.Lock()

    @property
    def generation(self) -> int:
        """Changes with each seek."""
        return self._generation

    def take(self) -> RecordBlock | None:
        """The next block, or None; asks for more when little is left."""
        if self.paused or self.stopped:
            return None
        if self._buffered <= LOW_WATER_RECORDS and not self._asked and not self._watching:
            self._ask()
        with self._moving:
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self._buffered -= block.count
        return block

    def seek(self, offset: int) -> None:
        """Go on at `offset`; what was fetched is dropped."""
        with self._moving:
            self._generation += 1
            self._blocks.clear()
            self._buffered = 0
            self._asked = self._watching = False
            self.position = offset

    def rewind(self) -> None:
        """The broker is another one: what was asked for will not be answered; what was fetched stays."""
        with self._moving:
            self._generation += 1
            self._asked = self._watching = False

    def data(self) -> None:
        """The broker says that something was appended."""
        self._watching = False
        self._ready()

    def _ask(self) -> None:
        with self._moving:
            self._asked = True
            generation, offset = self._generation, self.position
        args = {
            "topic": self.topic.name,
            "partition": self.partition,
            "offset": offset,
            "max_bytes": MAX_FETCH_BYTES,
            "watch": True,
        }
        self._session.call("fetch", args, (), lambda *answer: self._answered(generation, offset, *answer))

    def _answered(
        self,
        generation: int,
        position: int,
        reply: dict[str, Any] | None,
        batches: list[RecordBatch],
        error: MqbridgeError | None,
    ) -> None:
        blocks: list[RecordBlock] = []
        for base, batch in zip([] if reply is None else reply["base_offsets"], batches, strict=True):
            if base < position:
                batch = batch.slice(position - base, batch.count)
                base = position
            blocks.append(RecordBlock(self.topic, self.partition, self.lease, base, batch))
            position = blocks[-1].next_offset
        with self._moving:
            if generation != self._generation:
                return
            if error is None and reply is not None:
                self._blocks.extend(blocks)
                self._buffered += sum(block.count for block in blocks)
                self.position = position
                # Whoever is answered with nothing is told of the next append, whether or not blocks wait here: they
                # may all be taken by the time of this answer, and then nobody would ask again.
                self._watching = not blocks
            # Last: `take` looks at it without the lock.
            self._asked = False
        if blocks:
            self._ready()
        # Without a host there is nothing to fetch from: the lease ends with it, and the group begins anew.
        elif error is not None and not isinstance(error, ConnectionLost):
            self._failed(self, error)
