"""Time as the runtime sees it: one monotonic clock, one wall clock.

The rule: nothing below the runtime asks a clock; it is told. Waits on sockets, locks and other processes are
real waits and do not go through a `Clock`: a simulated one cannot move another process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, cast


class Clock(Protocol):
    """Two readings. `mono_s` never goes back and drives timeouts within a process; `wall_ms` survives a
    restart.
    """

    def mono_s(self) -> float:
        """Seconds since some fixed moment."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""


class SteppedClock(Clock, Protocol):
    """A clock that a program moves by hand. A broker on it has no ticker thread: it is ticked when the clock
    moves.
    """

    def subscribe(self, fn: Callable[[], None]) -> object:
        """Call `fn` after each advance, in the advancing thread. A callable result unsubscribes."""


class RealClock:
    """The machine's clocks. CLOCK_MONOTONIC goes on while the process is stopped, and stands while Linux
    sleeps.
    """

    __slots__ = ()

    def mono_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000


def as_stepped(clock: Clock) -> SteppedClock | None:
    """The clock as one that tells of its advances, or None: a real one does not."""
    return cast(SteppedClock, clock) if callable(getattr(clock, "subscribe", None)) else None
