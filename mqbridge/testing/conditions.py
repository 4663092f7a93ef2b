"""Waiting in tests. The rule: a test waits for a condition with a deadline, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

__all__ = ["wait_until"]

LOOK_EVERY_S = 0.005


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0, message: str = "") -> T:
    """Call `condition` until it gives something true, and return that; `AssertionError` after `timeout_s` seconds.

    The seconds are real ones, whatever the clock of the bus. The last look comes after the deadline, so a slow machine
    fails only for what is not so. What `condition` raises is raised.
    """
    pause = threading.Event()
    deadline_s = time.monotonic() + timeout_s
    while True:
        late = time.monotonic() >= deadline_s
        found = condition()
        if found:
            return found
        if late:
            what = message or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"not within {timeout_s:g} s: {what} (the last look gave {found!r})")
        pause.wait(LOOK_EVERY_S)
