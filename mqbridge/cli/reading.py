"""Reading a source to its end, in batches: a topic without a group, a topic in a group, a queue.

The rule: a reader hands out batches and settles only what it is told to; an empty batch says that nothing is there
now, so that whoever reads can settle before it waits again. The end of a topic is its end as it was when reading
began.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import mqbridge as mq
from mqbridge.cli.output import counted, say

if TYPE_CHECKING:
    from mqbridge.cli.arguments import Moment
    from mqbridge.cli.stopping import Stop
    from mqbridge.positions import Position
    from mqbridge.spi import PartitionOffsets, QueueDescription

Batch = list[mq.Delivery[bytes]]
POLL_S = 0.2
PATIENCE_S = 3.0
"""How long a group may give us nothing before a person is told why we wait."""
QUIET_S = 1.5
"""How long nothing comes before the log itself is asked whether there is anything before its end."""
READ_S = 30.0
"""How long that may take."""
UNTOLD_FIRST_S, UNTOLD_IDLE_S = 15.0, 3.0
"""Where an engine does not tell how many messages are ready, that a queue is empty is taken from silence: so long
before the first message, for joining may take seconds, and so long behind the last."""
MORE_READY_S = 15.0
"""How long messages that are ready may not come to us before the queue is left as it is."""
PREFETCH_MOST = 2_000
"""RabbitMQ's quorum queues hand out no more, whatever is asked for (its documentation of quorum queues)."""


class Reader(Protocol):
    """Where deliveries come from. `total` is how many there may be, if that is known."""

    total: int | None

    def batches(self) -> Iterator[Batch]: ...

    def settle(self, batch: Sequence[mq.Delivery[bytes]]) -> None: ...

    def close(self) -> None: ...


class TopicReader:
    """A topic, in no group: from a place to its end, or on and on."""

    def __init__(
        self,
        bus: mq.Bus,
        topic: mq.Topic[bytes],
        start: Moment,
        stop: Stop,
        *,
        partition: int | None = None,
        follow: bool = False,
        limit: int | None = None,
        batch: int = 500,
    ) -> None:
        self._bus, self._topic, self._stop = bus, topic, stop
        self._follow, self._left, self._batch = follow, limit, batch
        self._partition = partition
        known = bus.admin.offsets(topic)
        if partition is not None and partition not in known:
            raise mq.NotFound(
                f"{topic} has {counted(len(known), 'partition')}, and no partition {partition}. Nothing was read.",
                next_command=f"topic describe {topic.name}   (its partitions)",
            )
        _say_if_beyond(topic, start, partition, known)
        end = _end(known, partition)
        self._replay = bus.replay(topic, start.position(lambda: known, partition), end)
        self.total: int | None = sum(high - low for low, high in self._replay.ranges.values())
        if follow:
            self.total = None

    def batches(self) -> Iterator[Batch]:
        while not self._stop.is_set():
            size = self._batch if self._left is None else min(self._batch, self._left)
            got = self._replay.poll(max_messages=size, timeout=POLL_S)
            if got:
                yield got
                if self._left is not None:
                    self._left -= len(got)
                    if not self._left:
                        return
            elif self._replay.done:
                if not self._follow:
                    return
                yield []
                self._go_on()

    def _go_on(self) -> None:
        """Read on behind the end of the last range; none is empty for long, for this waits until there is more."""
        reached = {p: high for p, (_, high) in self._replay.ranges.items()}
        self._replay.close()
        pause_s = 0.05
        while not self._stop.is_set():
            known = self._bus.admin.offsets(self._topic)
            chosen = known if self._partition is None else {self._partition: known[self._partition]}
            if any(item.end > reached.get(p, item.start) for p, item in chosen.items()):
                end = _end(known, self._partition)
                self._replay = self._bus.replay(self._topic, mq.At(reached), end)
                return
            time.sleep(pause_s)  # a replay is bounded, and no engine announces the next record to somebody in no group
            pause_s = min(0.4, pause_s * 1.5)

    def settle(self, batch: Sequence[mq.Delivery[bytes]]) -> None:
        """Nothing is settled by a replay."""

    def close(self) -> None:
        self._replay.close()


def _say_if_beyond(
    topic: mq.Topic[bytes], start: Moment, partition: int | None, known: Mapping[int, PartitionOffsets]
) -> None:
    """An offset that is not there yet is allowed, and looks just like an empty partition."""
    item = known.get(partition or 0)
    if start.kind == "offset" and item is not None and start.number > item.end:
        say(f"partition {partition or 0} of {topic} ends at {item.end}: there is nothing from {start.number} on yet")


def _end(known: Mapping[int, PartitionOffsets], partition: int | None) -> Position:
    """The end as it is now; of all but the chosen partition their start, so that there is nothing to read in them."""
    if partition is None:
        return mq.NOW
    return mq.At({p: item.end if p == partition else item.start for p, item in known.items()})


class GroupReader:
    """A topic in a group: from where the group is to the end as it was at the start, or on and on.

    It is at the end when the group is, on all partitions: another member may have some of them, and a member that was
    killed keeps its own until its session expires.
    """

    def __init__(
        self,
        bus: mq.Bus,
        topic: mq.Topic[bytes],
        group: str,
        start: Moment,
        stop: Stop,
        *,
        follow: bool = False,
        limit: int | None = None,
        batch: int = 500,
    ) -> None:
        self._topic, self._group, self._stop, self._left, self._batch = topic, group, stop, limit, batch
        offsets = bus.admin.offsets(topic)
        self._ends: Mapping[int, int] | None = None if follow else {p: item.last_stable for p, item in offsets.items()}
        self._open: set[int] = set(offsets)
        self._asked: set[int] = set()
        self._bus = bus
        known = _committed(bus, group, topic)
        self.resumed = bool(known)
        self.left = sum(max(0, item.end - known.get(p, item.start)) for p, item in offsets.items())
        """Records that the group has not settled, at most: offsets may have gaps."""
        self.total: int | None = None
        if not follow:
            self.total = self.left
        self.lost = 0
        self._consumer: mq.TopicConsumer[bytes] = bus.consumer(
            topic, group=group, start=start.position(lambda: offsets, None)
        )

    def batches(self) -> Iterator[Batch]:
        waited_since_s = time.monotonic()
        told = False
        while not self._stop.is_set():
            size = self._batch if self._left is None else min(self._batch, self._left)
            got = self._consumer.poll(max_messages=size, timeout=POLL_S)
            within = self._within(got) if self._ends is not None else got
            if within:
                waited_since_s = time.monotonic()
                yield within
                if self._left is not None:
                    self._left -= len(within)
                    if not self._left:
                        return
                if self._ends is not None and not self._open:
                    return
            elif not got:
                yield []
                if self._at_end():
                    return
                quiet_s = time.monotonic() - waited_since_s
                if self._ends is not None and quiet_s > QUIET_S and self._nothing_before_the_end():
                    return
                if not told and self._ends is not None and quiet_s > PATIENCE_S:
                    told = True
                    self._say_why()

    def _within(self, got: Batch) -> Batch:
        """Without what was written after reading began, which stays unsettled. Notes how far each partition is."""
        assert self._ends is not None
        within: Batch = []
        for delivery in got:
            partition, offset = delivery.partition, delivery.offset
            assert partition is not None
            assert offset is not None
            end = self._ends.get(partition, 0)
            if offset < end:
                within.append(delivery)
            if offset >= end - 1:
                self._open.discard(partition)
        return within

    def _at_end(self) -> bool:
        if self._ends is None:
            return False
        positions = {partition: offset for (_, partition), offset in self._consumer.next_offsets().items()}
        self._close_reached(positions)
        if self._open - set(positions):  # another member's
            self._close_reached(_committed(self._bus, self._group, self._topic))
        return not self._open

    def _nothing_before_the_end(self) -> bool:
        """Is there no record between where we are and the end?

        The last offsets of a partition may hold none: markers of transactions, and what compaction or an abort removed,
        are offsets that no consumer is given. Reading that range in no group tells, for it ends at its end. Asked once
        for each partition, and only about those that are ours: of another member's we know no position.
        """
        assert self._ends is not None
        mine = {p: o for (_, p), o in self._consumer.next_offsets().items() if p in self._open and p not in self._asked}
        if not mine:
            return False
        self._asked |= set(mine)
        low = {p: mine.get(p, end) for p, end in self._ends.items()}
        give_up_s = time.monotonic() + READ_S
        found: set[int | None] = set()
        with self._bus.replay(self._topic, mq.At(low), mq.At(self._ends)) as replay:
            while not replay.done and time.monotonic() < give_up_s and not self._stop.is_set():
                found |= {delivery.partition for delivery in replay.poll(timeout=POLL_S)}
            if replay.done:
                self._open -= set(mine) - found
        return not self._open

    def _close_reached(self, positions: Mapping[int, int]) -> None:
        assert self._ends is not None
        for partition in list(self._open):
            if positions.get(partition, -1) >= self._ends[partition]:
                self._open.discard(partition)

    def _say_why(self) -> None:
        mine = {partition for _, partition in self._consumer.assignment()}
        others = sorted(self._open - mine)
        if others:
            say(
                f"waiting: partition {', '.join(map(str, others))} of {self._topic} belongs to another member of group "
                f"{self._group} (mqbridge group describe {self._group}); one that was killed keeps it until its "
                "session expires"
            )

    def settle(self, batch: Sequence[mq.Delivery[bytes]]) -> None:
        for delivery in batch:
            try:
                delivery.ack()
            except mq.LeaseLost:
                self.lost += 1

    def close(self) -> None:
        self._consumer.close()


def _committed(bus: mq.Bus, group: str, topic: mq.Topic[Any]) -> dict[int, int]:
    try:
        found = bus.admin.describe_group(group)
    except mq.NotFound:
        return {}
    return {partition: offset for (name, partition), offset in found.committed.items() if name == topic.name}


class QueueReader:
    """A queue, until nothing came for `idle_s`, or on and on. What is not settled goes back when it is closed."""

    def __init__(
        self,
        bus: mq.Bus,
        queue: mq.Queue[bytes],
        stop: Stop,
        *,
        follow: bool = False,
        idle_s: float = 1.0,
        limit: int | None = None,
        batch: int = 500,
        prefetch: int = 500,
    ) -> None:
        self._stop, self._follow, self._idle_s, self._left, self._batch = stop, follow, idle_s, limit, batch
        self._bus, self._queue = bus, queue
        self.total = self._ready()
        self._tells = self.total is not None
        if follow:
            self.total = None
        prefetch = min(prefetch, PREFETCH_MOST)
        self._consumer: mq.QueueConsumer[bytes] = bus.consumer(
            queue, prefetch=prefetch if limit is None else min(prefetch, limit)
        )
        self.lost = 0

    def batches(self) -> Iterator[Batch]:
        idle_since_s = time.monotonic()
        some = False
        while not self._stop.is_set():
            size = self._batch if self._left is None else min(self._batch, self._left)
            got = self._consumer.poll(max_messages=size, timeout=min(POLL_S, self._idle_s))
            yield got
            if got:
                some, idle_since_s = True, time.monotonic()
                if self._left is not None:
                    self._left -= len(got)
                    if not self._left:
                        return
            elif not self._follow and self._empty(time.monotonic() - idle_since_s, some):
                return

    def _empty(self, quiet_s: float, some: bool) -> bool:
        """After so long without a message, some having come or none: is that the end?"""
        if not self._tells:
            return quiet_s >= max(self._idle_s, UNTOLD_IDLE_S if some else UNTOLD_FIRST_S)
        if quiet_s < self._idle_s:
            return False
        ready = self._ready()
        if not ready or quiet_s < max(self._idle_s, MORE_READY_S):
            return not ready
        say(f"{self._queue} has {counted(ready, 'message')} ready that did not come: another consumer has its turn")
        return True

    def _ready(self) -> int | None:
        """How many messages are ready, where the engine tells."""
        return cast("QueueDescription", self._bus.admin.describe(self._queue)).ready

    def settle(self, batch: Sequence[mq.Delivery[bytes]]) -> None:
        for delivery in batch:
            try:
                delivery.ack()
            except mq.LeaseLost:
                self.lost += 1

    def close(self) -> None:
        self._consumer.close()
