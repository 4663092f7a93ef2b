"""Reading partitions ahead: one fetch under way for each, its batches kept as blocks until they are taken.

The rule: a fetch that was asked for before a seek, or under an earlier lease, is recognised by its generation and
dropped.
"""

from __future__ import annotations

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
    """The reading place in one partition. `take` and `seek` are called by one thread; answers come on any."""

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

    def take(self) -> RecordBlock | None:
        """The next block, or None; asks for more when little is left."""
        if self.paused or self.stopped:
            return None
        if self._buffered <= LOW_WATER_RECORDS and not self._asked and not self._watching:
            self._ask()
        try:
            block = self._blocks.popleft()
        except IndexError:
            return None
        self._buffered -= block.count
        return block

    def seek(self, offset: int) -> None:
        """Go on at `offset`; what was fetched is dropped."""
        self._generation += 1
        self._blocks.clear()
        self._buffered = 0
        self._asked = self._watching = False
        self.position = offset

    def rewind(self) -> None:
        """The broker is another one: what was asked for will not be answered; what was fetched stays."""
        self._generation += 1
        self._asked = self._watching = False

    def data(self) -> None:
        """The broker says that something was appended."""
        self._watching = False
        self._ready()

    def _ask(self) -> None:
        self._asked = True
        generation = self._generation
        args = {
            "topic": self.topic.name,
            "partition": self.partition,
            "offset": self.position,
            "max_bytes": MAX_FETCH_BYTES,
            "watch": True,
        }
        self._session.call("fetch", args, (), lambda *answer: self._answered(generation, *answer))

    def _answered(
        self, generation: int, reply: dict[str, Any] | None, batches: list[RecordBatch], error: MqbridgeError | None
    ) -> None:
        if generation != self._generation:
            return
        # `_asked` falls last: the taking thread would ask for the same place once more while it is being moved on.
        if error is not None or reply is None:
            self._asked = False
            # Without a host there is nothing to fetch from: the lease ends with it, and the group begins anew.
            if error is not None and not isinstance(error, ConnectionLost):
                self._failed(self, error)
            return
        if not batches:
            # Whoever is answered with nothing is told of the next append, whether or not blocks wait here: they may all
            # be taken by the time of this answer, and then nobody would ask again.
            self._watching = True
            self._asked = False
            return
        position = self.position
        for base, batch in zip(reply["base_offsets"], batches, strict=True):
            if base < position:
                batch = batch.slice(position - base, batch.count)
                base = position
            block = RecordBlock(self.topic, self.partition, self.lease, base, batch)
            position = block.next_offset
            self._blocks.append(block)
            self._buffered += block.count
        self.position = position
        self._asked = False
        self._ready()
