"""Checker of what is gone: confirmed writes that nobody can read, and those that a group was never given.

The rule: a write counts as lost when it was confirmed before somebody looked at everything and is not there, or when a
reader passed its place and nobody was ever given it. What a run may lose (removed records, starts behind it, readers
that settle before they see) is no loss. Losses are told by producer and by where in its count they lie: in the middle
is certain loss, at the end may be a slow reader, at the beginning is a log that began anew. Of what was confirmed after
everybody had looked for the last time nobody can tell.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, Sent, in_order
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_members import Group, Groups
from mqbridge_conformance.checkers.log_promises import loose_group, unconfirmed
from mqbridge_conformance.checkers.log_runs import Run, Runs
from mqbridge_conformance.history import Event, History

__all__ = ["log_losses"]

SHOWN = 3


@each_life
def log_losses(history: History, profile: Profile) -> Judgement:
    """lost-write and unseen."""
    judge = Judge("log-losses", profile)
    logs, runs = history.derived(Logs), history.derived(Runs)
    by_dest: dict[str, list[Run]] = defaultdict(list)
    for run in runs.all:
        if not logs.may_jump(run.who, run.place[0]):
            by_dest[run.place[0]].append(run)
    for log in logs:
        judge.count("looks", len(log.looks))
        lost = _lost(log, by_dest[log.dest])
        _tell(logs, log, "lost-write", log.dest, lost, judge)
        _unlooked(history, logs, log, judge)
    for event in history.said("drained"):
        dest = event.dest or ""
        if dest in logs.logs and event.t <= logs.deleted.get(dest, math.inf):
            judge.count("drains")
            _unseen(history, logs, logs.logs[dest], event, judge)
    return judge.judgement()


def _lost(log: Log, runs: Iterable[Run]) -> dict[str, tuple[Event, ...]]:
    """Value -> what shows that it is gone: the look, or the reader's deliveries on both sides of it."""
    found: dict[str, tuple[Event, ...]] = {}
    if log.look is not None:
        found = {sent.val: (log.look.end,) for sent in log.missing}
    if log.shrinks:
        return found
    for run in runs:
        acked = sorted(log.parts[run.place[1]].acked)
        shown = (event for event in run.deliveries if not event.more.get("handler"))  # workers hold some back
        ordered = sorted(shown, key=lambda event: event.off or 0)
        for before, after in zip(ordered, ordered[1:], strict=False):
            low, high = before.off or 0, after.off or 0
            if high <= low + 1:
                continue
            for off in acked[bisect_right(acked, low) : bisect_left(acked, high)]:
                sent = log.parts[run.place[1]].acked[off]
                if log.written.get(sent.val) is sent and sent.val not in log.sighted and not log.may_be_gone(sent):
                    found.setdefault(sent.val, tuple(sorted((before, after), key=lambda event: event.t)))
    return found


def _unlooked(history: History, logs: Logs, log: Log, judge: Judge) -> None:
    """Confirmed, to stay there, and nobody was shown anything of the topic from then on."""
    if log.dest in logs.deleted or log.removed:
        return
    drains = (event.t for event in history.said("drained") if event.dest == log.dest)
    last = max([*(look.began_t for look in log.looks), *(event.t for event in log.reads[-1:]), *drains], default=-1)
    waiting = [
        sent
        for sent in log.sends
        if sent.outcome == "ok" and sent.known_t > last and sent.val not in log.sighted and not unconfirmed(logs, sent)
    ]
    if waiting:
        judge.cannot_tell(f"{len(waiting)} were confirmed in {log.dest}, and nobody looked there afterwards")


def _unseen(history: History, logs: Logs, log: Log, drained: Event, judge: Judge) -> None:
    groups = history.derived(Groups)
    asking = [groups.of(drained.group, log.dest)] if drained.group is not None else groups.reading(log.dest)
    until = _asked_at(history, drained, asking)
    if drained.group is None:
        given = {event.val for event in log.reads if event.f == "deliver"}
    else:
        given = {event.val for event in log.reads if event.f == "deliver" and event.group == drained.group}
    lost = {sent.val for sent in log.missing}
    gone = {
        value: (drained,)
        for value, sent in log.written.items()
        if sent.outcome == "ok"
        and sent.known_t < until
        and value not in given
        and value not in lost
        and not log.may_be_gone(sent)
        and any(group.had_to_reach(log.found_at(sent)) for group in asking)
    }
    where = log.dest if drained.group is None else f"{log.dest} in group {drained.group}"
    legal = loose_group(member for group in asking for member in group.members)
    _tell(logs, log, "unseen", where, gone, judge, legal)


def _asked_at(history: History, drained: Event, asking: Iterable[Group]) -> float:
    """When the last question was put before all was said to have been asked for."""
    who = {member.who for group in asking for member in group.members}
    polls = history.of("poll")
    last = (event.t for event in reversed(polls) if event.kind == "invoke" and event.t < drained.t and event.who in who)
    return next(last, drained.t)


def _tell(
    logs: Logs,
    log: Log,
    anomaly: str,
    where: str,
    gone: Mapping[str, tuple[Event, ...]],
    judge: Judge,
    legal: str = "",
) -> None:
    """One finding a producer, a place in its count, and a reason why its confirmations may promise nothing."""
    if not gone:
        return
    counts: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for value, sent in log.written.items():
        if sent.outcome == "ok":
            payload = logs.payload(value)
            counts[payload.producer if payload is not None else "", sent.invoke.who].append(sent)
    for (name, who), confirmed in counts.items():
        kept = [number for number, sent in enumerate(confirmed) if sent.val not in gone]
        by_class: dict[tuple[str, str], list[Sent]] = defaultdict(list)
        for number, sent in enumerate(confirmed):
            if sent.val in gone:
                by_class[_class_of(number, kept), unconfirmed(logs, sent)].append(sent)
        for (kind, weak), missing in by_class.items():
            told = ", ".join(_short(sent.val) for sent in missing[:SHOWN])
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            text = (
                f"{len(missing)} of {len(confirmed)} confirmed by {name or who} "
                f"{'are gone' if anomaly == 'lost-write' else 'were never given to it'}: {kind} ({told}{more})"
            )
            shown = (event for sent in missing[:SHOWN] for event in (*sent.witness, *gone[sent.val]))
            judge.find(anomaly, where, text, in_order(*shown), legal or weak)


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}...")


def _class_of(number: int, kept: list[int]) -> str:
    """Where a loss lies in what its producer has confirmed."""
    if not kept:
        return "lost-all"
    if number < kept[0]:
        return "lost-prefix"
    return "lost-postfix" if number > kept[-1] else "lost-middle"
