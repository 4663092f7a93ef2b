"""The index of one segment of a partition log: where each batch is, and how late its latest record.

The rule: one assignment publishes a batch, so an interrupt between two lines, or a reader beside the writer,
sees the segment before it or after it. What does not belong here: files and record batches.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What a caller that decides on rolling and retention sees of a segment. `max_timestamp_ms` is -1 when
    empty.
    """

    base_offset: int
    next_offset: int
    size_bytes: int
    max_timestamp_ms: int
    active: bool


class SegmentIndex:
    """Base offset, position and latest timestamp of each batch, 24 bytes a batch; rebuilt by scanning on
    opening.
    """

    __slots__ = ("_bases", "_positions", "_published", "_timestamps", "base_offset")

    def __init__(self, base_offset: int, begin: int) -> None:
        self.base_offset = base_offset
        self._bases = array("q")
        self._positions = array("q")
        self._timestamps = array("q")
        # batches, next offset, end position, latest timestamp
        self._published = (0, base_offset, begin, -1)

    @property
    def batches(self) -> int:
        return self._published[0]

    @property
    def next_offset(self) -> int:
        return self._published[1]

    @property
    def end(self) -> int:
        """The position after the last batch, which is the size of the segment."""
        return self._published[2]

    @property
    def max_timestamp_ms(self) -> int:
        return self._published[3]

    def add(self, count: int, end: int, max_timestamp_ms: int) -> None:
        """Publish a batch of `count` records that lies between the end so far and `end`."""
        batches, base, begin, latest = self._published
        for column in (self._bases, self._positions, self._timestamps):
            del column[batches:]  # what an interrupted call left
        self._bases.append(base)
        self._positions.append(begin)
        self._timestamps.append(max_timestamp_ms)
        self._published = (batches + 1, base + count, end, max(latest, max_timestamp_ms))

    def find(self, offset: int) -> int:
        """The number of the batch that contains `offset`, which must lie in the segment."""
        return bisect_right(self._bases, offset, 0, self.batches) - 1

    def find_time(self, first: int, timestamp_ms: int) -> int:
        """The first batch from `first` on with a record at or after the time, or the number of batches."""
        batches, timestamps = self.batches, self._timestamps
        if self.max_timestamp_ms < timestamp_ms:
            return batches
        return next((i for i in range(first, batches) if timestamps[i] >= timestamp_ms), batches)

    def base(self, i: int) -> int:
        return self._bases[i]

    def position(self, i: int) -> int:
        return self._positions[i]

    def size(self, i: int) -> int:
        batches, _, end, _ = self._published
        return (self._positions[i + 1] if i + 1 < batches else end) - self._positions[i]
