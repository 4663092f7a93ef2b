"""Time that a test moves.

The rule: it never moves by itself, and whoever subscribed has seen each step before the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mqbridge.errors import ConfigurationError

__all__ = ["VirtualClock"]

DEFAULT_WALL_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z: a round date, so that a stray one is seen at a glance


class VirtualClock:
    """Both clocks of a native bus, moved by `advance` and by nothing else. Thread-safe.

    Time to live, delays, retention and session timeouts follow it; waiting in `poll`, `result` and the like does not,
    for that is the program's own time.
    """

    def __init__(self, wall_ms: int = DEFAULT_WALL_MS, mono_s: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._moving = threading.RLock()
        self._start_wall_ms = wall_ms
        self._start_mono_s = mono_s
        self._elapsed_s = 0.0
        self._stepping = False
        self._subscribers: dict[int, Callable[[], object]] = {}
        self._numbers = 0

    def mono_s(self) -> float:
        """Seconds, monotonic."""
        return self._start_mono_s + self._elapsed_s

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._start_wall_ms + round(self._elapsed_s * 1000)

    def advance(self, seconds: float, *, step_s: float | None = None) -> None:
        """Move both clocks forward by `seconds`, in one jump, or in steps of at most `step_s`.

        After the jump, or after each step, every subscriber is called, in the order of subscription, on this thread;
        what is due has happened when this returns. A jump is how a machine wakes from sleep: what is due at several
        moments in between happens at its end. Steps are how time passes while the program runs.
        """
        if seconds < 0:
            raise ConfigurationError(f"time does not go back: advance() takes 0 or more seconds, not {seconds!r}")
        if step_s is not None and step_s <= 0:
            raise ConfigurationError(f"step_s must be above zero, not {step_s!r}")
        with self._moving:
            if self._stepping:
                raise ConfigurationError("a subscriber of the clock must not advance it: a step is under way")
            self._stepping = True
            try:
                begin_s = self._elapsed_s
                end_s = begin_s + seconds
                steps = 1
                while step_s is not None and begin_s + steps * step_s < end_s:
                    # By multiplication: adding a step of 0.1 ten thousand times would drift from what was asked for.
                    self._move_to(begin_s + steps * step_s)
                    steps += 1
                self._move_to(end_s)
            finally:
                self._stepping = False

    def _move_to(self, elapsed_s: float) -> None:
        with self._lock:
            self._elapsed_s = elapsed_s
            subscribers = list(self._subscribers.values())
        for subscriber in subscribers:
            subscriber()

    def subscribe(self, fn: Callable[[], object]) -> Callable[[], None]:
        """Call `fn` after each step, in the advancing thread; returns what ends that."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self._subscribers[number] = fn

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(number, None)

        return unsubscribe

    def __repr__(self) -> str:
        return f"<VirtualClock +{self._elapsed_s:g} s>"
