"""How often and after which delay a failed message is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqbridge.semantics.backoff import RetryPolicy


def test_max_attempts_counts_the_first_delivery() -> None:
    """With three, the third failure is the last; with one, the first; without a limit none."""
    assert [RetryPolicy(max_attempts=3).exhausted(attempt) for attempt in (1, 2, 3, 4)] == [False, False, True, True]
    assert RetryPolicy(max_attempts=1).exhausted(1)
    assert not RetryPolicy(max_attempts=None).exhausted(10**9)


def test_delays_grow_by_the_multiplier_up_to_the_maximum() -> None:
    """The first delay follows the first failure, and each next one is the multiple until the maximum holds."""
    policy = RetryPolicy(first_delay_s=1, multiplier=3, max_delay_s=10, jitter=0)
    assert [policy.delay_s(attempt) for attempt in (1, 2, 3, 4, 5)] == [1, 3, 9, 10, 10]
    assert RetryPolicy(first_delay_s=2, multiplier=1).delay_s(50) == 2


def test_an_endless_policy_never_overflows() -> None:
    """Attempt numbers beyond the range of a float give the maximum, and no delay stays none."""
    assert RetryPolicy(jitter=0).delay_s(10**6) == 30
    assert RetryPolicy(multiplier=10**200, jitter=0).delay_s(10**6) == 30
    assert RetryPolicy(first_delay_s=0).delay_s(10**6) == 0


def test_jitter_is_a_band_around_the_delay() -> None:
    """The unit 0.5 is the middle, 0 and 1 are the edges."""
    policy = RetryPolicy(first_delay_s=10, max_delay_s=100, jitter=0.5)
    assert [policy.delay_s(1, unit) for unit in (0, 0.5, 1)] == [5, 10, 15]


def test_jitter_still_spreads_delays_at_the_maximum() -> None:
    """Messages at the maximum are spread below it: cutting each result would send half of them at one moment."""
    policy = RetryPolicy(first_delay_s=10, max_delay_s=10, jitter=0.5)
    assert [policy.delay_s(9, unit) for unit in (0, 0.5, 1)] == [5, 7.5, 10]


@given(
    st.floats(0, 1e6), st.floats(1, 1e6), st.floats(0, 1e6), st.floats(0, 1), st.integers(1, 10_000), st.floats(0, 1)
)
def test_no_delay_is_negative_or_above_the_maximum(
    first: float, multiplier: float, more: float, jitter: float, attempt: int, unit: float
) -> None:
    """Whatever the settings, 0 <= delay <= max_delay_s."""
    policy = RetryPolicy(None, first, multiplier, first + more, jitter)
    assert 0 <= policy.delay_s(attempt, unit) <= policy.max_delay_s * (1 + 1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_attempts": 2.5},
        {"first_delay_s": -0.1},
        {"first_delay_s": float("nan")},
        {"first_delay_s": "1"},
        {"first_delay_s": 31},
        {"multiplier": 0.5},
        {"multiplier": float("inf")},
        {"max_delay_s": float("inf")},
        {"max_delay_s": 0.05},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": True},
    ],
)
def test_a_policy_that_cannot_be_is_refused_when_made(wrong: dict[str, Any]) -> None:
    """The ValueError names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


def test_attempts_and_units_outside_their_range_are_refused() -> None:
    """An attempt 0 is an off-by-one of the caller, and a unit above 1 would break the maximum."""
    policy = RetryPolicy()
    for call in (lambda: policy.exhausted(0), lambda: policy.delay_s(0)):
        with pytest.raises(ValueError, match="count from 1"):
            call()
    with pytest.raises(ValueError, match="unit"):
        policy.delay_s(1, 1.5)
