"""What readers were given of each partition, cut into runs; and when something was not as usual.

The rule: within a run nothing excuses a step back or a gap: one client, one partition, one lease, no seek. What is
delivered again because the application gave it back, or because its handler failed, is no step of the run; that a
delivery says of itself that it comes again is no reason.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from mqbridge_conformance.checkers.log_facts import Logs, Place, place
from mqbridge_conformance.history import Event, History

__all__ = ["GRACE_S", "NS", "Fault", "Faults", "Run", "Runs", "Step", "start_of"]

NS: Final = 1_000_000_000
GRACE_S: Final = 10.0
"""How long after a fault its consequences may show, where the session timeout is not longer."""
GIVING_BACK: Final = ("release", "retry", "reject")


class Step(NamedTuple):
    """From one delivery to the next; `before` is None where a seek or the start of a replay says where to begin."""

    before: Event | None
    at: int
    event: Event


class Run:
    """See the module. `sought` is the offset that the application asked for, `origin` the event in which it did."""

    __slots__ = ("deliveries", "group", "had", "key", "lease", "origin", "place", "role", "sought", "who")

    def __init__(self, first: Event, role: str, group: str | None, origin: Event | None, sought: int | None) -> None:
        self.who = first.who
        self.role = role
        self.group = group
        self.place: Place = place(first)
        self.lease = first.lease
        self.origin = origin
        self.sought = sought
        self.deliveries: list[Event] = []
        self.had: set[int] = set()

    @property
    def where(self) -> str:
        dest, part = self.place
        return f"{dest}/{part}" + (f" in group {self.group}" if self.group else "")

    def steps(self, given_back: Mapping[int, int]) -> Iterator[Step]:
        """The deliveries that ought to go up one by one. `given_back`: offset -> when a verb first gave it back."""
        had: set[int] = set()
        last: Event | None = None
        if self.sought is not None:
            yield Step(None, self.sought - 1, self.deliveries[0])
        for event in self.deliveries:
            off = event.off or 0
            again = off in had and given_back.get(off, math.inf) < event.t
            had.add(off)
            if again or event.more.get("handler"):
                continue
            if last is not None:
                yield Step(last, last.off or 0, event)
            last = event


class Runs:
    """All runs of the readers of topics, in the order in which they began."""

    def __init__(self, history: History) -> None:
        logs = history.derived(Logs)
        self.all: list[Run] = []
        self.given_back: dict[tuple[str, Place], dict[int, int]] = defaultdict(dict)
        open_runs: dict[tuple[str, Place], Run] = {}
        sought: dict[tuple[str, Place], Event] = {}
        for event in history.of("deliver", "assigned", "seek", *GIVING_BACK):
            if event.dest is None or event.part is None or not logs.judged(event.dest):
                continue
            key = (event.who, place(event))
            if event.f in GIVING_BACK:
                if event.off is not None:
                    self.given_back[key].setdefault(event.off, event.t)
                continue
            if event.f == "assigned":
                sought.pop(key, None)
                open_runs.pop(key, None)
                continue
            if event.f == "seek":
                open_runs.pop(key, None)
                sought[key] = event
                continue
            if event.off is None or event.kind != "ok":
                continue
            run = open_runs.get(key)
            if run is None or run.lease != event.lease:
                run = open_runs[key] = self._begin(logs, event, sought.pop(key, None))
                self.all.append(run)
            run.deliveries.append(event)
            run.had.add(event.off)

    @staticmethod
    def _begin(logs: Logs, event: Event, seek: Event | None) -> Run:
        client = logs.client(event)
        role = client.role if client is not None else ""
        group = event.group or (client.group if client is not None else None)
        if seek is not None:
            known = seek.kind == "ok"
            return Run(event, role, group, seek, seek.off if known else None)
        if role == "replay" and client is not None:
            start = start_of(client.options.get("start"))
            if isinstance(start, Mapping):
                return Run(event, role, group, client.opened, start.get(event.part or 0))
        return Run(event, role, group, None, None)

    def steps(self, run: Run) -> Iterator[Step]:
        return run.steps(self.given_back.get((run.who, run.place), {}))


def start_of(told: Any) -> str | dict[int, int] | None:
    """A position as a history tells it: ``earliest``, ``latest``, {partition: offset}, or None if it is by time or
    cannot be understood."""
    if isinstance(told, Mapping):
        if isinstance(told.get("offsets"), Mapping):
            return {int(part): int(off) for part, off in told["offsets"].items()}
        told = told.get("name")
    word = str(told).lower()
    return word if word in ("earliest", "latest") else None


class Fault(NamedTuple):
    """In force from `since` to `until` (for ever, if nobody healed it); `at` is a process or something that all
    share."""

    since: float
    until: float
    at: str
    event: Event


class Faults:
    """What was done to processes, brokers and links, and when readers were silent."""

    def __init__(self, history: History) -> None:
        self._procs = {event.proc for event in history}
        self.all = _faults(history)
        self._polls: dict[str, tuple[list[int], list[int]]] = {}
        for invoke, end in history.operations("poll"):
            began, ended = self._polls.setdefault(invoke.who, ([], []))
            began.append(invoke.t)
            ended.append(invoke.t if end is None else end.t)
        for event in history.said("deliver"):
            if event.op is None and not event.more.get("handler"):  # a stream is asked when it gives
                began, ended = self._polls.setdefault(event.who, ([], []))
                if not began or began[-1] <= event.t:
                    began.append(event.t)
                    ended.append(event.t)

    def during(self, since: float, until: float, *procs: str) -> Fault | None:
        """A fault that was in force between two times, on one of these processes or on what all share."""
        for fault in self.all:
            elsewhere = fault.at in self._procs and fault.at not in procs
            if fault.since <= until and fault.until >= since and not elsewhere:
                return fault
        return None

    def silent(self, who: str, limit_s: float, since: float, until: float) -> bool:
        """Did a reader not poll for so long, at a time that touches this one?"""
        began, ended = self._polls.get(who, ([], []))
        limit = limit_s * NS
        first = max(bisect_right(began, since - limit) - 1, 0)
        last = min(bisect_left(began, until) + 1, len(began))
        marks = [*zip(began[first:last], ended[first:last], strict=True)]
        if not marks:
            return True
        return any(later[0] - earlier[1] > limit for earlier, later in zip(marks, marks[1:], strict=False))


def _faults(history: History) -> list[Fault]:
    found: list[Fault] = []
    healed: dict[str, list[int]] = defaultdict(list)
    for event in history.said("heal"):
        healed[str(event.more.get("at", ""))].append(event.t)
    for event in history.of("fault"):
        if event.kind == "fail":
            continue
        at = str(event.more.get("at", ""))
        later = [t for t in healed[at] if t >= event.t]
        found.append(Fault(event.t, min(later, default=math.inf), at, event))
    return found
