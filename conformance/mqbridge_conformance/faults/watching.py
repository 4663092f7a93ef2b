"""Looking on while a history is written, by all its processes, and waiting for what is to happen in it.

The rule: what is waited for are events, never a time; the patience is for a machine that is slow, and when it is over
nobody can tell. Lines are read as they come, whole ones alone.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mqbridge_conformance.faults.fault import Fault
from mqbridge_conformance.history import Event, Kind
from mqbridge_conformance.history.events import unpack_event
from mqbridge_conformance.results import CannotTell

__all__ = ["Step", "Watch", "When"]

_LOOK_EVERY_S: Final = 0.02


def _any(event: Event) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class When:
    """That many events of this name and kind, of those that `where` holds for. With `each`, that many of each of these
    processes: ``When("deliver", count=100, each=["consume-1", "consume-2"])``."""

    f: str
    kind: Kind = "ok"
    count: int = 1
    each: Sequence[str] = ()
    where: Callable[[Event], bool] = _any

    def do(self, action: Callable[[], Fault | None]) -> Step:
        """Then do that; a fault that it gives can be healed by a later step."""
        return Step(self, action)

    def heal(self) -> Step:
        """Then heal the last fault of the plan that is in force."""
        return Step(self, None)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens in a plan, and when; see `When.do` and `When.heal`."""

    when: When
    action: Callable[[], Fault | None] | None


class _Counting:
    def __init__(self, when: When, since: int) -> None:
        self._when = when
        self._since = since
        self._found: Counter[str] = Counter()

    def feed(self, event: Event) -> None:
        when = self._when
        if event.t > self._since and (event.f, event.kind) == (when.f, when.kind) and when.where(event):
            self._found[event.proc] += 1

    @property
    def met(self) -> bool:
        if self._when.each:
            return all(self._found[proc] >= self._when.count for proc in self._when.each)
        return self._found.total() >= self._when.count

    def __str__(self) -> str:
        when = self._when
        found = {proc: self._found[proc] for proc in when.each} if when.each else self._found.total()
        return f"{found} of {when.count} {when.f} {when.kind}"


class Watch:
    """The history of a folder so far. Any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: dict[Path, int] = {}
        """How many bytes of each file were taken."""
        self._events: list[Event] = []

    def events(self) -> Sequence[Event]:
        """All that was written so far, each process's in its order."""
        with self._lock:
            for file in sorted(self._folder.glob("*.jsonl")):
                begin = self._read.get(file, 0)
                with file.open("rb") as lines:
                    lines.seek(begin)
                    whole, newline, _ = lines.read().rpartition(b"\n")
                self._read[file] = begin + len(whole) + len(newline)
                self._events += (unpack_event(line.decode()) for line in whole.splitlines())
            return self._events

    @staticmethod
    def now() -> int:
        """A mark in time, to count from."""
        return time.monotonic_ns()

    def until(self, when: When, patience_s: float, *, since: int = 0, stop: threading.Event | None = None) -> None:
        """Wait until it has happened after the mark `since`, or `stop` is set. `CannotTell` when the patience is
        over."""
        counting, taken = _Counting(when, since), 0
        give_up_s = time.monotonic() + patience_s
        pause = stop or threading.Event()
        while not pause.is_set():
            late = time.monotonic() >= give_up_s
            new = self.events()[taken:]
            taken += len(new)
            for event in new:
                counting.feed(event)
            if counting.met:
                return
            if late:
                raise CannotTell(f"only {counting} within {patience_s:g} s, so what was to come then did not")
            pause.wait(_LOOK_EVERY_S)
