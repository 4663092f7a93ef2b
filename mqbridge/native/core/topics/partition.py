"""One partition: its log, and who waits for it to grow.

The rule: an offset is checked here, once, so that a reader gets what it asked for, or an error that says what
it lost. What does not belong here: names of operations, groups, retention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mqbridge import errors
from mqbridge.native.core.ports import Batch, Log


class Partition:
    """A log with watchers. A watch is for one note: whoever is told fetches, and watches again if there is
    nothing."""

    __slots__ = ("_active_bytes", "_segment_bytes", "_watchers", "log", "number", "topic")

    def __init__(self, topic: str, number: int, log: Log, segment_bytes: int | None) -> None:
        self.topic = topic
        self.number = number
        self.log = log
        self._segment_bytes = segment_bytes
        self._active_bytes = log.segments()[-1].size_bytes  # an upper bound: the log may roll by itself
        self._watchers: dict[int, None] = {}

    @property
    def start(self) -> int:
        return self.log.start_offset

    @property
    def end(self) -> int:
        return self.log.next_offset

    def append(self, batch: Batch) -> int:
        if not batch.count:
            raise errors.ConfigurationError(f"a batch for {self} has no record; nothing was appended")
        if self._segment_bytes is not None:
            self._make_room(batch.size_bytes, self._segment_bytes)
        return self.log.append(batch)

    def _make_room(self, size_bytes: int, segment_bytes: int) -> None:
        """Roll if the active segment would grow beyond what the topic asks for. A batch larger than that
        stands alone."""
        if self._active_bytes + size_bytes > segment_bytes:
            self._active_bytes = self.log.segments()[-1].size_bytes
            if self._active_bytes + size_bytes > segment_bytes:
                self.log.roll()
                self._active_bytes = 0
        self._active_bytes += size_bytes

    def fetch(self, offset: int, max_bytes: int) -> Sequence[tuple[int, Batch]]:
        """Whole batches, the first one containing `offset`; none at the end.

        OffsetLost below the start, with `topic`, `partition`, `committed`, `start`; ConfigurationError beyond
        the end: such a reader has seen a log that is not this one.
        """
        if offset < self.start:
            raise errors.OffsetLost(
                f"offset {offset} of {self} is gone, the log starts at {self.start}; nothing was read: go on "
                f"from {self.start}, knowing that what lies between was not seen",
                topic=self.topic,
                partition=self.number,
                committed=offset,
                start=self.start,
            )
        if offset > self.end:
            raise errors.ConfigurationError(
                f"offset {offset} of {self} lies beyond its end {self.end}; nothing was read: "
                "start there at most"
            )
        return self.log.read(offset, max_bytes)

    def offset_at(self, timestamp_ms: int) -> int | None:
        return self.log.offset_at(timestamp_ms)

    def check_within(self, offset: int) -> None:
        """ConfigurationError unless `offset` can be a position: the end at most."""
        if offset > self.end:
            raise errors.ConfigurationError(
                f"offset {offset} lies beyond the end {self.end} of {self}; nothing was changed"
            )

    def delete_before(self, offset: int) -> None:
        """What is below `offset` cannot be read any more; its bytes go segment by segment."""
        if offset > self.start:
            self.log.set_start_offset(offset)
            self.log.drop_segments_before(offset)

    def watch(self, session: int) -> None:
        self._watchers[session] = None

    def unwatch(self, session: int) -> None:
        self._watchers.pop(session, None)

    def take_watchers(self) -> list[int]:
        watchers = list(self._watchers)
        self._watchers.clear()
        return watchers

    def description(self) -> dict[str, Any]:
        return {
            "partition": self.number,
            "start": self.start,
            "end": self.end,
            "size_bytes": self.log.size_bytes,
        }

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"
