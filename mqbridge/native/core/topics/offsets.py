"""How far one group is: committed offsets, the start rules, counted attempts.

The rules of start. (1) `start` applies only where the group has no committed offset. (2) The join that first
brings a topic to the group resolves it for all partitions and commits the result before anything is assigned;
else LATEST and a crash before the first commit would skip what lies between. (3) A partition that is added to
a topic the group knows starts at its beginning, which is offset 0. (4) A committed offset that retention has
overtaken stays as it is: reading there is OffsetLost, and the consumer decides.

This room only decides and remembers; the journal entry is written by `groups` before `apply` is called. What
does not belong here: who may commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

from mqbridge import errors
from mqbridge.native.core import arguments
from mqbridge.native.core.topics.membership import TopicPartition

StartKind: TypeAlias = Literal["earliest", "latest", "at", "since"]
Rows: TypeAlias = list[list[Any]]


class Readable(Protocol):
    """What the start rules need of a partition's log."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    def offset_at(self, timestamp_ms: int) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Start:
    """Where a group begins that has committed nothing: kind, and what the kinds ``at`` and ``since`` need."""

    kind: StartKind
    offsets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    timestamp_ms: int = 0

    @classmethod
    def read(cls, args: Mapping[str, Any]) -> Start:
        start = args.get("start")
        if not isinstance(start, dict) or start.get("kind") not in get_args(StartKind):
            raise arguments.wrong(
                "start", f"an object whose kind is one of {', '.join(get_args(StartKind))}", start
            )
        kind: StartKind = start["kind"]
        if kind == "at":
            topics = start.get("offsets")
            if not isinstance(topics, dict):
                raise arguments.wrong("start.offsets", "an object of topic to partitions", topics)
            return cls(kind, {topic: arguments.partition_offsets(topics, topic) for topic in topics})
        if kind == "since":
            return cls(kind, timestamp_ms=arguments.integer(start, "timestamp_ms"))
        return cls(kind)

    def check(self, topics: Mapping[str, Sequence[object]]) -> None:
        """ConfigurationError if ``at`` names what is not there."""
        for topic, offsets in self.offsets.items():
            missing = [number for number in offsets if number >= len(topics.get(topic, ()))]
            if topic not in topics or missing:
                what = f"topic {topic!r}" if topic not in topics else f"{topic}/{missing[0]}"
                raise errors.ConfigurationError(
                    f"start names {what}, which is not subscribed to or does not exist; nobody joined"
                )

    def resolve(self, topic: str, partition: int, log: Readable) -> int:
        """The first offset to read. A partition that ``at`` does not name starts at its beginning: nothing is
        skipped that nobody asked to skip."""
        if self.kind == "latest":
            return log.end
        if self.kind == "since":
            found = log.offset_at(self.timestamp_ms)
            return log.end if found is None else found
        if self.kind == "at" and partition in self.offsets.get(topic, ()):
            offset = self.offsets[topic][partition]
            if offset > log.end:
                raise errors.ConfigurationError(
                    f"start at offset {offset} of {topic}/{partition} lies beyond its end {log.end}; "
                    f"nobody joined and nothing was committed: start at {log.end} at most"
                )
            return offset
        return log.start


class GroupOffsets:
    """The committed offsets of one group. `brought` names the topics whose start was resolved (rule 2)."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self.brought: dict[str, None] = {}
        self.attempts: dict[TopicPartition, list[tuple[int, int]]] = {}

    def position(self, partition: TopicPartition) -> int | None:
        """Where reading goes on; None if nothing was ever decided."""
        known = self.committed.get(partition)
        return 0 if known is None and partition[0] in self.brought else known

    def topics(self) -> dict[str, None]:
        """All topics that something is decided about."""
        return self.brought | dict.fromkeys(topic for topic, _ in self.committed)

    def rows(self, partitions_of: Mapping[str, int]) -> Rows:
        """[topic, partition, offset] of all that is decided, sorted; `partitions_of` names the topics
        asked for."""
        every = (
            (topic, partition) for topic in sorted(partitions_of) for partition in range(partitions_of[topic])
        )
        return [[*tp, position] for tp in every if (position := self.position(tp)) is not None]

    def bring(self, topics: Mapping[str, Sequence[Readable]], start: Start) -> dict[str, Rows]:
        """Rule 2: what to commit for the topics that are new to the group, as topic -> [[partition,
        offset], ...]."""
        return {
            topic: [
                [number, start.resolve(topic, number, log)]
                for number, log in enumerate(logs)
                if (topic, number) not in self.committed
            ]
            for topic, logs in topics.items()
            if topic not in self.brought
        }

    def apply_start(self, topics: Mapping[str, Iterable[Sequence[int]]]) -> None:
        for topic, rows in topics.items():
            self.brought[topic] = None
            self.committed.update(((topic, partition), offset) for partition, offset in rows)

    def apply(self, offsets: Iterable[Sequence[Any]], attempts: Iterable[Sequence[Any]]) -> None:
        """[topic, partition, offset] and [topic, partition, offset, attempts]. A commit replaces the
        counts of its partition."""
        for topic, partition, offset in offsets:
            self.committed[topic, partition] = offset
            self.attempts.pop((topic, partition), None)
        for topic, partition, offset, count in attempts:
            self.attempts.setdefault((topic, partition), []).append((offset, count))

    def attempt_rows(self, partitions: Iterable[TopicPartition]) -> Rows:
        return [[*tp, offset, count] for tp in partitions for offset, count in self.attempts.get(tp, ())]

    def forget_topic(self, topic: str) -> None:
        """A topic of that name made later is another one; an offset of this one would skip its records."""
        self.brought.pop(topic, None)
        for table in (self.committed, self.attempts):
            for partition in [tp for tp in table if tp[0] == topic]:
                del table[partition]

    def snapshot(self, group: str) -> list[dict[str, Any]]:
        """The journal entries that make this state."""
        entries: list[dict[str, Any]] = []
        if self.brought:
            topics: dict[str, Rows] = {topic: [] for topic in self.brought}
            for (topic, partition), offset in self.committed.items():
                if topic in topics:
                    topics[topic].append([partition, offset])
            entries.append({"t": "group-start", "group": group, "topics": topics})
        # The counts again need the commit they came with, since a commit clears them.
        rest = [
            [*tp, offset]
            for tp, offset in self.committed.items()
            if tp[0] not in self.brought or tp in self.attempts
        ]
        if rest:
            attempts = self.attempt_rows(self.attempts)
            entries.append({"t": "group-offsets", "group": group, "offsets": rest, "attempts": attempts})
        return entries
