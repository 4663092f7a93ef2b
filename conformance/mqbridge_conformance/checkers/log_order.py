"""Checker of the order in which logs are read: steps back, steps over records, reads that differ.

The rule: a run (`log_runs`) goes up one record at a time. What lies between two deliveries and is not there to be given
(removed, aborted, never confirmed and never seen) is no gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import SHOWN, Log, Logs, Place, evidence, in_order, told
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_promises import may_reorder, not_claimed
from mqbridge_conformance.checkers.log_replays import against_their_log
from mqbridge_conformance.checkers.log_runs import Run, Runs, Step
from mqbridge_conformance.history import Event, History, Payload

__all__ = ["log_order"]


@each_life
def log_order(history: History, profile: Profile) -> Judgement:
    """Steps and gaps within each run; replays against each other and their log; keys as delivered."""
    judge = Judge("log-order", profile)
    logs, runs = history.derived(Logs), history.derived(Runs)
    for run in runs.all:
        log = logs.logs[run.place[0]]
        judge.count("deliveries", len(run.deliveries))
        judge.count("runs")
        for step in runs.steps(run):
            _step(logs, log, run, step, judge)
        _keys(logs, log, profile, run, judge)
    _replays(logs, runs, judge)
    against_their_log(history, logs, runs, judge)
    return judge.judgement()


def _step(logs: Logs, log: Log, run: Run, step: Step, judge: Judge) -> None:
    off = step.event.off or 0
    if off == step.at + 1:
        return
    first = step.before or run.origin
    witness = [event for event in (first, step.event) if event is not None]
    inside = step.before is not None and step.before.op is not None and step.before.op == step.event.op
    if off <= step.at:
        name = "int-nonmonotonic-poll" if inside else "nonmonotonic-poll"
        text = (
            f"{run.who} was given offset {off} after offset {step.at}"
            if step.before is not None
            else f"{run.who} asked for offset {step.at + 1} and was given offset {off}"
        )
        judge.find(name, run.where, f"{text}, under one lease and unasked", witness)
        return
    missed = [at for at in _between(log, run, step.at, step.event) if at not in run.had]
    if not missed or logs.may_jump(run.who, log.dest):
        return
    name = "int-poll-skip" if inside else "poll-skip"
    came = f"from offset {step.at} to {off}" if step.before is not None else f"from the start at {step.at + 1} to {off}"
    proof = [event for at in missed[:SHOWN] for event in evidence(log, run.place[1], at)]
    judge.find(
        name,
        run.where,
        f"{run.who} went {came} and was not given {told(missed)}",
        in_order(*witness, *proof),
    )


def _between(log: Log, run: Run, low: int, event: Event) -> Sequence[int]:
    """The records above `low` and below this delivery that its reader had to be given."""
    if log.shrinks and (log.look is None or event.t > log.look.began_t):
        return ()
    present = log.present.get(run.place[1], [])
    return present[bisect_right(present, low) : bisect_left(present, event.off or 0)]


def _keys(logs: Logs, log: Log, profile: Profile, run: Run, judge: Judge) -> None:
    """Per key and producer, as first delivered."""
    last: dict[tuple[str | None, str, str], tuple[int, Event]] = {}
    done: set[str] = set()
    for event, payload in _identified(logs, log, run):
        if event.val in done:
            continue
        done.add(event.val or "")
        sent = log.written[event.val or ""]
        judge.count("keyed")
        stream = (event.key, payload.producer, sent.invoke.who)
        before = last.get(stream)
        if before is not None and payload.number < before[0]:
            other = log.written[before[1].val or ""]
            if sent.outcome == "ok" and sent.invoke.t < other.invoke.t:
                judge.find(
                    "key-order",
                    run.where,
                    f"{run.who} was given number {before[0]} of {payload.producer} for key {event.key!r} before number "
                    f"{payload.number}",
                    in_order(sent.invoke, other.invoke, before[1], event),
                    may_reorder(logs, profile, sent) or not_claimed(profile, "ORDER_PER_KEY"),
                )
        last[stream] = (payload.number, event)


def _identified(logs: Logs, log: Log, run: Run) -> Iterator[tuple[Event, Payload]]:
    """The deliveries of a run whose writer and number are known; not those that workers took in turns."""
    for event in run.deliveries:
        payload = logs.payload(event.val)
        if payload is not None and event.val in log.written and not event.more.get("handler"):
            yield event, payload


def _replays(logs: Logs, runs: Runs, judge: Judge) -> None:
    """Where two replays cover the same range, they are the same."""
    by_place: dict[Place, list[Run]] = defaultdict(list)
    for run in runs.all:
        if run.role == "replay":
            by_place[run.place].append(run)
    for (dest, part), replays in by_place.items():
        judge.count("replays", len(replays))
        first: dict[int, Event] = {}
        for run in replays:
            for event in run.deliveries:
                before = first.setdefault(event.off or 0, event)
                if before.val != event.val:
                    text = f"two replays were given two values at offset {event.off}: {_short(before)}, {_short(event)}"
                    judge.find("replay-mismatch", run.where, text, [before, event])
        log = logs.logs[dest]
        if not log.shrinks:
            due = [off for off in log.present.get(part, []) if off in first]
            for run in replays:
                _without(run, due, first, judge)


def _without(run: Run, due: Sequence[int], first: dict[int, Event], judge: Judge) -> None:
    """What another replay was given and this one, which passed there, was not."""
    low, high = min(run.had), max(run.had)
    for off in due[bisect_right(due, low) : bisect_left(due, high)]:
        if off not in run.had:
            after = next(event for event in run.deliveries if (event.off or 0) > off)
            text = f"{run.who} passed offset {off} without it, and {first[off].who} was given it"
            judge.find("replay-mismatch", run.where, text, in_order(first[off], after))


def _short(event: Event) -> str:
    value = event.val
    return repr(value) if value is None or len(value) <= 60 else f"{value[:60]!r}..."
