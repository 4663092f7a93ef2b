"""Milliseconds since the epoch: exact, rounded to the past, never from a datetime without a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge.semantics.timestamps import datetime_to_ms, ms_to_datetime, since_ms


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])))
def test_a_datetime_survives_to_the_millisecond(when: datetime) -> None:
    """Back and forth loses less than a millisecond, always to the past, in any zone and before 1970 too."""
    assert timedelta(0) <= when - ms_to_datetime(datetime_to_ms(when)) < timedelta(milliseconds=1)


def test_known_moments() -> None:
    """The epoch is 0, the millisecond before it -1, and a float of seconds would have lost the last one."""
    assert datetime_to_ms(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert datetime_to_ms(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    assert datetime_to_ms(datetime(2001, 9, 9, 3, 46, 40, tzinfo=timezone(timedelta(hours=2)))) == 10**12
    assert datetime_to_ms(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == 253402300799999


def test_a_datetime_without_a_zone_is_refused() -> None:
    """It would mean another moment on another machine."""
    with pytest.raises(ValueError, match="time zone"):
        datetime_to_ms(datetime(2026, 1, 1))


@pytest.mark.parametrize("timestamp_ms", [10**15, -(10**15), 10**30])
def test_a_timestamp_beyond_the_calendar_is_a_value_error(timestamp_ms: int) -> None:
    """A foreign producer's nonsense does not become an OverflowError."""
    with pytest.raises(ValueError, match="outside the years"):
        ms_to_datetime(timestamp_ms)


def test_since_starts_at_the_moment_or_the_duration_before_now() -> None:
    """Rounding never starts after the asked moment: the record of the same millisecond is read."""
    now_ms = 1_000_000
    assert since_ms(timedelta(seconds=1), now_ms) == 999_000
    assert since_ms(timedelta(0), now_ms) == now_ms
    assert since_ms(timedelta(microseconds=1_500), now_ms) == 999_998
    assert since_ms(datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC), now_ms) == 1_000
    with pytest.raises(ValueError, match="future"):
        since_ms(timedelta(seconds=-1), now_ms)
