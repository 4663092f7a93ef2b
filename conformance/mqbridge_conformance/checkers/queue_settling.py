"""What is settled stays settled, one consumer at a time has a message, and none has more than it asked for.

Anomalies: ``redelivery-after-settle``, ``concurrent-lease``, ``prefetch-bound``; ``duplicate`` is a count, unless the
broker had the settlement, as it has that of each delivery at most once. A verb is a local mark: the broker certainly
has it when a later `commit` of the same consumer was ok, or when that was left alone for so long that it must have told
it by itself; a redelivery before that is counted.
"""

from __future__ import annotations

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import NEVER, SECOND
from mqbridge_conformance.checkers.queue_facts import Facts, Lease, Story
from mqbridge_conformance.checkers.queue_promises import AT_LEAST_ONCE, Promises
from mqbridge_conformance.history import History

__all__ = ["check_leases", "check_prefetch"]

_FINAL = ("ack", "reject")
TOLD_NS = 10 * SECOND
"""So much longer than it may a verb does not wait to be told."""
_MARK_ONLY = "the verb was a local mark, and no commit says that the broker had it"
_COPIED = "this engine writes messages anew, and one of its consumers died or was cut off meanwhile: there may be two"


def check_leases(history: History, profile: Profile) -> Judgement:
    """Redeliveries after a settlement, leases at the same time, duplicates."""
    facts, judge = history.derived(Facts), Judge("queue-leases", profile)
    promises = Promises(facts, profile)
    for story in facts:
        judge.count("deliveries", len(story.leases))
        if len(story.leases) > 1 and facts.copies(story, story.leases[0].t):
            _Turns(facts, promises, judge, story).judge()
            _duplicates(facts, promises, judge, story)
    return judge.judgement()


class _Turns:
    """The deliveries of one value, one after another."""

    def __init__(self, facts: Facts, promises: Promises, judge: Judge, story: Story) -> None:
        self._facts = facts
        self._promises = promises
        self._judge = judge
        self._story = story
        self._open: list[Lease] = []
        """Held, or settled for good as far as their consumers know."""
        self._gone: list[Lease] = []
        """Settled for good, and the broker has it."""

    def judge(self) -> None:
        for lease in self._story.leases:
            self._move_on(lease.t)
            copies = self._facts.copies(self._story, lease.t)
            held = [other for other in self._open if self._certainly_held(other, lease.t)]
            marked = [other for other in self._open if other.left_hand < lease.t]
            if len(self._gone) >= copies:
                self._after_settle(lease, self._gone[-1])
            elif len(self._gone) + len(held) >= copies:
                self._at_once(lease, held[-1])
            elif len(self._gone) + len(marked) >= copies:
                last = marked[-1]
                text = f"{self._story.val!r} came again after {last.f} of attempt {last.event.attempt}"
                witness = [*last.told, lease.event]
                copied = _copied(self._facts, self._promises, self._story, lease.t)
                legal = copied if self._is_told(last, lease.t) else _MARK_ONLY
                self._judge.find("redelivery-after-settle", self._story.dest, text, witness, legal)
            self._open.append(lease)

    def _move_on(self, t: int) -> None:
        still: list[Lease] = []
        for lease in self._open:
            final = lease.client.before or lease.f in _FINAL
            if final and lease.known < t:
                self._gone.append(lease)
            elif final or (lease.left_hand >= t and not lease.client.ended(t)):
                still.append(lease)
        self._open = still

    def _is_told(self, lease: Lease, t: int) -> bool:
        """Had its consumer told the broker of the verb by then, for it lived on and nothing was in its way?"""
        client = lease.client
        if lease.verb is None or lease.lost != NEVER or client.shaken >= lease.t:
            return False
        told = lease.verb.t + int(client.settle_s * SECOND) + TOLD_NS
        undisturbed = self._facts.sound(client, lease.t, told) and self._promises.held_safely(lease.t, told)
        return told < min(t, client.closing, client.doubtful) and undisturbed

    def _certainly_held(self, lease: Lease, t: int) -> bool:
        client = lease.client
        return (
            not client.before
            and t < min(lease.left_hand, client.closing, client.doubtful)
            and lease.lost == NEVER
            and client.shaken < lease.t
            and (lease.verb is not None or not lease.event.more.get("handler"))
            and self._facts.sound(client, lease.t, t)
            and self._promises.held_safely(lease.t, t)
        )

    def _after_settle(self, lease: Lease, gone: Lease) -> None:
        how = gone.f or "being taken at most once"
        text = f"{self._story.val!r} came again although the broker had its settlement ({how})"
        legal = _copied(self._facts, self._promises, self._story, lease.t)
        self._judge.find("redelivery-after-settle", self._story.dest, text, [*gone.told, lease.event], legal=legal)

    def _at_once(self, lease: Lease, holder: Lease) -> None:
        to = "the same consumer" if lease.client is holder.client else lease.client.who
        text = f"{self._story.val!r} was given to {to} while {holder.client.who} had it"
        witness = [holder.event, lease.event, *([] if holder.tried is None else [holder.tried])]
        legal = _copied(self._facts, self._promises, self._story, lease.t)
        self._judge.find("concurrent-lease", self._story.dest, text, witness, legal)


def _copied(facts: Facts, promises: Promises, story: Story, t: int) -> str:
    """Why there may be two of one message by then; empty if there may not."""
    return "" if promises.one_copy_stays_one(facts.first_sent(story), t) else _COPIED


def _duplicates(facts: Facts, promises: Promises, judge: Judge, story: Story) -> None:
    settled = [lease for lease in story.leases if lease.f == "ack" or lease.client.before]
    if not settled or len(settled) <= facts.copies(story, settled[-1].t):
        return
    known = sum(lease.known < settled[-1].t for lease in settled) >= facts.copies(story, settled[-1].t)
    text = f"{story.val!r} was done {len(settled)} times"
    witness = [event for lease in settled for event in lease.told]
    legal = _copied(facts, promises, story, settled[-1].t) if known else AT_LEAST_ONCE
    judge.find("duplicate", story.dest, text, witness, legal)


def check_prefetch(history: History, profile: Profile) -> Judgement:
    """No consumer has more than its prefetch, counted by what it certainly has; one finding a consumer."""
    facts, judge = history.derived(Facts), Judge("queue-prefetch", profile)
    promises = Promises(facts, profile)
    legal = "" if profile.has("PREFETCH") else "this engine claims no prefetch"
    by_client: dict[str, list[Lease]] = {}
    for story in facts:
        for lease in story.leases:
            client = lease.client
            if client.prefetch is not None and not client.before and lease.traced and lease.lost == NEVER:
                by_client.setdefault(client.who, []).append(lease)
    for leases in by_client.values():
        judge.count("consumers")
        _bounded(facts, promises, judge, leases, legal)
    return judge.judgement()


def _bounded(facts: Facts, promises: Promises, judge: Judge, leases: list[Lease], legal: str) -> None:
    client, bound = leases[0].client, leases[0].client.prefetch
    assert bound is not None
    leases.sort(key=lambda lease: (lease.t, lease.event.seq))
    out: dict[str | None, Lease] = {}
    leaving = sorted((lease for lease in leases if lease.left_hand != NEVER), key=lambda lease: lease.left_hand)
    place = 0
    for lease in leases:
        while place < len(leaving) and leaving[place].left_hand <= lease.t:
            gone = leaving[place]
            if out.get(gone.event.val) is gone:
                del out[gone.event.val]
            place += 1
        out[lease.event.val] = lease  # one that comes again replaces the one that must have been lost
        if len(out) <= bound:
            continue
        oldest = min(held.t for held in out.values())
        sound = facts.sound(client, oldest, lease.t) and promises.held_safely(oldest, lease.t)
        if sound and client.shaken < oldest and lease.t < min(client.closing, client.doubtful):
            text = f"{client.who} has {len(out)} messages that it has not settled, and asked for {bound} at most"
            judge.find("prefetch-bound", client.dest, text, [held.event for held in out.values()], legal)
            return
        out = {lease.event.val: lease}  # what it had before may have been lost with its connection
