"""Checker of what logs hold: offsets, duplicates, aborted writes, and the order in which producers wrote.

The rule: a place in a log has one value for ever, and a value that was sent once has one place. Confirmations of
producers that did not ask for acks='all' promise nothing, so what contradicts them is counted only.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, Sent, in_order
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_promises import (
    may_reorder,
    may_repeat,
    not_claimed,
    uncommitted_too,
    unconfirmed,
)
from mqbridge_conformance.history import Event, History

__all__ = ["log_writes"]


@each_life
def log_writes(history: History, profile: Profile) -> Judgement:
    """See the module."""
    judge = Judge("log-writes", profile)
    logs = history.derived(Logs)
    for log in logs:
        judge.count("sends", len(log.sends))
        judge.count("reads", len(log.reads))
        judge.count("sent_more_than_once", len(log.repeated))
        judge.count("confirmed", sum(sent.outcome == "ok" for sent in log.sends))
        _offsets(logs, log, judge)
        _duplicates(logs, log, judge)
        _aborted(logs, log, profile, judge)
        _real_time(logs, log, profile, judge)
        _by_client(logs, log, profile, judge)
    judge.count("made_again", sum(log.name != log.dest for log in logs))
    return judge.judgement()


def _offsets(logs: Logs, log: Log, judge: Judge) -> None:
    """inconsistent-offsets: among those who read, among confirmations, and between the two."""
    for event in log.reads:
        if event.part is None or event.off is None or event.val is None:
            continue
        first = log.parts[event.part].seen[event.off]
        if first.val is not None and first.val != event.val:
            text = f"offset {event.off} held {_short(first.val)} for one and {_short(event.val)} for another"
            judge.find("inconsistent-offsets", f"{log.dest}/{event.part}", text, [first, event])
    for sent in log.sends:
        if sent.part is None or sent.off is None or sent.outcome != "ok" or sent.invoke.val is None:
            continue
        where = f"{log.dest}/{sent.part}"
        part = log.parts[sent.part]
        other = part.acked[sent.off]
        if other is not sent:
            weak = unconfirmed(logs, sent) or unconfirmed(logs, other)
            text = f"offset {sent.off} was confirmed twice"
            judge.find("inconsistent-offsets", where, text, in_order(*other.witness, *sent.witness), weak)
        seen = part.seen.get(sent.off)
        if seen is not None and seen.val is not None and seen.val != sent.val:
            text = f"{_short(sent.val)} was confirmed at offset {sent.off}, where {_short(seen.val)} was read"
            judge.find("inconsistent-offsets", where, text, in_order(*sent.witness, seen), unconfirmed(logs, sent))


def _places(log: Log) -> Iterator[tuple[Sent, dict[tuple[int, int], Event]]]:
    """Each message that was sent once, with all the places where it was seen or is confirmed to be."""
    first: dict[str, tuple[int, int]] = {}
    several: dict[str, dict[tuple[int, int], Event]] = {}
    for event in log.reads:
        if event.val not in log.written or event.part is None or event.off is None:
            continue
        at = (event.part, event.off)
        before = first.setdefault(event.val, at)
        if before != at:
            places = several.setdefault(event.val, {before: log.sighted[event.val]})
            places.setdefault(at, event)
    for value, places in several.items():
        yield log.written[value], places
    for value, sent in log.written.items():
        if sent.part is not None and sent.off is not None and sent.end is not None and value not in several:
            seen = first.get(value)
            if seen is not None and seen != (sent.part, sent.off):
                yield sent, {(sent.part, sent.off): sent.end, seen: log.sighted[value]}


def _duplicates(logs: Logs, log: Log, judge: Judge) -> None:
    for sent, places in _places(log):
        told = " and ".join(f"{part}/{off}" for part, off in sorted(places)[:4])
        text = f"{_short(sent.val)}, sent once, lies at {told}"
        witness = in_order(*sent.witness, *places.values())
        judge.find("duplicate", log.dest, text, witness, may_repeat(logs, sent))


def _aborted(logs: Logs, log: Log, profile: Profile, judge: Judge) -> None:
    """G1a and precommitted-read."""
    told: set[tuple[str, str]] = set()
    for event in log.reads:
        sent = log.written.get(event.val or "")
        if sent is None or (sent.outcome != "fail" and sent.invoke.txn is None) or (event.who, sent.val) in told:
            continue
        if sent.invoke.txn is None or (sent.end is not None and sent.end.kind == "fail"):
            told.add((event.who, sent.val))
            how = "was read" if event.f == "deliver" else "is there"
            text = f"{_short(sent.val)} {how}, though its send said that it was not applied"
            judge.find("G1a", _where(event), text, in_order(*sent.witness, event))
        elif event.f == "deliver":  # an observer may see what nobody is given
            told.add((event.who, sent.val))
            _of_transaction(logs, profile, sent, event, judge)


def _of_transaction(logs: Logs, profile: Profile, sent: Sent, event: Event, judge: Judge) -> None:
    whole = logs.transaction(sent.invoke)
    legal = uncommitted_too(logs, profile, logs.client(event))
    ends = [end for end in (whole.commit, whole.end) if end is not None]
    if whole.outcome == "fail":
        text = f"{_short(sent.val)} was read, though its transaction {sent.invoke.txn} was not committed"
        judge.find("G1a", _where(event), text, in_order(*sent.witness, *ends, event), legal)
    elif whole.commit is not None and event.t < whole.commit.t:
        text = f"{_short(sent.val)} was read before its transaction {sent.invoke.txn} was to be committed"
        judge.find("precommitted-read", _where(event), text, in_order(*sent.witness, event, whole.commit), legal)


def _located(log: Log) -> Iterator[tuple[int, int, Sent]]:
    """(partition, offset, message) for each whose place is known: once, and not where the place itself is in doubt."""
    for sent in log.sends:
        if sent.invoke.val is None or sent.outcome == "fail" or sent.val in log.repeated:
            continue
        at = log.found_at(sent)
        if at is not None:
            yield at[0], at[1], sent


def _real_time(logs: Logs, log: Log, profile: Profile, judge: Judge) -> None:
    """realtime-order: above all that was confirmed in its partition when its send was invoked."""
    by_part: dict[int, list[tuple[int, Sent]]] = defaultdict(list)
    for part, off, sent in _located(log):
        by_part[part].append((off, sent))
    for part, found in by_part.items():
        waiting: list[tuple[float, int, int, Sent]] = []  # confirmed from then on
        highest: tuple[int, Sent] | None = None
        accused: Sent | None = None
        for number, (off, sent) in enumerate(found):  # in the order of their invokes
            while waiting and waiting[0][0] < sent.invoke.t:
                _, at, _, other = heapq.heappop(waiting)
                if highest is None or at > highest[0]:
                    highest = (at, other)
            if highest is not None and off < highest[0] and accused is not highest[1]:
                accused = highest[1]  # once: all that follows may lie below one wrong confirmation
                weak = unconfirmed(logs, sent) if log.sighted.get(sent.val) is None else ""
                text = f"offset {off} was given to a send that began after offset {highest[0]} was confirmed"
                legal = weak or unconfirmed(logs, accused) or not_claimed(profile, "ORDER_PER_PARTITION")
                witness = in_order(*accused.witness, *sent.witness)
                judge.find("realtime-order", f"{log.dest}/{part}", text, witness, legal)
            if sent.outcome == "ok" and sent.off is not None:
                heapq.heappush(waiting, (sent.known_t, off, number, sent))


def _by_client(logs: Logs, log: Log, profile: Profile, judge: Judge) -> None:
    """nonmonotonic-send, and within a transaction int-nonmonotonic-send and int-send-skip."""
    last: dict[tuple[str, str, int], tuple[int, Sent]] = {}
    for part, off, sent in _located(log):
        payload = logs.payload(sent.val)
        if payload is None and sent.invoke.txn is None:
            continue  # several threads may use one producer: only numbers tell in which order each of them sent
        stream = (sent.invoke.who, payload.producer if payload is not None else "", part)
        before = last.get(stream)
        if sent.outcome == "ok":
            last[stream] = (off, sent)
        if before is None or not _as_numbered(logs, before[1], sent):
            continue
        together = sent.invoke.txn is not None and before[1].invoke.txn == sent.invoke.txn
        where = f"{log.dest}/{part}"
        witness = in_order(*before[1].witness, *sent.witness)
        if off <= before[0]:
            name = "int-nonmonotonic-send" if together else "nonmonotonic-send"
            text = f"{sent.invoke.who} sent to offset {before[0]}, and then to offset {off}"
            legal = may_reorder(logs, profile, before[1]) or unconfirmed(logs, before[1])
            judge.find(name, where, text, witness, legal)
        elif together and _lies_between(log, part, before[0], off):
            text = f"others wrote between offsets {before[0]} and {off} of transaction {sent.invoke.txn}"
            judge.find("int-send-skip", where, text, witness, "writes of transactions interleave on every engine")


def _lies_between(log: Log, part: int, low: int, high: int) -> bool:
    present = log.present.get(part, [])
    return bisect_left(present, high) > bisect_right(present, low)


def _as_numbered(logs: Logs, before: Sent, after: Sent) -> bool:
    """Do the payloads agree that one was sent before the other? Two threads of one producer number for themselves."""
    first, second = logs.payload(before.val), logs.payload(after.val)
    return first is None or second is None or first.number < second.number


def _where(event: Event) -> str:
    return f"{event.dest}/{event.part}" + (f" in group {event.group}" if event.group else "")


def _short(value: str | None) -> str:
    return repr(value) if value is None or len(value) <= 60 else f"{value[:60]!r}..."
