"""What a send is answered: with the truth, and at all.

Anomalies: ``unroutable-confirmed`` (an exchange confirmed what it had no queue for), ``confirm-never`` (a send without
an end, although its producer lived on long enough), ``limit-exceeded`` (a queue took, or has, more than its length).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import NEVER, SECOND
from mqbridge_conformance.checkers.queue_facts import Facts, Send
from mqbridge_conformance.history import Event, History, Operation

__all__ = ["check_limits", "check_sends"]

DELIVERY_TIMEOUT_S: Final = 120.0
MAX_BLOCK_S: Final = 60.0
LATE_S: Final = 10.0


def check_sends(history: History, profile: Profile) -> Judgement:
    """Unroutable messages that were confirmed, sends that nobody answered."""
    facts, judge = history.derived(Facts), Judge("queue-sends", profile)
    reported = "" if profile.has("UNROUTABLE_REPORTED") else "this engine does not claim to report them"
    confirms = "" if profile.has("CONFIRMED_SEND") else "this engine claims no confirms"
    flushes = _Flushes(history)
    for operation in history.operations("send"):
        send, end = operation
        judge.count("sends")
        if end is None:
            last = _proof_of_life(facts, send, flushes)
            if last is not None:
                text = f"{send.val!r} was sent by {send.who}, which lived on, and its send never ended"
                judge.find("confirm-never", send.dest or "", text, [send, last], confirms)
        elif end.kind == "ok" and send.dest is not None and send.dest.startswith("exchange:"):
            judge.count("routed")
            if facts.routes.leads_nowhere(send):
                text = f"{send.val!r} was confirmed, and no binding carries it anywhere"
                judge.find("unroutable-confirmed", send.dest, text, [send, end], reported)
    return judge.judgement()


class _Flushes:
    """When producers were flushed or closed with success, and what was told of them afterwards.

    Their callbacks are called one after another. So one that is told of a send that was taken, and began after a flush
    had ended, was told before of all that the flush had waited for, or never will be.
    """

    def __init__(self, history: History) -> None:
        self._flushes: dict[str, list[tuple[int, Event]]] = {}
        self._told: dict[str, Operation] = {}
        for operation in (*history.operations("flush"), *history.operations("close")):
            if operation.end is not None and operation.outcome == "ok":
                self._flushes.setdefault(operation.invoke.who, []).append((operation.invoke.t, operation.end))
        for flushes in self._flushes.values():
            flushes.sort(key=lambda flush: flush[0])
        for operation in history.operations("send"):
            if operation.outcome == "ok":  # what was refused may have been told by the call itself
                self._told[operation.invoke.who] = operation  # the last that began

    def after(self, send: Event) -> Event | None:
        """The end of the first flush that began after a send."""
        flushes = self._flushes.get(send.who, [])
        place = bisect_right(flushes, send.t, key=lambda flush: flush[0])
        return flushes[place][1] if place < len(flushes) else None

    def told_later(self, who: str, t: int) -> Event | None:
        """The end of a send of that producer that began after a time."""
        told = self._told.get(who)
        return None if told is None or told.invoke.t <= t else told.end


def _proof_of_life(facts: Facts, send: Event, flushes: _Flushes) -> Event | None:
    """What shows that its producer had heard of it: a flush that ended well, and then the end of a later send, or the
    patience of the run; or its time limits. Its process is alive and well in the time of each."""
    stopped = facts.trouble.stopped.get(send.proc, NEVER)
    last = facts.trouble.last_event.get(send.proc)
    if last is None or stopped <= last.t:
        return None
    flush = flushes.after(send)
    if flush is not None:
        told, patience_s = flushes.told_later(send.who, flush.t), facts.history.header.get("patience_s")
        if told is not None:
            return told
        if patience_s is not None and last.t > flush.t + int(float(patience_s) * SECOND):
            return flush
    opened = facts.producers.get(send.who)
    more = {} if opened is None else opened.more
    limit_s = float(more.get("delivery_timeout_s") or DELIVERY_TIMEOUT_S)
    limit_s += float(more.get("max_block_s") or MAX_BLOCK_S)
    return last if last.t > send.t + int((limit_s + LATE_S) * SECOND) else None


# --- limits


def check_limits(history: History, profile: Profile) -> Judgement:
    """Queues of limited length, as long as nobody took anything out of them."""
    facts, judge = history.derived(Facts), Judge("queue-limits", profile)
    legal = "" if profile.has("LENGTH_LIMIT") else "this engine claims no limit of length"
    for dest, policy in facts.policies.items():
        if policy.known and policy.max_length is not None:
            judge.count("limited_queues")
            _taken(facts, judge, dest, policy.max_length, policy.drops, legal)
            _seen(facts, judge, dest, policy.max_length, legal)
    return judge.judgement()


def _untouched_until(facts: Facts, dest: str) -> int:
    """Until when everything that was confirmed lies in a queue for certain."""
    times = [client.asked for client in facts.consumers.get(dest, ())]
    times += [begin for begin, _ in facts.removals.get(dest, ())]
    return min(times, default=NEVER)


def _taken(facts: Facts, judge: Judge, dest: str, limit: int, drops: bool, legal: str) -> None:
    """One that refuses must refuse what begins to be sent when it is full; it may be a little late to notice."""
    policy, until = facts.policy(dest), _untouched_until(facts, dest)
    sends = [send for story in facts if story.dest == dest for send in story.sends if send.ok_t != NEVER]
    mortal = policy.message_ttl_s is not None or any("expires_in_s" in send.invoke.more for send in sends)
    if drops or mortal or policy.expires or any(send.invoke.more.get("delay_s") for send in sends):
        return
    slack = len({send.invoke.who for send in sends})
    sends = [send for send in sends if send.ok_t < until]
    confirmed = sorted(send.ok_t for send in sends)
    place = 0
    for send in sorted(sends, key=lambda send: send.invoke.t):
        while place < len(confirmed) and confirmed[place] < send.invoke.t:
            place += 1
        if place >= limit + slack:
            _exceeded(judge, dest, f"it took {send.invoke.val!r} when it had {place} of {limit}", send, legal)
            return


def _exceeded(judge: Judge, dest: str, text: str, send: Send, legal: str) -> None:
    judge.find("limit-exceeded", dest, text, [send.invoke, *([] if send.end is None else [send.end])], legal)


def _seen(facts: Facts, judge: Judge, dest: str, limit: int, legal: str) -> None:
    """More were seen in it than there may be."""
    slack = len({send.invoke.who for story in facts if story.dest == dest for send in story.sends})
    for look in facts.looks.get(dest, ()):
        ready = int(look.event.more.get("ready", 0))
        if look.f == "left" and ready > limit + slack and look.t < _untouched_until(facts, dest):
            text = f"it has {ready} messages, and may have {limit}"
            judge.find("limit-exceeded", dest, text, [look.event], legal)
            return
