"""What of a partition is too old or too much.

The rule: whole segments go, from the oldest on, and the active one only after it was rolled, as on Kafka
(retention.ms by a segment's latest timestamp, retention.bytes keeps at least that much). So more than the
limit may stay; less never does. What does not belong here: when this runs, and what the start offset means to
readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mqbridge.native.core.ports import Log, Segment


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits of one partition; None is unlimited."""

    max_age_s: float | None = None
    max_bytes: int | None = None

    @property
    def limited(self) -> bool:
        return self.max_age_s is not None or self.max_bytes is not None


def outdated(segments: Sequence[Segment], retention: Retention, wall_ms: int) -> int:
    """How many segments are to go, counted from the oldest; the active one counts if its time is over."""
    count = 0
    if retention.max_age_s is not None:
        oldest_ms = wall_ms - retention.max_age_s * 1000
        # Stops at the first that is young: what lies behind it stays readable without a gap, whatever its
        # timestamps.
        while count < len(segments) and -1 < segments[count].max_timestamp_ms < oldest_ms:
            count += 1
    if retention.max_bytes is not None:
        kept_bytes = sum(segment.size_bytes for segment in segments[count:])
        while count < len(segments) - 1 and kept_bytes - segments[count].size_bytes >= retention.max_bytes:
            kept_bytes -= segments[count].size_bytes
            count += 1
    return count


def enforce(log: Log, retention: Retention, wall_ms: int) -> None:
    """Drop what is outdated. An error of storage leaves what could not be dropped to the next time."""
    segments = log.segments()
    count = outdated(segments, retention, wall_ms)
    if not count:
        return
    last = segments[count - 1]
    if last.active:
        if count > 1:
            # First what needs no room on the disk: a roll may be refused by the very disk that this is to
            # relieve.
            log.drop_segments_before(last.base_offset)
        log.roll()
    log.drop_segments_before(last.next_offset)
