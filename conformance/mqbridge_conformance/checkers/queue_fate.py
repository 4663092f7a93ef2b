"""What became of every message that was confirmed: at the end it is somewhere, or it was settled.

Anomalies: ``lost`` (never delivered, and nowhere), ``missing-redelivery`` (given back by a verb, or by the end of its
consumer, and never delivered again), ``dlq-lost`` (it died, and no letter says so). A message is missing only when
somebody looked, or said that all there was has been asked for, and when every place is ruled out in which it could
lawfully be. Of what was confirmed after everybody had looked for the last time nobody can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import NEVER, SECOND
from mqbridge_conformance.checkers.queue_facts import Facts, Lease, Look, Story, ttl_of
from mqbridge_conformance.checkers.queue_promises import Promises
from mqbridge_conformance.history import Event, History

__all__ = ["check_fate"]

GRACE_NS = SECOND
"""A broker may need so long to put back, or to dead-letter, what was settled or whose consumer died."""
COUNTS_NS = 6 * SECOND
"""Counts may be as old as RabbitMQ's statistics are."""
_AT_MOST_ONCE = "at most once: what was handed out and not shown is gone with its consumer"
_DROPPING = "a queue that drops its oldest dead-letters them at most once"


def check_fate(history: History, profile: Profile) -> Judgement:
    """See the module."""
    facts, judge = history.derived(Facts), Judge("queue-fate", profile)
    fates = _Fates(facts, Promises(facts, profile), judge, profile)
    for story in facts:
        confirmed = sum(send.ok_t != NEVER for send in story.sends)
        judge.count("confirmed", confirmed)
        if confirmed or story.leases:
            fates.judge(story, confirmed)
    fates.too_few_left()
    _unlooked(facts, judge)
    return judge.judgement()


def _unlooked(facts: Facts, judge: Judge) -> None:
    """Confirmed, to stay until it is settled, and nobody was shown anything of its queue from then on."""
    last: dict[str, int] = {dest: max(look.begun for look in looks) for dest, looks in facts.looks.items()}
    for story in facts:
        for lease in story.leases[-1:]:
            last[story.dest] = max(last.get(story.dest, -1), lease.t)
    waiting: dict[str, int] = {}
    for story in facts:
        policy = facts.policy(story.dest)
        if story.leases or story.letters or story.stored or not policy.keeps:
            continue
        since = last.get(story.dest, -1)
        for send in story.sends:
            if since < send.ok_t < NEVER and not facts.removed(story.dest, send.invoke.t, NEVER):
                waiting[story.dest] = waiting.get(story.dest, 0) + 1
    for dest, number in waiting.items():
        judge.cannot_tell(f"{number} were confirmed in {dest}, and nobody looked there afterwards")


@dataclass(frozen=True, slots=True)
class _Loose:
    """A message that nobody has and that was not settled for good, since `since`; `witness` shows how."""

    since: int
    anomaly: str
    text: str
    witness: tuple[Event, ...]
    in_queue: bool = True
    """May it be in its queue?"""


class _Fates:
    def __init__(self, facts: Facts, promises: Promises, judge: Judge, profile: Profile) -> None:
        self._facts = facts
        self._promises = promises
        self._judge = judge
        self._routed = any(profile.claims.get(name) == "direct" for name in ("ROUTE_DIRECT", "ROUTE_FANOUT"))
        self._perhaps_there: dict[str, list[_Loose]] = {}
        """Queue -> what is in no other place."""
        self._letters = "" if profile.has("DEAD_LETTER") else "this engine claims no dead-lettering"

    def judge(self, story: Story, confirmed: int) -> None:
        if self._facts.copies(story) == 1 and story.leases:
            loose = self._after_lease(story)
        elif confirmed:
            loose = self._never_shown(story)
        else:
            return
        if loose is not None:
            self._rule_out(story, loose)

    # --- who is loose

    def _never_shown(self, story: Story) -> _Loose | None:
        """More confirmed copies than were ever delivered, or lay there when somebody looked for the last time."""
        sure = [send for send in story.sends if send.ok_t != NEVER and self._is_sure(send.invoke)]
        look = self._facts.last(story.dest, "looked", "left", "drained")
        shown = len(story.leases) + (0 if look is None else look.found[story.val])
        if len(sure) <= shown:
            return None
        since = max(send.ok_t + _delay(send.invoke) for send in sure)
        of = "" if len(sure) == 1 else f", sent {len(sure)} times and seen {shown} times,"
        text = f"{story.val!r}{of} was confirmed, and is nowhere"
        ends = [send.end for send in sure if send.end is not None]
        return _Loose(since, "lost", text, (*(send.invoke for send in sure), *ends))

    def _is_sure(self, invoke: Event) -> bool:
        return invoke.dest is not None and (invoke.dest.startswith("queue:") or self._routed)

    def _letters_of(self, story: Story) -> int:
        dead = self._dead(story)
        return len(story.letters) + (0 if dead is None else len(dead.leases))

    def _dead(self, story: Story) -> Story | None:
        """The story of the same value in the dead-letter queue."""
        target = self._facts.policy(story.dest).dead_letter
        return None if target is None else self._facts.stories.get((target, story.val))

    def _after_lease(self, story: Story) -> _Loose | None:
        """The only copy, as its last delivery left it."""
        last = max(story.leases, key=lambda lease: lease.t)
        if last.client.before or last.f in ("ack", "?") or not last.traced:
            return None
        if last.f == "":
            return self._orphan(story, last)
        assert last.verb is not None
        since = _heard(last) + _delay(last.verb) + int(self._facts.policy(story.dest).backoff_s * SECOND)
        if last.f == "reject":
            text = f"{story.val!r} was rejected, and no letter says so"
            return _Loose(since, "dlq-lost", text, last.told, in_queue=last.known == NEVER)
        text = f"{story.val!r} was given back by {last.f} and never came again"
        return _Loose(since, "missing-redelivery", text, last.told)

    def _orphan(self, story: Story, last: Lease) -> _Loose | None:
        """Not settled: held still, or left behind by a consumer that has ended."""
        client = last.client
        since = min(client.closed, client.dead, last.lost)
        if since == NEVER:
            return None
        how = "was lost by" if last.lost == since else "was with"
        text = f"{story.val!r} {how} {client.who} when that ended, and never came again"
        return _Loose(since, "missing-redelivery", text, (last.event,))

    # --- where it may be

    def _rule_out(self, story: Story, loose: _Loose) -> None:
        facts, policy = self._facts, self._facts.policy(story.dest)
        if not policy.known or policy.expires or facts.redrives.get(story.dest) or self._letters_of(story):
            return
        look = self._not_in_queue(story, loose) if loose.in_queue else None
        until = loose.since if look is None else look.t
        if facts.removed(story.dest, facts.first_sent(story), until):
            return
        mortal = self._may_have_died(story, until)
        if loose.in_queue and look is None:
            self._judge.count("nobody_looked")
            if not mortal and policy.keeps:
                self._perhaps_there.setdefault(story.dest, []).append(loose)
            return
        anomaly, legal = loose.anomaly, ""
        if policy.dead_letter is None:
            if mortal or anomaly == "dlq-lost":
                return  # dropped, as it was asked for
        elif mortal or anomaly == "dlq-lost":
            look = self._not_among_letters(story, loose)
            if look is None:
                self._judge.count("nobody_looked")
                return
            anomaly, legal = "dlq-lost", self._letters or (_DROPPING if policy.drops else "")
        assert look is not None
        legal = legal or self._gone_with_its_consumer(story, loose, until)
        self._judge.find(anomaly, story.dest, loose.text, [*loose.witness, look.event], legal)

    def _not_in_queue(self, story: Story, loose: _Loose) -> Look | None:
        """A look that rules out that it is in its queue."""
        facts = self._facts
        drained = facts.last(story.dest, "drained")
        if drained and drained.begun > loose.since and not facts.hidden(story.dest, loose.since, drained.t):
            return drained
        looked, left = facts.last(story.dest, "looked"), facts.last(story.dest, "left")
        if looked is not None and looked.begun > loose.since + GRACE_NS and not looked.found[story.val]:
            return looked
        return left if left is not None and left.begun > loose.since + COUNTS_NS and left.total == 0 else None

    def _may_have_died(self, story: Story, until: int) -> bool:
        """May the queue's policy have taken it out, so that it belongs among the dead letters, or nowhere?"""
        facts, policy = self._facts, self._facts.policy(story.dest)
        if policy.drops:
            return True
        for send in story.sends:
            ttl_s = ttl_of(policy.message_ttl_s, send.invoke)
            if ttl_s is not None and until >= send.invoke.t + int(ttl_s * SECOND):
                return True
        if policy.max_attempts is None:
            return False
        counted = max((lease.event.attempt or 1 for lease in story.leases), default=0)
        unseen = facts.unseen(story.dest, facts.first_sent(story), until)
        return self._promises.copying or counted + 1 + unseen > policy.max_attempts

    def _gone_with_its_consumer(self, story: Story, loose: _Loose, until: int) -> str:
        """Where what is handed out is settled by that: may it have been handed out and never shown?"""
        facts = self._facts
        for client in facts.consumers.get(story.dest, ()):
            if not client.before or client.opened > until:
                continue
            asked = client.found_nothing(loose.since + GRACE_NS, min(until, client.closing))
            if not asked or client.doubtful <= until or not facts.calm(loose.since, until):
                return _AT_MOST_ONCE
        return ""

    def too_few_left(self) -> None:
        """Of messages that can only be in their queue, there are more than the queue has."""
        for dest, loose in self._perhaps_there.items():
            left = self._facts.last(dest, "left")
            since = max(one.since for one in loose)
            if left is None or left.begun <= since + COUNTS_NS or left.total >= len(loose):
                continue
            never_shown = [one for one in loose if one.anomaly == "lost"]
            anomaly = "lost" if len(never_shown) > left.total else loose[0].anomaly
            text = f"of {len(loose)} messages that can be nowhere else, it has {left.total}"
            witness = [event for one in loose for event in one.witness]
            self._judge.find(anomaly, dest, text, [*witness, left.event])

    def _not_among_letters(self, story: Story, loose: _Loose) -> Look | None:
        """A look that rules out that it is among the dead letters."""
        facts = self._facts
        target = facts.policy(story.dest).dead_letter
        assert target is not None
        if not facts.policy(target).keeps:
            return None
        for look in (facts.last(story.dest, "letters"), facts.last(target, "looked"), facts.last(target, "drained")):
            if look is None or look.found[story.val] or look.begun <= loose.since + GRACE_NS:
                continue
            # An observer may see only what no consumer of the letters has.
            if facts.hidden(target, loose.since, look.t):
                continue
            if not facts.removed(target, facts.first_sent(story), look.t):
                return look
        return None


def _heard(lease: Lease) -> int:
    """When the broker had heard of the verb, at the latest, or that its consumer had ended."""
    assert lease.verb is not None
    client = lease.client
    told = min(lease.known, client.closed, client.dead)
    return lease.verb.t + int(client.settle_s * SECOND) + GRACE_NS if told == NEVER else max(told, lease.verb.t)


def _delay(event: Event) -> int:
    return int(float(event.more.get("delay_s") or 0) * SECOND)
