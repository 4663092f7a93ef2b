"""Saboteurs of groups: what is committed, who owns what, where a member goes on.

The rule: each is a member that does one thing wrong and tells its program that all is well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import BlockView, PassingTopicSubscription

__all__ = [
    "CommitsOneMore",
    "CommitsStale",
    "ForgetsInstances",
    "IgnoresPause",
    "KeepsWhatIsRevoked",
    "LeavesUnowned",
    "LosesCommits",
    "RewindsTooFar",
    "SkipsAtRebalance",
    "StaysInTheGroup",
    "StopsTheWorld",
    "TakesStaleCommits",
]

Offsets = Mapping[spi.TopicPartition, tuple[int, int]]
Committed = spi.Completion[tuple[spi.TopicPartition, ...]]
REWIND: Final = 2


class LosesCommits(PassingTopicSubscription):
    """M15: a commit is answered and not made."""

    def commit(self, offsets: Offsets, done: Committed) -> None:
        kept = {place: at for place, at in offsets.items() if not self.strikes.here(_said(place), committed=at[1])}
        if kept:
            self.inner.commit(kept, done)
        else:
            done((), None)


class CommitsOneMore(PassingTopicSubscription):
    """M16: the offset after the next one is committed, where the program holds a delivery that it has not settled."""

    def prepare(self) -> None:
        self.taken: dict[spi.TopicPartition, tuple[int, int]] = {}

    def block(self, block: spi.Block) -> spi.Block | None:
        self.taken[_place(block)] = (block.lease, block.next_offset)
        return block

    def commit(self, offsets: Offsets, done: Committed) -> None:
        changed: dict[spi.TopicPartition, tuple[int, int]] = {}
        for place, (lease, offset) in offsets.items():
            of, end = self.taken.get(place, (lease, offset))
            more = of == lease and offset < end and self.strikes.here(_said(place), committed=offset + 1)
            changed[place] = (lease, offset + 1 if more else offset)
        self.inner.commit(changed, done)


class CommitsStale(PassingTopicSubscription):
    """M17: after a commit the one before it is made again, as by a retry that comes late."""

    def prepare(self) -> None:
        self.before: dict[spi.TopicPartition, tuple[int, int]] = {}

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Assigned):
            self.before.update(event.partitions)
        return (event,)

    def commit(self, offsets: Offsets, done: Committed) -> None:
        stale: dict[spi.TopicPartition, tuple[int, int]] = {}
        for place, (lease, offset) in offsets.items():
            old = self.before.get(place)
            if old is not None and old[0] == lease and old[1] < offset:
                if self.strikes.here(_said(place), committed=old[1]):
                    stale[place] = old
            self.before[place] = (lease, offset)

        def committed(refused: tuple[spi.TopicPartition, ...] | None, error: mq.MqbridgeError | None) -> None:
            if error is not None or not stale:
                done(refused, error)
            else:
                self.inner.commit(stale, lambda _refused, _error: done(refused, None))

        self.inner.commit(offsets, committed)


class _Zombie(PassingTopicSubscription):
    """A member that is not told that a partition is another's; `kept` are those. What it commits of them is
    answered."""

    def prepare(self) -> None:
        self.kept: set[spi.TopicPartition] = set()

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Assigned):
            self.kept.difference_update(event.partitions)
        return (event,)

    def commit(self, offsets: Offsets, done: Committed) -> None:
        mine = {place: at for place, at in offsets.items() if place not in self.kept}
        if mine or not offsets:
            self.inner.commit(mine, done)
        else:
            done((), None)


class TakesStaleCommits(_Zombie):
    """M18: what a member commits of partitions that it has lost is accepted, and it does not hear that it has lost
    them."""

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if not isinstance(event, spi.Lost):
            return super().event(event)
        told = tuple(place for place in event.partitions if not self._keeps(place))
        return (replace(event, partitions=told),) if told else ()

    def _keeps(self, place: spi.TopicPartition) -> bool:
        if place not in self.kept and self.strikes.here(_said(place)):
            self.kept.add(place)
        return place in self.kept

    def commit(self, offsets: Offsets, done: Committed) -> None:
        def committed(refused: tuple[spi.TopicPartition, ...] | None, error: mq.MqbridgeError | None) -> None:
            done(refused and tuple(place for place in refused if not self._keeps(place)), error)

        super().commit(offsets, committed)


class KeepsWhatIsRevoked(_Zombie):
    """M19: a partition that is to move is given up to the next member, and read on as well."""

    def prepare(self) -> None:
        super().prepare()
        self.leases: dict[spi.TopicPartition, tuple[int, int]] = {}
        self.readers: dict[spi.TopicPartition, _Reader] = {}

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Assigned):
            self.leases.update(event.partitions)
            for place in event.partitions:
                self.readers.pop(place, None)
        if isinstance(event, spi.Lost):
            told = tuple(place for place in event.partitions if place not in self.kept)
            return (replace(event, partitions=told),) if told else ()
        if not isinstance(event, spi.Revoking) or not self.strikes.here(", ".join(map(_said, event.partitions))):
            return super().event(event)
        self.kept.update(event.partitions)
        topics = {topic.name: topic for topic in self.spec.topics}
        for place in event.partitions:
            if place in self.leases:
                source = self.connection.replay(topics[place[0]], self.ready)
                self.readers[place] = _Reader(source, place[1], *self.leases[place])
        event.done()
        return ()

    def block(self, block: spi.Block) -> spi.Block | None:
        self.leases[_place(block)] = (block.lease, block.next_offset)
        return block

    def take(self, max_records: int) -> spi.Block | None:
        block = super().take(max_records)
        if block is not None or max_records <= 0:
            return block
        return next((found for reader in list(self.readers.values()) if (found := reader.take(max_records))), None)

    def close(self, done: spi.Completion[None]) -> None:
        for reader in self.readers.values():
            reader.source.close()
        super().close(done)


class _Reader:
    """Reads a partition on, without a lease, under the number of the lease that was."""

    def __init__(self, source: spi.ReplaySource, partition: int, lease: int, position: int) -> None:
        self.source = source
        self._partition = partition
        self._lease = lease
        self._position = position
        self._end = 0
        self._looking = False

    def take(self, max_records: int) -> spi.Block | None:
        if self._position >= self._end:
            self._look()
            return None
        block = self.source.take(max_records)
        if block is None:
            return None
        first = next((index for index in range(block.count) if block.offset(index) >= self._position), block.count)
        self._position = block.next_offset
        return _Leased(block, range(first, block.count), self._lease) if first < block.count else None

    def _look(self) -> None:
        """What has come since?"""
        if self._looking:
            return
        self._looking = True
        start = spi.Start("at", {self._partition: self._position})
        self.source.bounds(start, spi.Start("latest"), self._found)

    def _found(self, ranges: Mapping[int, tuple[int, int]] | None, _error: mq.MqbridgeError | None) -> None:
        low, high = (ranges or {}).get(self._partition, (0, 0))
        if low < high:
            self._end = high
            self.source.begin({self._partition: (low, high)})
        self._looking = False


class _Leased(BlockView):
    __slots__ = ()

    def __init__(self, inner: spi.Block, indices: Sequence[int], lease: int) -> None:
        super().__init__(inner, indices)
        self.lease = lease


class LeavesUnowned(PassingTopicSubscription):
    """M20: of an assignment one partition reaches nobody."""

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Assigned) and event.partitions:
            place = max(event.partitions)
            if self.strikes.here(_said(place)):
                rest = {other: at for other, at in event.partitions.items() if other != place}
                return (spi.Assigned(rest),) if rest else ()
        return (event,)


class SkipsAtRebalance(PassingTopicSubscription):
    """M21: the first record after an assignment is skipped."""

    def prepare(self) -> None:
        self.fresh: set[tuple[spi.TopicPartition, int]] = set()

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Assigned):
            self.fresh.update((place, lease) for place, (lease, _) in event.partitions.items())
        return (event,)

    def block(self, block: spi.Block) -> spi.Block | None:
        mine = (_place(block), block.lease)
        if mine not in self.fresh:
            return block
        self.fresh.discard(mine)
        if not self.strikes.here(_said(mine[0]), offset=block.offset(0)):
            return block
        return BlockView(block, range(1, block.count)) if block.count > 1 else None


class RewindsTooFar(PassingTopicSubscription):
    """M22: after an assignment reading goes on two records before the committed one."""

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Assigned):
            for place, (_, position) in event.partitions.items():
                if position > 0 and self.strikes.here(_said(place), committed=position):
                    self.inner.seek(place, max(0, position - REWIND))
        return (event,)


class IgnoresPause(PassingTopicSubscription):
    """S10: a partition that is paused is read on."""

    def pause(self, partitions: Sequence[spi.TopicPartition]) -> None:
        left = [place for place in partitions if not self.strikes.here(_said(place))]
        self.inner.pause(left)


class ForgetsInstances(PassingTopicSubscription):
    """S13: a static member joins as any other."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if spec.instance_id is not None and self.strikes.here(f"group {spec.group}", instance=spec.instance_id):
            return replace(spec, instance_id=None)
        return spec


class StopsTheWorld(PassingTopicSubscription):
    """S14: in a cooperative rebalance every partition is given up."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if spec.rebalance == "cooperative" and self.strikes.here(f"group {spec.group}"):
            return replace(spec, rebalance="eager")
        return spec


class StaysInTheGroup(PassingTopicSubscription):
    """S15: a member that is closed keeps its partitions as long as its connection is open."""

    def close(self, done: spi.Completion[None]) -> None:
        if self.strikes.here(f"group {self.spec.group}"):
            done(None, None)
        else:
            self.inner.close(done)


def _place(block: spi.Block) -> spi.TopicPartition:
    return block.destination.name, block.partition or 0


def _said(place: spi.TopicPartition) -> str:
    return f"topic:{place[0]}/{place[1]}"
