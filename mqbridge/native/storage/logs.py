"""Partition logs: batches at consecutive offsets, in segments that are dropped as a whole.

The rule: offsets have no gap between what is kept and no offset is given twice. When to roll and what to drop
is decided by the caller (age, size, compaction); this room only refuses to keep a segment above
`segment_bytes`.
"""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from mqbridge import errors
from mqbridge.native.storage import disk
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.native.storage.frames import FIRST_FRAME, HEADER_BYTES, Durability, FrameFile
from mqbridge.native.storage.markers import Marker
from mqbridge.native.storage.segments import SegmentIndex, SegmentInfo

SEGMENT_BYTES = 64 << 20
CACHE_BYTES = 8 << 20

_BATCH_HEAD = struct.Struct("<QIq")  # base offset, records, latest timestamp
_OVERHEAD_BYTES = _BATCH_HEAD.size + HEADER_BYTES
_SEGMENT_NAME = re.compile(r"\d{20}\.log")


class PartitionLog(Protocol):
    """One partition's records. Calls on one log are serialised by its owner."""

    @property
    def start_offset(self) -> int:
        """The first offset that can be read."""

    @property
    def next_offset(self) -> int:
        """The offset that the next record gets."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments kept."""

    def append(self, batch: RecordBatch, *, base_offset: int | None = None) -> int:
        """Store a batch, whole or not at all, and return the offset of its first record.

        `base_offset` is what the caller takes that to be: ValueError if it is not, and for a batch without
        records. `Rejected` (retryable) when the disk is full; Unreachable with outcome unknown when a flush
        failed.
        """

    def read(self, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, RecordBatch]]:
        """(base offset, whole batch) from the batch that contains `offset`: the caller skips what is below
        it.

        At least one batch, then as many as fit in `max_bytes`; [] at `next_offset`; ValueError outside of
        start and next offset, since a reader beyond the end has seen records that the log does not have.
        """

    def offset_at(self, timestamp_ms: int) -> int | None:
        """The first offset, from the start, whose record is not older than the time; None without one."""

    def segments(self) -> list[SegmentInfo]:
        """The segments kept, oldest first; the last one is active."""

    def roll(self) -> None:
        """Begin a new segment, unless the active one is empty."""

    def drop_segments_before(self, offset: int) -> int:
        """Delete the inactive segments that lie wholly below `offset`; return the start offset after that."""

    def set_start_offset(self, offset: int) -> None:
        """Make what lies below `offset` unreadable, durably. ValueError outside of start and next offset.

        Whole segments below it may be gone after the next opening.
        """

    def close(self) -> None:
        """Flush and close; later calls raise `Closed`."""


class _SegmentedLog(ABC):
    """What both logs do alike: offsets, the index, rolling and dropping; subclasses keep the bytes."""

    def __init__(self, segment_bytes: int) -> None:
        self.start_offset = 0
        self._segment_bytes = segment_bytes
        self._segments: list[SegmentIndex] = []
        self._closed = False

    @property
    def next_offset(self) -> int:
        return self._segments[-1].next_offset

    @property
    def size_bytes(self) -> int:
        return sum(segment.end for segment in self._segments)

    def append(self, batch: RecordBatch, *, base_offset: int | None = None) -> int:
        self._check_open()
        if not batch.count:
            raise ValueError("a batch without records has no offset")
        active = self._segments[-1]
        base = active.next_offset
        if base_offset is not None and base_offset != base:
            raise ValueError(f"the next offset is {base}, not {base_offset}; nothing was appended")
        if active.batches and active.end + batch.size_bytes + _OVERHEAD_BYTES > self._segment_bytes:
            self.roll()
            active = self._segments[-1]
        end = self._store(active, base, batch)
        active.add(batch.count, end, batch.max_timestamp_ms)
        return base

    def read(self, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, RecordBatch]]:
        self._check_open()
        if not self.start_offset <= offset <= self.next_offset:
            raise ValueError(f"offset {offset} is not between start {self.start_offset} and end {self.next_offset}")
        out: list[tuple[int, RecordBatch]] = []
        taken = 0
        for segment, first in self._from(offset):
            for i in range(first, segment.batches):
                taken += segment.size(i)
                if out and taken > max_bytes:
                    return out
                out.append((segment.base(i), self._load(segment, i)))
        return out

    def offset_at(self, timestamp_ms: int) -> int | None:
        self._check_open()
        start = self.start_offset
        for segment, first in self._from(start):
            i = segment.find_time(first, timestamp_ms)
            while i < segment.batches:
                base, timestamps = segment.base(i), self._load(segment, i).timestamps_ms
                for record in range(max(start - base, 0), len(timestamps)):
                    if timestamps[record] >= timestamp_ms:
                        return base + record
                # The record that made this batch so late lies below the start offset.
                i = segment.find_time(i + 1, timestamp_ms)
        return None

    def segments(self) -> list[SegmentInfo]:
        active = self._segments[-1]
        return [
            SegmentInfo(
                segment.base_offset,
                segment.next_offset,
                segment.end,
                segment.max_timestamp_ms,
                segment is active,
            )
            for segment in self._segments
        ]

    def roll(self) -> None:
        self._check_open()
        if self._segments[-1].batches:
            self._begin_segment(self.next_offset)

    def drop_segments_before(self, offset: int) -> int:
        self._check_open()
        number = 0
        while number < len(self._segments) - 1 and self._segments[number].next_offset <= offset:
            number += 1
        if number:
            # The start first: a crash between the two then leaves files to clear away, never a gap.
            self.set_start_offset(max(self.start_offset, self._segments[number].base_offset))
            dropped, self._segments = self._segments[:number], self._segments[number:]
            self._delete(dropped)
        return self.start_offset

    def set_start_offset(self, offset: int) -> None:
        self._check_open()
        if not self.start_offset <= offset <= self.next_offset:
            raise ValueError(f"start {offset} is not between start {self.start_offset} and end {self.next_offset}")
        if offset != self.start_offset:
            self._save_start(offset)
            self.start_offset = offset

    def _from(self, offset: int) -> Iterator[tuple[SegmentIndex, int]]:
        """The segments from the one that contains `offset`, each with the number of its first batch that
        counts.
        """
        if offset >= self.next_offset:
            return
        number = bisect_right(self._segments, offset, key=lambda segment: segment.base_offset) - 1
        first = self._segments[number].find(offset)
        for segment in self._segments[number:]:
            yield segment, first
            first = 0

    def _check_open(self) -> None:
        if self._closed:
            raise errors.Closed("the partition log is closed; nothing was applied")

    @abstractmethod
    def _store(self, segment: SegmentIndex, base: int, batch: RecordBatch) -> int:
        """Keep the batch at the end of the active segment and return the position after it."""

    @abstractmethod
    def _load(self, segment: SegmentIndex, i: int) -> RecordBatch:
        """Batch number i of a segment."""

    @abstractmethod
    def _begin_segment(self, base_offset: int) -> None:
        """Make a segment and make it the active one."""

    @abstractmethod
    def _delete(self, segments: list[SegmentIndex]) -> None:
        """Forget the bytes of segments that are not in the list any more."""

    @abstractmethod
    def _save_start(self, offset: int) -> None:
        """Make the start offset durable."""


class MemoryPartitionLog(_SegmentedLog):
    """A partition log that ends with the process; it keeps the batches as they are."""

    def __init__(self, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        super().__init__(segment_bytes)
        self._batches: dict[int, RecordBatch] = {}
        self._begin_segment(0)

    def close(self) -> None:
        self._closed = True

    def _store(self, segment: SegmentIndex, base: int, batch: RecordBatch) -> int:
        self._batches[base] = batch
        return segment.end + batch.size_bytes + _OVERHEAD_BYTES

    def _load(self, segment: SegmentIndex, i: int) -> RecordBatch:
        return self._batches[segment.base(i)]

    def _begin_segment(self, base_offset: int) -> None:
        self._segments.append(SegmentIndex(base_offset, FIRST_FRAME))

    def _delete(self, segments: list[SegmentIndex]) -> None:
        for segment in segments:
            for i in range(segment.batches):
                del self._batches[segment.base(i)]

    def _save_start(self, offset: int) -> None:
        """Nothing outlives the process."""


class FilePartitionLog(_SegmentedLog):
    """A partition log in a folder of segment files, each named by its base offset.

    Opening reads and verifies every segment. `cut_bytes`: how much of a never confirmed batch that cut off. `check`
    raises when the path is not to be used any more.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        durability: Durability = "os",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(segment_bytes)
        self._folder = folder
        self._check = check
        self._durability: Durability = durability
        # Two caches, so that a reader of old batches does not drive out what the readers at the tail share.
        self._appended = _BatchCache(CACHE_BYTES // 2)
        self._decoded = _BatchCache(CACHE_BYTES // 2)
        self._active: FrameFile | None = None
        self._reader: tuple[SegmentIndex, FrameFile] | None = None
        disk.make_folder(folder)
        self._start = Marker(folder, "start")
        self._open()

    @property
    def cut_bytes(self) -> int:
        return self._tail.cut_bytes

    def close(self, *, flush: bool = True) -> None:
        """Flush and close. `flush=False`: for a log whose files are about to be deleted."""
        if self._closed:
            return
        self._closed = True
        try:
            if flush:
                self._tail.sync()
        finally:
            self._tail.close()
            self._close_reader()

    @property
    def _tail(self) -> FrameFile:
        assert self._active is not None, "a log has an active segment from opening on"
        return self._active

    def _open(self) -> None:
        bases = self._bases()
        start = self._start.number
        if not bases:
            if start:
                raise disk.corrupt(self._path(start), 0, f"the log begins at {start} but has no segment")
            if start is None:
                self._start.move(0)
            self._begin_segment(0)
            return
        if start is None:
            raise disk.corrupt(self._path(bases[0]), 0, "the file that says where the log begins is missing")
        bases = self._clear_leftovers(bases, start)
        for base in bases:
            path = self._path(base)
            if self._segments and base != self.next_offset:
                raise disk.corrupt(path, 0, f"offset {self.next_offset} comes next, this segment begins at {base}")
            segment = SegmentIndex(base, FIRST_FRAME)
            self._segments.append(segment)
            visit = _indexer(segment, path)
            if base == bases[-1]:
                self._active = FrameFile(path, durability=self._durability, tail=True, visit=visit)
            else:
                file = FrameFile(path, tail=False)
                try:
                    for position, payload in file.scan():
                        visit(position, payload)
                finally:
                    file.close()
        self.start_offset = start
        if start > self.next_offset:
            self._tail.close()
            raise disk.corrupt(self._path(bases[-1]), 0, f"it ends before the start of the log, {start}")

    def _bases(self) -> list[int]:
        try:
            names = [entry.name for entry in self._folder.iterdir() if _SEGMENT_NAME.fullmatch(entry.name)]
        except OSError as error:
            raise disk.disk_error(error, self._folder, "listing") from error
        return sorted(int(name[:20]) for name in names)

    def _clear_leftovers(self, bases: list[int], start: int) -> list[int]:
        """Remove segments that a crash kept from being deleted; return the base offsets of the others."""
        if bases[0] > start:
            raise disk.corrupt(self._path(bases[0]), 0, f"the log begins at {start}, its first segment later")
        # By names alone: of several removals, a power cut may have undone any.
        first = bisect_right(bases, start) - 1
        for base in bases[:first]:
            disk.remove_file(self._path(base))
        if first:
            disk.flush_folder(self._folder)
        return bases[first:]

    def _store(self, segment: SegmentIndex, base: int, batch: RecordBatch) -> int:
        file = self._tail
        file.check_usable()
        if file.size > segment.end:
            # An append that was interrupted (Ctrl-C) after its write: never confirmed, and its offset is
            # given again.
            file.cut(segment.end)
        file.append([_BATCH_HEAD.pack(base, batch.count, batch.max_timestamp_ms), batch.encode()])
        self._appended.put(base, batch)
        return file.size

    def _load(self, segment: SegmentIndex, i: int) -> RecordBatch:
        base = segment.base(i)
        batch = self._appended.get(base) or self._decoded.get(base)
        if batch is None:
            file, position = self._file_of(segment), segment.position(i)
            payload = file.read(position)
            found, count, _ = _BATCH_HEAD.unpack_from(payload)
            try:
                batch = RecordBatch.decode(payload[_BATCH_HEAD.size :])
            except ValueError as error:
                raise disk.corrupt(file.path, position, str(error)) from error
            if found != base or batch.count != count:
                raise disk.corrupt(file.path, position, f"{batch.count} records from {found}, not {count} from {base}")
            self._decoded.put(base, batch)
        return batch

    def _begin_segment(self, base_offset: int) -> None:
        old, path = self._active, self._path(base_offset)
        if old is not None:
            # Only the last file of a sequence may be torn, and creating the next one below is durable: so
            # this one has to be durable first, whatever the durability of single appends.
            old.sync()
        try:
            self._active = FrameFile(path, durability=self._durability, tail=True)
            self._segments.append(SegmentIndex(base_offset, FIRST_FRAME))
        except BaseException:
            if old is not None and path.exists():
                # Appending to the old segment now would make offsets that the new file's name gives again.
                old.fail("the next segment was begun but not finished")
                self._tail.fail("the next segment was begun but not finished")
            raise
        if old is not None:
            old.close()

    def _delete(self, segments: list[SegmentIndex]) -> None:
        self._close_reader()
        for segment in segments:
            disk.remove_file(self._path(segment.base_offset))
        disk.flush_folder(self._folder)

    def _save_start(self, offset: int) -> None:
        if offset > self._segments[-1].base_offset:
            # A start that outlives the records below it would be a log that ends before it begins.
            self._tail.sync()
        self._check()
        self._start.move(offset)

    def _file_of(self, segment: SegmentIndex) -> FrameFile:
        if segment is self._segments[-1]:
            return self._tail
        if self._reader is None or self._reader[0] is not segment:
            # One old segment is open at a time: many partitions with many segments would use up the
            # descriptors.
            self._close_reader()
            self._reader = (segment, FrameFile(self._path(segment.base_offset), tail=False))
        return self._reader[1]

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader[1].close()

    def _path(self, base_offset: int) -> Path:
        self._check()
        return self._folder / f"{base_offset:020d}.log"


class _BatchCache:
    """The batches that came last, up to a number of encoded bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._batches: OrderedDict[int, RecordBatch] = OrderedDict()

    def get(self, base_offset: int) -> RecordBatch | None:
        return self._batches.get(base_offset)

    def put(self, base_offset: int, batch: RecordBatch) -> None:
        replaced = self._batches.pop(base_offset, None)
        self._batches[base_offset] = batch
        self._bytes += batch.size_bytes - (replaced.size_bytes if replaced is not None else 0)
        while self._bytes > self._limit_bytes:
            self._bytes -= self._batches.popitem(last=False)[1].size_bytes


def _indexer(segment: SegmentIndex, path: Path) -> Callable[[int, bytes], None]:
    def visit(position: int, payload: bytes) -> None:
        if len(payload) < _BATCH_HEAD.size:
            raise disk.corrupt(path, position, f"a frame of {len(payload)} bytes is too short for a batch")
        base, count, latest = _BATCH_HEAD.unpack_from(payload)
        if base != segment.next_offset or not count:
            raise disk.corrupt(path, position, f"{count} records from {base} where {segment.next_offset} comes next")
        segment.add(count, position + HEADER_BYTES + len(payload), latest)

    return visit
