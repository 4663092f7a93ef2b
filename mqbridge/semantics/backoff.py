"""How often a failed message is tried again, and after which delay.

The one rule: a policy is a value. It reads no clock and draws no random number: the caller passes the attempt
and, for jitter, a number from 0 to 1. Waiting, counting and dead-lettering belong to the rooms that own the
message.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts and the delays between them.

    `max_attempts` counts the first delivery, as it does on a queue; None is without end. The delay after
    attempt n is `first_delay_s * multiplier ** (n - 1)` seconds, at most `max_delay_s`. `jitter` is the share
    by which a delay may fall below or rise above that, 0 for none, so that messages that failed together do
    not return together. Raises `ValueError` for values outside their range.
    """

    max_attempts: int | None = 3
    first_delay_s: float = 0.1
    multiplier: float = 2.0
    max_delay_s: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        attempts = self.max_attempts
        if attempts is not None and (type(attempts) is not int or attempts < 1):
            raise ValueError(
                f"max_attempts counts the first delivery, so it is a whole number of at least 1, or None for "
                f"no limit, not {attempts!r}."
            )
        for name, value, low in (
            ("first_delay_s", self.first_delay_s, 0.0),
            ("multiplier", self.multiplier, 1.0),
            ("max_delay_s", self.max_delay_s, 0.0),
            ("jitter", self.jitter, 0.0),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} is a number, not {value!r}.")
            if not isfinite(value) or value < low:
                raise ValueError(f"{name} is a finite number of at least {low:g}, not {value!r}.")
        if self.jitter > 1:
            raise ValueError(f"jitter is a share from 0 to 1, not {self.jitter!r}.")
        if self.max_delay_s < self.first_delay_s:
            raise ValueError(
                f"max_delay_s={self.max_delay_s!r} is below first_delay_s={self.first_delay_s!r}: "
                f"no delay could keep both."
            )

    def exhausted(self, attempt: int) -> bool:
        """Whether a message whose `attempt`-th delivery (1 is the first) failed is not delivered again."""
        _check_attempt(attempt)
        return self.max_attempts is not None and attempt >= self.max_attempts

    def delay_s(self, attempt: int, unit: float = 0.5) -> float:
        """Seconds between the failure of delivery `attempt` (1 is the first) and the next delivery.

        `unit` from 0 to 1 places the delay in its jitter band, 0.5 in the middle. The band is `delay * (1 -
        jitter)` to `delay * (1 + jitter)`, its upper edge cut at `max_delay_s`; cutting the edge and not the
        result keeps delays spread once the maximum is reached.
        """
        _check_attempt(attempt)
        if not 0.0 <= unit <= 1.0:
            raise ValueError(f"The jitter unit is a number from 0 to 1, not {unit!r}.")
        delay = min(self.first_delay_s * self._growth(attempt), self.max_delay_s)
        low = delay * (1.0 - self.jitter)
        high = min(delay * (1.0 + self.jitter), self.max_delay_s)
        return low + (high - low) * unit

    def _growth(self, attempt: int) -> float:
        try:
            return float(self.multiplier) ** (attempt - 1) if self.first_delay_s else 0.0
        except OverflowError:
            # An endless policy reaches this after about a thousand doublings; the maximum has held for long.
            return float("inf")


def _check_attempt(attempt: int) -> None:
    if attempt < 1:
        raise ValueError(f"Attempts count from 1, the first delivery, not from {attempt}.")
