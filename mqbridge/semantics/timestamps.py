"""Times on the wire: whole milliseconds since 1970-01-01 UTC, on every engine.

The one rule: exact integer arithmetic, rounded towards the past. A float of seconds cannot hold today's
microseconds exactly, and rounding up would let `Since(t)` skip a record stamped in the millisecond of `t`.
Reading the clock belongs to the caller.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def datetime_to_ms(when: datetime) -> int:
    """Milliseconds since the epoch, rounded down; `ValueError` for a datetime without a time zone."""
    if when.utcoffset() is None:
        raise ValueError(
            f"{when!r} has no time zone, so the moment it means depends on the machine; "
            f"use datetime.now(timezone.utc) or add tzinfo."
        )
    return (when - _EPOCH) // _MS


def ms_to_datetime(timestamp_ms: int) -> datetime:
    """The moment as a datetime in UTC; `ValueError` outside the years 1 to 9999."""
    try:
        return _EPOCH + timestamp_ms * _MS
    except OverflowError as error:
        raise ValueError(f"{timestamp_ms} ms since 1970 lies outside the years 1 to 9999.") from error


def since_ms(when: datetime | timedelta, now_ms: int) -> int:
    """The timestamp to read from: of a moment, or of a duration before `now_ms`; rounded down."""
    if isinstance(when, datetime):
        return datetime_to_ms(when)
    if when < timedelta(0):
        raise ValueError(f"{when!r} before now lies in the future; give a duration of 0 or more.")
    return now_ms + (-when) // _MS
