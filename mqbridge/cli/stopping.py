"""Being interrupted. The rule: the first signal asks, and what is under way is finished; the second insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mqbridge.cli.output import say


class Stop:
    """Set by SIGINT and SIGTERM.

    While `blocked` is true (a read of stdin, a write to a full pipe) the first signal raises `KeyboardInterrupt`
    already, for nothing would look at the flag.
    """

    __slots__ = ("asked", "blocked")

    def __init__(self) -> None:
        self.asked = False
        self.blocked = False

    def is_set(self) -> bool:
        return self.asked

    def may_block(self) -> None:
        """From now on until `blocked` is cleared. A signal that came before this counts, too: nobody would see it."""
        self.blocked = True
        if self.asked:
            raise KeyboardInterrupt

    def _signal(self, _number: int, _frame: object) -> None:
        insists = self.asked
        self.asked = True
        if insists or self.blocked:
            raise KeyboardInterrupt
        say("interrupted: finishing what is under way; once more to end at once")


@contextmanager
def stopping() -> Iterator[Stop]:
    """A `Stop` that the signals of this process set while the block runs."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals are the main thread's
        return
    before = {number: signal.signal(number, stop._signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
