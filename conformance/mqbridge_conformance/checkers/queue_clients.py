"""The consumers of a history, how each of them ended, and when the way to the broker was sound.

The rule: what may have ended a lease counts from the first moment on at which it can have done so. A process that says
nothing any more may be dead; one that was stopped may have lost its connection; a fault of the broker or of a link
touches everybody, and for some time after it is over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mqbridge_conformance.history import Event, History

__all__ = ["MANY", "NEVER", "SECOND", "Client", "Trouble"]

SECOND: Final = 1_000_000_000
NEVER: Final = 1 << 62
MANY: Final = 1 << 30
"""As a number: nobody knows."""
AFTERMATH_S: Final = 60
"""A connection that a fault has broken may be found broken only by a heartbeat, long after it is over."""
_DEADLY: Final = ("sigkill", "kill", "connection ended")


@dataclass(slots=True)
class Client:
    """One consumer. Times are `NEVER` for what did not happen."""

    who: str
    proc: str
    dest: str
    opened: int
    asked: int = -1
    """When the call that made it began, so that it had nothing before; -1 if that is not told."""
    prefetch: int | None = None
    before: bool = False
    """Is what it is given settled before it is shown? At most once."""
    settle_s: float = 0.1
    """How long its verbs may wait before the broker is told."""
    closing: int = NEVER
    closed: int = NEVER
    dead: int = NEVER
    """From then on it has certainly ended without a good-bye."""
    doubtful: int = NEVER
    """From then on it may have."""
    slain: bool = False
    """Did nothing hinder it before it was killed? Then it can have lost its connection but once."""
    shaken: int = -1
    """The last time that it was told of leases lost, or not told whether its verbs were taken."""
    empty: list[tuple[int, int]] = field(default_factory=list)
    """Polls that gave nothing: when each began and ended."""
    polled: bool = False

    def deaths(self, t: int) -> int:
        """How often, at most, it had lost its connection by then."""
        if self.doubtful >= t:
            return 0
        return 1 if self.slain and self.dead != NEVER else MANY

    def ended(self, t: int) -> bool:
        """Has it certainly given back, or lost, all that it had?"""
        return self.closed <= t or self.dead <= t

    def found_nothing(self, since: int, until: int) -> bool:
        """Did it ask in vain in that time? Then nothing that was there before it asked is hidden with it."""
        place = bisect_left(self.empty, (since, -1))
        return place < len(self.empty) and self.empty[place][1] <= until


class Trouble:
    """Faults: of processes, and of what all share."""

    def __init__(self, history: History) -> None:
        self.last_event: Mapping[str, Event] = {event.proc: event for event in history}
        """Process -> the last that it wrote."""
        self.stopped: dict[str, int] = {}
        """Process -> when it was first killed, stopped or otherwise hindered."""
        self.killed: dict[str, int] = {}
        """Process -> when it was certainly dead."""
        self._killing: dict[str, int] = {}
        self.shared: list[tuple[int, int]] = []
        """What all share was broken: from when until when."""
        for event in history.of("fault"):
            if event.kind == "invoke" or history.invoke_of(event) is None:
                self._take(history, event)
        self._shared = _merged(
            [(begin, over if over == NEVER else over + AFTERMATH_S * SECOND) for begin, over in self.shared]
        )

    def _take(self, history: History, fault: Event) -> None:
        what, at = fault.more.get("what"), str(fault.more.get("at"))
        if at not in self.last_event:
            self.shared.append((fault.t, _healed(history, fault)))
            return
        self.stopped[at] = min(fault.t, self.stopped.get(at, NEVER))
        end = history.end_of(fault) if fault.kind == "invoke" else fault
        if what in _DEADLY and end is not None and end.kind == "ok":
            self.killed[at] = min(end.t, self.killed.get(at, NEVER))
            self._killing[at] = fault.t

    def calm(self, since: int, until: int) -> bool:
        """Was all that is shared sound in that time, both ends included?"""
        place = bisect_left(self._shared, (until + 1, -1))
        return place == 0 or self._shared[place - 1][1] < since

    def settle(self, client: Client) -> None:
        """Work out when a client may have ended, and when it certainly had."""
        client.dead = self.killed.get(client.proc, NEVER)
        client.doubtful = self.stopped.get(client.proc, NEVER)
        if client.closed == NEVER:
            silent = self.last_event[client.proc].t if client.dead == NEVER else NEVER
            client.doubtful = min(client.doubtful, client.closing, silent)
            client.slain = client.doubtful == self._killing.get(client.proc)
        elif client.closed <= client.doubtful:
            client.doubtful = NEVER
            client.dead = NEVER


def _healed(history: History, fault: Event) -> int:
    """When a fault was over; `NEVER` if that is not told."""
    for heal in history.said("heal"):
        same = all(heal.more.get(name) == fault.more.get(name) for name in ("what", "at"))
        if same and heal.t >= fault.t:
            return heal.t
    return NEVER


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
