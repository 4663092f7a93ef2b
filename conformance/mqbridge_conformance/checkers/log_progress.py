"""Checker of progress: how often and how late records were delivered, and groups that got nothing though all was well.

The rule: how late is a measure, and how often is one too unless at most once was asked for. Starvation is called only
what nothing excuses: every member asked again and again, nobody came or left, nothing was broken, and yet nothing was
delivered for a long time though a confirmed record waited; or one member did not ask, and kept its partitions from
another that did (`log_stalls`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Final, NamedTuple

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Client, Log, Logs, Place, Sent, in_order, place
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_members import Group, Groups
from mqbridge_conformance.checkers.log_promises import unconfirmed
from mqbridge_conformance.checkers.log_runs import GRACE_S, NS, Faults, Run, Runs
from mqbridge_conformance.checkers.log_stalls import Waits, stalled
from mqbridge_conformance.history import Event, History

__all__ = ["STARVED_S", "log_progress"]

STARVED_S: Final = 30.0
"""So long, or twice the longest session of the group, without anything."""


@each_life
def log_progress(history: History, profile: Profile) -> Judgement:
    """consume-counts, realtime-lag, starvation."""
    judge = Judge("log-progress", profile)
    logs = history.derived(Logs)
    groups = history.derived(Groups)
    _counts(history, groups, profile, judge)
    _lag(history, logs, judge)
    for group in groups:
        if group.members and group.dest in logs.logs:
            _starved(history, logs, group, judge)
            stalled(history, logs, group, judge)
    return judge.judgement()


def _counts(history: History, groups: Groups, profile: Profile, judge: Judge) -> None:
    """How often each record was given to a group, without what it gave back itself."""
    times: dict[tuple[str, str], Counter[tuple[int, int]]] = defaultdict(Counter)
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in history.derived(Runs).all:
        if run.group is not None:
            dest, part = run.place
            times[run.group, dest].update((part, off) for off in run.had)
            runs[run.group, dest].append(run)
    for (name, dest), counted in times.items():
        again = {at: number for at, number in counted.items() if number > 1}
        judge.count("delivered_to_groups", len(counted))
        if not again:
            continue
        group = groups.of(name, dest)
        (part, off), most = max(again.items(), key=lambda item: item[1])
        given = (event for run in runs[name, dest] if run.place[1] == part for event in run.deliveries)
        text = f"{len(again)} of {len(counted)} records were given to it more than once, {part}/{off} {most} times"
        witness = [event for event in given if event.off == off]
        once = profile.guarantee == "at-most-once" and all(m.options.get("ack") == "before" for m in group.members)
        legal = "" if once and not group.moves else "at least once: what was not committed is delivered again"
        judge.find("consume-counts", group.where, text, in_order(*witness), legal)


class _Lag(NamedTuple):
    ns: float
    sent: Sent
    poll: Event
    end: Event


class _Known:
    """From when on it was known that a partition holds a record at an offset or above it."""

    def __init__(self, acked: dict[int, Sent]) -> None:
        self._offsets = sorted(off for off, sent in acked.items() if sent.invoke.txn is None)
        self._first: list[Sent] = [acked[off] for off in self._offsets]
        for number in range(len(self._first) - 2, -1, -1):
            if self._first[number + 1].known_t < self._first[number].known_t:
                self._first[number] = self._first[number + 1]

    def since(self, off: int) -> Sent | None:
        number = bisect_left(self._offsets, off)
        return self._first[number] if number < len(self._first) else None


def _lag(history: History, logs: Logs, judge: Judge) -> None:
    """The worst lag of each topic: a poll that gave nothing, though it was known before that there was something."""
    known: dict[Place, _Known] = {
        (log.dest, number): _Known(part.acked)
        for log in logs
        if not log.shrinks and not log.removed
        for number, part in log.parts.items()
    }
    at: dict[str, dict[Place, int]] = defaultdict(dict)
    worst: dict[str, _Lag] = {}
    for event in history.of("deliver", "poll", "revoked", "lost", "pause", "seek"):
        if event.f == "deliver" and event.off is not None and place(event) in known:
            at[event.who][place(event)] = event.off + 1
        elif event.f in ("revoked", "lost", "seek"):
            at[event.who].pop(place(event), None)
        elif event.f == "pause":
            at[event.who].clear()
        elif event.f == "poll" and event.kind == "ok" and event.more.get("count") == 0:
            judge.count("empty_polls")
            invoke = history.invoke_of(event)
            for where, off in at[event.who].items():
                sent = known[where].since(off)
                late = invoke.t - sent.known_t if invoke is not None and sent is not None else 0
                if sent is not None and invoke is not None and late > 0:
                    if where[0] not in worst or worst[where[0]].ns < late:
                        worst[where[0]] = _Lag(late, sent, invoke, event)
    for dest, lag in worst.items():
        text = f"a poll of {lag.poll.who} gave nothing, {lag.ns / NS * 1000:.1f} ms after a record had been confirmed"
        witness = in_order(*lag.sent.witness, lag.poll, lag.end)
        judge.find("realtime-lag", dest, text, witness, "a measure: no engine promises to deliver at once")


def _starved(history: History, logs: Logs, group: Group, judge: Judge) -> None:
    polls = [event for event in history.of("poll") if event.group == group.name]
    if not polls:
        return
    waits, members = history.derived(Waits), {member.who for member in group.members}
    comings = [event.t for event in history.of("open", "close") if event.who in members]
    vain = [event.t for event in polls if event.kind not in ("invoke", "ok")]
    given: dict[str, int] = {}
    marks: list[float] = [polls[0].t]
    for event in history.said("deliver"):
        if event.group == group.name:
            marks.append(event.t)
            if event.dest == group.dest and event.val is not None:
                given.setdefault(event.val, event.t)
    # What happens to the group begins a new time: it excuses no hunger before it, nor for ever after it.
    marks += (t for t in (*comings, *vain, *waits.bounds(group)) if polls[0].t < t < polls[-1].t)
    marks = [*sorted(marks), polls[-1].t]
    limit = max(STARVED_S, *(2 * _session_s(member) for member in group.members)) * NS
    log = logs.logs[group.dest]
    for since, until in pairwise(marks):
        due = _due(logs, log, group, given, until) if until - since >= limit else None
        if due is None:
            continue
        begun = max(since, due.known_t)
        if until - begun < limit or waits.told(group, begun, until):
            continue
        if _healthy(history, logs, group, begun, until, limit):
            asked = [event for event in polls if event.kind == "invoke" and begun <= event.t <= until]
            text = f"nothing was given to it for {(until - begun) / NS:.0f} s, though a record had been confirmed"
            judge.find("starvation", group.where, text, in_order(*due.witness, asked[0], asked[-1]))
            return


def _session_s(member: Client) -> float:
    return float(member.options.get("session_timeout_s") or GRACE_S)


def _due(logs: Logs, log: Log, group: Group, given: dict[str, int], until: float) -> Sent | None:
    """What was confirmed first of all that the group had not been given by then and ought to have been."""
    lost = {sent.val for sent in log.missing}
    waiting = (
        sent
        for value, sent in log.written.items()
        if sent.outcome == "ok"
        and given.get(value, math.inf) >= until
        and value not in lost
        and not unconfirmed(logs, sent)
        and not log.may_be_gone(sent)
        and group.had_to_reach(log.found_at(sent))
    )
    return min(waiting, key=lambda sent: sent.known_t, default=None)


def _healthy(history: History, logs: Logs, group: Group, since: float, until: float, limit: float) -> bool:
    """Did nothing happen, and did all members ask again and again?"""
    faults = history.derived(Faults)
    if any(fault.since <= until and fault.until + limit >= since for fault in faults.all):
        return False
    members = {client.who for client in logs.clients.values() if client.group == group.name}
    for event in history.of("open", "close"):
        if event.who in members and since < event.t < until:
            return False
    closed = {event.who for event in history.of("close") if event.t <= since}
    live = {who for who in members - closed if logs.clients[who].opened.t <= since}
    return bool(live) and all(_asks(history, who, since, until, limit / 3) for who in live)


def _asks(history: History, who: str, since: float, until: float, often: float) -> bool:
    """Did it poll all the time?"""
    times = [event.t for event in history.of("poll") if event.who == who and since <= event.t <= until]
    return all(later - earlier <= often for earlier, later in pairwise([since, *times, until]))
