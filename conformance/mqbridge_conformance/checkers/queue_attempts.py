"""Each delivery says the how-manieth it is: failures count, and nothing else does.

Anomalies: ``attempt-wrong``, ``release-counted``, ``delivery-limit``, and of the redelivered flag ``dup-unflagged``
(after its consumer ended) and ``unflagged-redelivery`` (after a verb). Judged where a value can be only one message,
between two deliveries that follow each other; a consumer that may have died in between may have had it too, and nobody
was shown.
"""

from __future__ import annotations

from typing import NamedTuple

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import MANY, NEVER
from mqbridge_conformance.checkers.queue_facts import Facts, Lease, Story
from mqbridge_conformance.checkers.queue_promises import Promises
from mqbridge_conformance.history import History

__all__ = ["check_attempts"]


def check_attempts(history: History, profile: Profile) -> Judgement:
    """See the module."""
    facts, judge = history.derived(Facts), Judge("queue-attempts", profile)
    attempts = _Attempts(facts, Promises(facts, profile), judge, profile)
    for story in facts:
        judge.count("deliveries", len(story.leases))
        attempts.limit(story)
        if story.leases and facts.copies(story, story.leases[-1].t) == 1:
            attempts.judge(story)
    return judge.judgement()


class _Step(NamedTuple):
    """By how much the number may go up from one delivery to the next."""

    least: int
    most: int


class _Attempts:
    def __init__(self, facts: Facts, promises: Promises, judge: Judge, profile: Profile) -> None:
        self._facts = facts
        self._promises = promises
        self._judge = judge
        self._numbers = "" if profile.has("ATTEMPT_NUMBER") else "this engine claims no attempt numbers"
        self._flags = "" if profile.has("REDELIVERED") else "this engine claims no redelivered flag"
        self._limits = "" if profile.has("MAX_ATTEMPTS") else "this engine claims no limit of attempts"

    # --- the number

    def judge(self, story: Story) -> None:
        if not self._facts.policy(story.dest).classic:  # classic queues know a first delivery from others, no more
            self._first(story)
            for before, after in zip(story.leases, story.leases[1:], strict=False):
                self._next(story, before, after)
        for before, after in zip(story.leases, story.leases[1:], strict=False):
            self._flagged(story, before, after)

    def _first(self, story: Story) -> None:
        lease = story.leases[0]
        attempt = lease.event.attempt
        if attempt is None:
            return
        unseen = MANY if self._promises.copying else self._unseen(story, self._facts.first_sent(story), lease)
        if not 1 <= attempt <= 1 + unseen:
            text = f"the first delivery of {story.val!r} says that it is the {attempt}th"
            sent = [send.invoke for send in story.sends[:1]]
            self._judge.find("attempt-wrong", story.dest, text, [*sent, lease.event], self._numbers)

    def _next(self, story: Story, before: Lease, after: Lease) -> None:
        first, then = before.event.attempt, after.event.attempt
        if first is None or then is None:
            return
        step = self._step(story, before, after)
        if step.least <= then - first <= step.most:
            return
        released = before.f == "release" and then > first
        how = f"after {before.f}" if before.f in ("release", "retry") else "after its consumer ended"
        text = f"{story.val!r} was attempt {first}, and {how} it is attempt {then}"
        witness = [*before.told, after.event]
        anomaly = "release-counted" if released else "attempt-wrong"
        self._judge.find(anomaly, story.dest, text, witness, self._numbers)

    def _step(self, story: Story, before: Lease, after: Lease) -> _Step:
        client = before.client
        calm = self._facts.calm(before.t, after.t)
        deaths = client.deaths(after.t)
        if before.f == "retry":
            # One that comes again after its last attempt was to die and could not, which `limit` judges.
            step = _Step(int(not self._was_last(story, before)), 1 + deaths)
        elif before.f == "release":
            step = _Step(0, self._promises.release_counts + deaths)
        elif before.f == "" and before.traced and before.lost == NEVER and client.closed < after.t and not deaths:
            step = _Step(0, 0)
        elif before.f == "" and before.traced and client.dead < min(after.t, client.closing):
            step = _Step(1, deaths)
        else:
            step = _Step(0, MANY)
        # Its own deaths are counted here, and among those who may have had it unseen.
        unseen = self._unseen(story, before.t, after) - deaths
        most = MANY if self._promises.copying or not calm else step.most + max(unseen, 0)
        return _Step(step.least if calm else 0, most)

    def _was_last(self, story: Story, lease: Lease) -> bool:
        most = self._facts.policy(story.dest).max_attempts
        return most is not None and (lease.event.attempt or 1) >= most

    def _unseen(self, story: Story, since: int, lease: Lease) -> int:
        return self._facts.unseen(story.dest, since, lease.t)

    # --- the flag

    def _flagged(self, story: Story, before: Lease, after: Lease) -> None:
        if after.event.redelivered is not False:
            return
        if not self._facts.calm(before.t, after.t):
            legal = "a broker that fails may forget that it was delivered before"
        elif not self._promises.one_copy_stays_one(self._facts.first_sent(story), after.t):
            legal = "this engine writes messages anew: it may be another copy"
        else:
            legal = self._flags
        by_verb = before.f in ("release", "retry")
        how = before.f if by_verb else f"the end of {before.client.who}"
        text = f"{story.val!r} came again after {how} and does not say so"
        anomaly = "unflagged-redelivery" if by_verb else "dup-unflagged"
        self._judge.find(anomaly, story.dest, text, [*before.told, after.event], legal)

    # --- the limit

    def limit(self, story: Story) -> None:
        policy = self._facts.policy(story.dest)
        if policy.max_attempts is None or not policy.known:
            return
        single = bool(story.leases) and self._facts.copies(story, story.leases[-1].t) == 1
        failed: list[Lease] = []
        for lease in story.leases:
            number = lease.event.attempt or 1
            if number > policy.max_attempts:
                text = f"{story.val!r} is delivered as attempt {number} of {policy.max_attempts}"
                self._judge.find("delivery-limit", story.dest, text, [lease.event], self._limits)
                return
            before = [other for other in failed if single and other.known < lease.t]
            if len(before) >= policy.max_attempts and self._letters_could_be_written(story, lease.t):
                text = f"{story.val!r} failed {len(before)} times of {policy.max_attempts}, and is delivered again"
                witness = [*(event for other in before for event in other.told), lease.event]
                self._judge.find("delivery-limit", story.dest, text, witness, self._limits)
                return
            if lease.f == "retry":
                failed.append(lease)

    def _letters_could_be_written(self, story: Story, t: int) -> bool:
        """An engine that writes letters itself puts the message back when it cannot."""
        return self._promises.one_copy_stays_one(self._facts.first_sent(story), t)
