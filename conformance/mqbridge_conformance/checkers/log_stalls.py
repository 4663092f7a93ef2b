"""Members that stopped polling and kept what they had, though others of their group asked for it all the while.

The rule: a member that does not poll for `max_poll_interval_s` loses its partitions, so they are not starved by its
stall for longer than the history says that they may be: that interval and a session, and as much again for the group
to come together. A stall that ended before that is nobody's fault but its own; so is one of a group without another
member, which has nobody to whom they could go.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from mqbridge_conformance.checkers.judging import Judge
from mqbridge_conformance.checkers.log_facts import Client, Log, Logs, Sent, in_order
from mqbridge_conformance.checkers.log_leases import Lease, Leases
from mqbridge_conformance.checkers.log_members import Group
from mqbridge_conformance.checkers.log_promises import unconfirmed
from mqbridge_conformance.checkers.log_runs import GRACE_S, NS, Faults
from mqbridge_conformance.history import Event, History

__all__ = ["Waits", "stalled"]

LEAST_S: Final = 5.0
"""A broker is heard by its members every few seconds."""
MAX_POLL_S: Final = 300.0


class _Polls:
    """Client -> when its polls began and ended, in order."""

    def __init__(self, history: History) -> None:
        self._polls: dict[str, list[Event]] = defaultdict(list)
        self._began: dict[str, list[int]] = defaultdict(list)
        self._ended: dict[str, list[int]] = defaultdict(list)
        self._closed: dict[str, int] = {}
        self._end = history.events[-1].t if history.events else 0
        for invoke, end in history.operations("poll"):
            self._polls[invoke.who].append(invoke)
            self._began[invoke.who].append(invoke.t)
            self._ended[invoke.who].append(invoke.t if end is None else end.t)
        for event in history.of("close"):
            self._closed.setdefault(event.who, event.t)
        self._otherwise = {event.who for event in history.said("deliver") if event.op is None}
        """Those that were given something by `stream` or `run`, which ask by themselves."""

    def silences(self, who: str, longer_than: float) -> Iterator[tuple[int, int]]:
        """From the end of a poll to the beginning of the next, or until it was closed; else to the end of all: one that
        has died lets go too."""
        began, ended = self._began.get(who), self._ended.get(who, [])
        if not began or who in self._otherwise:
            return
        for since, until in zip(ended, [*began[1:], self._closed.get(who, self._end)], strict=True):
            if until - since > longer_than:
                yield since, until

    def asked(self, who: str, since: float, until: float, often: float) -> float | None:
        """When it last asked in that time; None if it did not do so all the time, until near the end of it."""
        began = self._began.get(who, [])
        times = began[bisect_left(began, since) : bisect_right(began, until)]
        steps = zip([since, *times], times, strict=False)
        return times[-1] if times and all(later - earlier <= often for earlier, later in steps) else None

    def between(self, who: str, since: float, until: float) -> tuple[Event, Event]:
        """The first and the last in that time; there is one."""
        began, polls = self._began[who], self._polls[who]
        return polls[bisect_left(began, since)], polls[bisect_right(began, until) - 1]


class Waits:
    """Who was told not to read: pauses, from the call until all was resumed or closed."""

    def __init__(self, history: History) -> None:
        self._spans: dict[str | None, list[tuple[int, float]]] = defaultdict(list)
        under_way: dict[str, tuple[str | None, int]] = {}
        for event in history.of("pause", "resume", "close"):
            if event.f == "pause" and event.kind == "invoke":
                under_way.setdefault(event.who, (event.group, event.t))
            elif event.f != "pause" and event.kind == "ok" and not event.more.get("places") and event.who in under_way:
                group, since = under_way.pop(event.who)
                self._spans[group].append((since, event.t))
        for group, since in under_way.values():
            self._spans[group].append((since, math.inf))

    def told(self, group: Group, since: float, until: float) -> bool:
        """Was one of a group paused, or was its place moved, at any time in between?"""
        return any(begun < until and over > since for begun, over in self._of(group))

    def bounds(self, group: Group) -> Iterator[float]:
        """When it was told to wait, and when no more."""
        return (t for span in self._of(group) for t in span)

    def _of(self, group: Group) -> Iterator[tuple[int, float]]:
        yield from self._spans.get(group.name, ())
        yield from ((move.since, move.until) for move in group.moves)


class _Stall(NamedTuple):
    """One partition that was starved by a stall: of whom, since when and until when, and what waited there."""

    lease: Lease
    since: float
    until: float
    due: Sent
    asking: Client


def stalled(history: History, logs: Logs, group: Group, judge: Judge) -> None:
    """starvation: nothing is found where, meanwhile, the group was moved or paused, something was broken, or somebody
    came or left."""
    faults, members = history.derived(Faults), {member.who for member in group.members}
    comings = [event.t for event in history.of("open", "close") if event.who in members]
    for stall in _stalls(history, logs, group):
        broken = any(fault.since <= stall.until and fault.until + _bound(group) >= stall.since for fault in faults.all)
        told = history.derived(Waits).told(group, stall.since, stall.until)
        if broken or told or any(stall.since < t < stall.until for t in comings):
            continue
        lease, asking = stall.lease, history.derived(_Polls).between(stall.asking.who, stall.since, stall.until)
        text = (
            f"{lease.who} did not poll for {(stall.until - stall.since) / NS:.1f} s and kept the partition, though "
            f"{stall.asking.who} asked all the time and a record had been confirmed"
        )
        witness = in_order(*stall.due.witness, lease.deliveries[-1] if lease.deliveries else lease.first, *asking)
        judge.find("starvation", lease.where, text, witness)


def _bound(group: Group) -> float:
    """So long, in nanoseconds, a member's stall may keep a partition of a group from the others."""
    polls = max(float(member.options.get("max_poll_interval_s") or MAX_POLL_S) for member in group.members)
    sessions = max(float(member.options.get("session_timeout_s") or GRACE_S) for member in group.members)
    return max(LEAST_S, 2 * (polls + sessions)) * NS


def _stalls(history: History, logs: Logs, group: Group) -> Iterator[_Stall]:
    """Those of a group that were longer than they may be, whatever excuses them."""
    polls, limit = history.derived(_Polls), _bound(group)
    for (name, dest, part), held in history.derived(Leases).at.items():
        if (name, dest) != (group.name, group.dest):
            continue
        for number, lease in enumerate(held):
            for began, ended in polls.silences(lease.who, limit):
                later = held[number + 1 :]
                if lease.first.t > ended or any(other.first.t <= ended for other in later):
                    continue  # it had it not yet, or somebody has got it
                found = _starved(logs.logs[dest], logs, group, polls, (lease, part), (began, ended, limit))
                if found is not None:
                    yield found


def _starved(
    log: Log, logs: Logs, group: Group, polls: _Polls, held: tuple[Lease, int], silence: tuple[int, int, float]
) -> _Stall | None:
    """The first other member that asked long enough while something waited there."""
    lease, part = held
    began, ended, limit = silence
    due = _waiting(log, logs, group, part)
    for other in group.members:
        if due is None or other.who == lease.who:
            continue
        since = max(began, other.opened.t, due.known_t)
        until = polls.asked(other.who, since, ended, limit / 3)
        if until is not None and until - since >= limit:
            return _Stall(lease, since, until, due, other)
    return None


def _waiting(log: Log, logs: Logs, group: Group, part: int) -> Sent | None:
    """What was confirmed first of all that ought to be there and nobody of the group was ever given."""
    given = {event.off for event in log.reads if event.group == group.name and event.part == part}
    lost = {sent.val for sent in log.missing}
    waiting = (
        sent
        for off, sent in log.parts[part].acked.items()
        if off not in given
        and log.written.get(sent.val) is sent
        and sent.val not in lost
        and not unconfirmed(logs, sent)
        and not log.may_be_gone(sent)
        and group.had_to_reach((part, off))
    )
    return min(waiting, key=lambda sent: sent.known_t, default=None)
