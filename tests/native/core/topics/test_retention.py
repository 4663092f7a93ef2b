"""Which segments are outdated, decided from what is known of them alone."""

from __future__ import annotations

import pytest

from mqbridge.native.core.topics.retention import Retention, enforce, outdated
from mqbridge.native.storage.logs import MemoryPartitionLog
from mqbridge.native.storage.segments import SegmentInfo
from tests.native.core.world import batch


def segments(*latest_ms: int, size: int = 100) -> list[SegmentInfo]:
    last = len(latest_ms) - 1
    return [SegmentInfo(n, n + 1, size, ms, n == last) for n, ms in enumerate(latest_ms)]


@pytest.mark.parametrize(
    ("latest_ms", "expected"),
    [
        ((300, 400, 500), 0),
        ((299, 300, 500), 1),
        ((100, 200, 1300), 2),
        ((100, 1300, 200), 1),  # an old segment behind a young one stays: no gaps
        ((100, 200, 299), 3),
        ((-1,), 0),  # nothing in it to be old
    ],
)
def test_by_age(latest_ms: tuple[int, ...], expected: int) -> None:
    """Older than the limit, strictly, and only from the oldest segment on."""
    assert outdated(segments(*latest_ms), Retention(max_age_s=1.0), 1300) == expected


@pytest.mark.parametrize(
    ("max_bytes", "expected"), [(1, 2), (100, 2), (101, 1), (200, 1), (299, 0), (300, 0)]
)
def test_by_size(max_bytes: int, expected: int) -> None:
    """What is kept is never less than the limit, and the active segment is never the one that goes."""
    assert outdated(segments(1, 2, 3), Retention(max_bytes=max_bytes), 10) == expected


def test_the_two_limits_add_up() -> None:
    """Size is judged by what age has left."""
    assert outdated(segments(1, 2000, 3000, 4000), Retention(max_age_s=1.0, max_bytes=150), 2500) == 2


def test_what_can_go_without_room_goes_first() -> None:
    """When rolling the active segment is refused by a full disk, the old segments are gone all the same."""

    class Full(MemoryPartitionLog):
        def _begin_segment(self, base_offset: int) -> None:
            if base_offset == 2:
                raise OSError("no room")
            super()._begin_segment(base_offset)

    log = Full(segment_bytes=100)
    log.append(batch(b"x" * 80, timestamp_ms=1))
    log.append(batch(b"x" * 80, timestamp_ms=2))
    with pytest.raises(OSError, match="no room"):
        enforce(log, Retention(max_age_s=1.0), 5000)
    assert log.start_offset == 1
