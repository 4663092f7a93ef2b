"""Leases of partitions as they can be told from outside: who held which, from when at the earliest, until when at the
latest.

The rule: an assignment is told late, so a lease began after the call before the one in which it was first noticed, and
was there when something was delivered under it. Nothing is concluded from when it was said to be over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, TypeAlias

from mqbridge_conformance.checkers.log_facts import Logs, place
from mqbridge_conformance.checkers.log_runs import NS
from mqbridge_conformance.history import Event, History

__all__ = ["GroupPlace", "Lease", "Leases"]

GroupPlace: TypeAlias = tuple[str, str, int]
"""Group, destination, partition."""

CALLS: Final = ("open", "poll", "commit", "close")
PASSING_NS: Final = NS
"""A stream may give for so long what is left of a block whose lease has ended."""


class Lease:
    """One assignment of a partition to a member. `after` is a time at which it was not there yet; `first` the first
    event that shows it. `rounds` are its deliveries by poll: (invoked, last delivery of it). What a stream gives was
    asked for after the delivery before it, and a little earlier: in between it looks only now and then."""

    __slots__ = ("after", "at", "deliveries", "first", "lease", "rounds", "who")

    def __init__(self, at: GroupPlace, first: Event, after: int) -> None:
        self.at = at
        self.who = first.who
        self.lease = first.lease
        self.first = first
        self.after = after
        self.deliveries: list[Event] = []
        self.rounds: list[tuple[int, Event]] = []

    @property
    def where(self) -> str:
        group, dest, part = self.at
        return f"{dest}/{part} in group {group}"

    def before(self, t: float) -> tuple[int, Event] | None:
        """Its last round that was over before `t`."""
        low, high = 0, len(self.rounds)
        while low < high:
            middle = (low + high) // 2
            if self.rounds[middle][1].t < t:
                low = middle + 1
            else:
                high = middle
        return self.rounds[low - 1] if low else None

    def since(self, t: float) -> tuple[int, Event] | None:
        """Its first round that was asked for after `t`."""
        at = bisect_left(self.rounds, t, key=lambda round_: round_[0])
        while at < len(self.rounds) and self.rounds[at][0] <= t:
            at += 1
        return self.rounds[at] if at < len(self.rounds) else None


class Leases:
    """All leases of all groups, in the order in which they were noticed."""

    def __init__(self, history: History) -> None:
        self._logs = history.derived(Logs)
        self.at: dict[GroupPlace, list[Lease]] = defaultdict(list)
        self._found: dict[tuple[str, GroupPlace, int], Lease] = {}
        self._handed: dict[str, int] = {}
        ended: dict[str, int] = {}
        before: dict[str, int] = {}
        for event in history.of("deliver", "assigned", *CALLS):
            if event.f in CALLS:
                if event.kind == "invoke":
                    before[event.who] = ended.get(event.who, 0)
                elif event.kind == "ok":
                    ended[event.who] = event.t
            elif event.kind == "ok" and event.dest is not None and event.part is not None and event.lease is not None:
                self._note(history, event, before.get(event.who, 0))

    def _note(self, history: History, event: Event, after: int) -> None:
        client = self._logs.client(event)
        group = event.group or (client.group if client is not None else None)
        if group is None or not self._logs.judged(event.dest or ""):
            return
        at = (group, *place(event))
        key = (event.who, at, event.lease or 0)
        lease = self._found.get(key)
        if lease is None:
            lease = self._found[key] = Lease(at, event, after)
            self.at[at].append(lease)
        if event.f != "deliver":
            return
        lease.deliveries.append(event)
        invoke = history.invoke_of(event)
        asked_t = self._handed.get(event.who, after) - PASSING_NS if invoke is None else invoke.t
        self._handed[event.who] = event.t
        if event.more.get("handler"):
            return
        if not lease.rounds or lease.rounds[-1][0] < asked_t:
            lease.rounds.append((asked_t, event))
        else:
            lease.rounds[-1] = (lease.rounds[-1][0], event)

    def of(self, event: Event, group: str | None) -> Lease | None:
        """The lease that an event belongs to."""
        if group is None or event.lease is None:
            return None
        return self._found.get((event.who, (group, *place(event)), event.lease))

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._found.values())
