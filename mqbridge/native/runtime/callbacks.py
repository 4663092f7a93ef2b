"""The order of callbacks: each session has one mailbox, through which everything it is told goes.

The rule: what is put first is delivered first, one at a time, never under a lock and never inside another
delivery of the same mailbox. A thread that finds a delivery under way leaves its item to it; hence two
threads cannot reorder a session's notes, a callback may call back in, and the stack does not grow. A callback
must not block.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

_logger = logging.getLogger("mqbridge.native")


class Mailbox:
    """Callbacks with their arguments, delivered in the order in which they were put.

    `put` may be called under a lock that fixes the order among threads; `deliver` after that lock was
    released, by each thread that put something. An exception of a callback is logged and does not cost the
    next one its turn.
    """

    __slots__ = ("_busy", "_items")

    def __init__(self) -> None:
        self._items: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._busy = threading.Lock()

    def put(self, callback: Callable[..., None], *args: Any) -> None:
        """Add to the end."""
        self._items.append((callback, args))

    def deliver(self) -> None:
        """Run what is there, unless it is being run: then the thread at it takes ours along."""
        items, busy = self._items, self._busy
        # The outer loop closes the gap between the last look at `items` and the release of `busy`: whoever
        # put something in that gap found `busy` taken and left it to us.
        while items and busy.acquire(blocking=False):
            try:
                while items:
                    callback, args = items.popleft()
                    _run(callback, args)
            finally:
                busy.release()


def _run(callback: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        callback(*args)
    except Exception:
        _logger.exception("a callback of a native session failed; the session goes on")
