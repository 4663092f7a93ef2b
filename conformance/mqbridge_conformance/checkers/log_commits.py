"""Checker of the places of groups: committed offsets that are lost, go back, or run ahead, and what falls between two
owners.

The rule: a place goes back only if somebody moves it, is never below what a commit promised, and never above a record
that nobody in the group has begun to settle. An observer that was told all the places of a group, and not one that was
promised, was told that there is none.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from operator import itemgetter

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, evidence
from mqbridge_conformance.checkers.log_leases import GroupPlace, Lease, Leases
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_members import Group, Groups
from mqbridge_conformance.checkers.log_promises import loose_group
from mqbridge_conformance.checkers.log_settling import Promise, Settling
from mqbridge_conformance.history import Event, History

__all__ = ["log_commits"]


@each_life
def log_commits(history: History, profile: Profile) -> Judgement:
    """commit-regression, commit-lost, handover-gap, committed-too-far."""
    judge = Judge("log-commits", profile)
    logs, leases, settling = history.derived(Logs), history.derived(Leases), history.derived(Settling)
    groups = history.derived(Groups)
    seen: dict[GroupPlace, list[Event]] = defaultdict(list)
    answers: dict[str, list[Event]] = defaultdict(list)
    unlooked = 0
    for event in history.said("committed"):
        if event.group is not None and event.dest is None:
            answers[event.group].append(event)
        elif event.group is not None and event.dest in logs.logs and event.part is not None and event.off is not None:
            seen[event.group, event.dest, event.part].append(event)
    promises: dict[GroupPlace, list[Promise]] = defaultdict(list)
    for promise in (*settling.promises, *settling.lapsed):
        promises[promise.lease.at].append(promise)
    for at in dict.fromkeys([*leases.at, *seen]):
        group = groups.of(at[0], at[1])
        judge.count("places")
        judge.count("committed", len(seen[at]))
        judge.count("promises", len(promises[at]))
        unlooked += _is_unlooked(history, logs, group, at[2], promises[at], leases.at[at], [*seen[at], *answers[at[0]]])
        none = _without(answers[at[0]], seen[at], logs.deleted.get(at[1], math.inf)) if promises[at] else []
        _lost(history, group, at[2], promises[at], leases.at[at], [*seen[at], *none], judge)
        _back(history, group, at[2], seen[at], judge)
        log = logs.logs.get(at[1])
        if log is not None and not log.shrinks:
            _ahead(log, group, at[2], settling.possible[at], leases.at[at], seen[at], judge)
    if unlooked:
        judge.cannot_tell(f"nobody looked where groups stand in {unlooked} partitions after they had committed there")
    return judge.judgement()


def _is_unlooked(
    history: History,
    logs: Logs,
    group: Group,
    part: int,
    promises: list[Promise],
    leases: list[Lease],
    seen: list[Event],
) -> bool:
    """Was something promised that nobody can tell to be kept? Neither a later owner nor an observer was there."""
    promises = [promise for promise in promises if promise.how == "committed"]
    if not promises or group.dest in logs.deleted or group.moved(part, promises[-1].asked.t, math.inf):
        return False
    last = promises[-1].commit.t
    owned = any(lease.deliveries and lease.after > last for lease in leases)
    return not owned and not any(_began(history, event) > last for event in seen)


def _without(answers: list[Event], seen: list[Event], until: float) -> list[Event]:
    """The answers that do not have this place, while its topic was there."""
    having = {(event.proc, event.op) for event in seen}
    return [event for event in answers if (event.proc, event.op) not in having and event.t < until]


def _lost(
    history: History,
    group: Group,
    part: int,
    promises: list[Promise],
    leases: list[Lease],
    seen: list[Event],
    judge: Judge,
) -> None:
    """commit-lost: a later owner begins, or an observer sees the place, below what was promised before."""
    best: list[Promise] = []  # by time, each higher than the one before it unless the place was moved in between
    for promise in sorted(promises, key=lambda promise: promise.commit.t):
        if not best or promise.off > best[-1].off or group.moved(part, best[-1].asked.t, promise.asked.t):
            best.append(promise)
    times = [promise.commit.t for promise in best]
    later = [(lease.after, lease.deliveries[0]) for lease in leases if lease.deliveries]
    later += [(_began(history, event), event) for event in seen]
    accused: set[int] = set()
    for since, event in sorted(later, key=itemgetter(0)):
        number = bisect_left(times, since)
        if not number:
            continue
        promise = best[number - 1]
        off = event.off or 0
        if off < promise.off and number not in accused and not group.moved(part, promise.asked.t, event.t):
            accused.add(number)
            how = "began at" if event.f == "deliver" else "is seen at"
            how = f"{how} {off}" if event.dest is not None else "has no place there"
            text = f"{promise.lease.who} {promise.how} up to offset {promise.off}; afterwards the group {how}"
            where = f"{group.dest}/{part} in group {group.name}"
            judge.find("commit-lost", where, text, [promise.ack, promise.commit, event])


def _began(history: History, event: Event) -> int:
    """When an observer began to look."""
    invoke = history.invoke_of(event)
    return event.t if invoke is None else invoke.t


def _back(history: History, group: Group, part: int, seen: list[Event], judge: Judge) -> None:
    """commit-regression: seen lower than it was seen before."""
    highest: Event | None = None
    for event in seen:
        if highest is not None and (event.off or 0) < (highest.off or 0) and _began(history, event) >= highest.t:
            if not group.moved(part, _began(history, highest), event.t):
                text = f"the place of the group went back from offset {highest.off} to {event.off}, and nobody moved it"
                judge.find("commit-regression", f"{group.dest}/{part} in group {group.name}", text, [highest, event])
            highest = event
        elif highest is None or (event.off or 0) > (highest.off or 0):
            highest = event


def _ahead(
    log: Log,
    group: Group,
    part: int,
    possible: dict[int, int],
    leases: list[Lease],
    seen: list[Event],
    judge: Judge,
) -> None:
    """handover-gap and committed-too-far: a place above a record that nobody has begun to settle by then. Workers begin
    with whatever comes first, so where they begin says nothing."""
    present = log.present.get(part, [])
    number = bisect_left(present, group.floor(part))
    begun = [lease.deliveries[0] for lease in leases if lease.deliveries]
    marks = sorted([*(event for event in begun if not event.more.get("handler")), *seen], key=lambda event: event.t)
    legal = loose_group(group.members)
    accused: set[tuple[str, int]] = set()
    owned = False
    for event in marks:
        while number < len(present) and possible.get(present[number], event.t + 1) <= event.t:
            number += 1
        if number < len(present) and present[number] < (event.off or 0):
            off = present[number]
            if event.f == "committed":
                name, text = "committed-too-far", f"offset {event.off} is committed, and {off} is not settled"
            elif owned:
                name, text = "handover-gap", f"the next owner began at offset {event.off}, and {off} is not settled"
            else:
                name, text = "poll-skip", f"the first owner began at offset {event.off} and was not given {off}"
            if (name, off) not in accused:
                accused.add((name, off))
                shown = [record for record in evidence(log, part, off) if record.t <= event.t]
                where = f"{group.dest}/{part} in group {group.name}"
                judge.find(name, where, text, [*shown, event], legal)
        owned = owned or event.f == "deliver"
