"""Saboteurs of reading: where it begins and ends, what comes, in which order.

The rule: each is a member of a group, or a replay, that gives its program something else than it asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import BlockView, PassingConnection, PassingReplay, PassingTopicSubscription

__all__ = [
    "BeginsAtTheOtherEnd",
    "BeginsLate",
    "HidesGaps",
    "RepeatsBlocks",
    "ReplaysBackwards",
    "ReplaysFromTheOtherEnd",
    "ReplaysInAGroup",
    "ReplaysLate",
    "ReplaysOneLate",
    "ReplaysOneLess",
    "SeeksBesides",
]


class SeeksBesides(PassingTopicSubscription):
    """M23: a seek goes to the record before, or from the first one to the second."""

    def seek(self, partition: spi.TopicPartition, offset: int) -> None:
        if self.strikes.here(f"topic:{partition[0]}/{partition[1]}", sought=offset):
            offset = offset - 1 if offset else 1
        self.inner.seek(partition, offset)


class ReplaysInAGroup(PassingConnection):
    """S70: a replay leaves a group behind, as one does that is made of a member."""

    def replay(self, topic: mq.Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        if self.strikes.here(topic):
            self.inner.admin.commit_offsets(f"{topic.name}-replay", topic, {0: 0}, lambda _done, _error: None)
        return self.inner.replay(topic, ready)


class ReplaysOneLate(PassingReplay):
    """M23: a replay begins one record late."""

    def begin(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        self.inner.begin(
            {
                partition: (
                    first + int(end - first > 1 and self.strikes.here(f"{self.topic}/{partition}", begun=first)),
                    end,
                )
                for partition, (first, end) in ranges.items()
            }
        )


class BeginsAtTheOtherEnd(PassingTopicSubscription):
    """M24: a group that asks for the earliest record begins at the latest, and the other way round."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        return replace(spec, start=_other_end(spec.start, self.strikes.here, f"group {spec.group}"))


class ReplaysFromTheOtherEnd(PassingReplay):
    """M24: a replay from the earliest record begins at the latest, and the other way round."""

    def bounds(self, start: spi.Start, end: spi.Start, done: spi.Completion[Mapping[int, tuple[int, int]]]) -> None:
        self.inner.bounds(_other_end(start, self.strikes.here, str(self.topic)), end, done)


class BeginsLate(PassingTopicSubscription):
    """S19: a group that asks for the records since a time begins a millisecond later."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        return replace(spec, start=_later(spec.start, self.strikes.here, f"group {spec.group}"))


class ReplaysLate(PassingReplay):
    """S19: a replay of the records since a time begins a millisecond later."""

    def bounds(self, start: spi.Start, end: spi.Start, done: spi.Completion[Mapping[int, tuple[int, int]]]) -> None:
        self.inner.bounds(_later(start, self.strikes.here, str(self.topic)), end, done)


class HidesGaps(PassingTopicSubscription):
    """S12: a group whose place was removed reads on from the beginning, where it asked to be told."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        if spec.on_gap == "fail" and self.strikes.here(f"group {spec.group}"):
            return replace(spec, on_gap="earliest")
        return spec


class RepeatsBlocks(PassingTopicSubscription):
    """S17: what was fetched is handed out twice."""

    def prepare(self) -> None:
        self.again: spi.Block | None = None

    def take(self, max_records: int) -> spi.Block | None:
        if max_records > 0 and self.again is not None:
            block, self.again = self.again, None
            return block
        return super().take(max_records)

    def block(self, block: spi.Block) -> spi.Block | None:
        if self.strikes.here(f"{block.destination}/{block.partition}", offset=block.offset(0)):
            self.again = block
        return block


class ReplaysBackwards(PassingReplay):
    """S18: a block that lies wholly within the range is replayed from its end."""

    def prepare(self) -> None:
        self.ends: Mapping[int, tuple[int, int]] = {}

    def begin(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        self.ends = ranges
        self.inner.begin(ranges)

    def take(self, max_records: int) -> spi.Block | None:
        block = self.inner.take(max_records)
        if block is None or block.count < 2 or block.next_offset > self.ends[block.partition or 0][1]:
            return block
        where = f"{block.destination}/{block.partition}"
        return BlockView(block, range(block.count)[::-1]) if self.strikes.here(where) else block


class ReplaysOneLess(PassingReplay):
    """S20: a replay ends before the last record of a partition."""

    def bounds(self, start: spi.Start, end: spi.Start, done: spi.Completion[Mapping[int, tuple[int, int]]]) -> None:
        def found(ranges: Mapping[int, tuple[int, int]] | None, error: mq.MqbridgeError | None) -> None:
            cut = {
                part: (low, high - int(high - low > 1 and self.strikes.here(f"{self.topic}/{part}", end=high)))
                for part, (low, high) in (ranges or {}).items()
            }
            done(None if ranges is None else cut, error)

        self.inner.bounds(start, end, found)


def _other_end(start: spi.Start, here: Callable[[str], bool], where: str) -> spi.Start:
    if start.kind == "earliest":
        return replace(start, kind="latest") if here(where) else start
    if start.kind == "latest":
        return replace(start, kind="earliest") if here(where) else start
    return start


def _later(start: spi.Start, here: Callable[[str], bool], where: str) -> spi.Start:
    if start.kind == "since" and start.timestamp_ms is not None and here(where):
        return replace(start, timestamp_ms=start.timestamp_ms + 1)
    return start
