"""Dead letters: each message dies for a reason, not before it, and once.

Anomalies: ``DLQ-premature`` (it died, and nothing gave cause), ``ttl-early`` (it expired before its time), ``dlq-dup``
(more letters than messages died). That a letter is missing is judged with what became of messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import SECOND
from mqbridge_conformance.checkers.queue_facts import Facts, Look, Story, ttl_of
from mqbridge_conformance.checkers.queue_promises import Promises
from mqbridge_conformance.history import Event, History

__all__ = ["check_letters"]

SLACK_NS = SECOND // 20
"""Brokers count in milliseconds, and by clocks of their own."""
_MAY_DOUBLE = "what dies while a broker or a consumer fails may leave two letters"


def check_letters(history: History, profile: Profile) -> Judgement:
    """See the module."""
    facts, judge = history.derived(Facts), Judge("queue-letters", profile)
    letters = _Letters(facts, Promises(facts, profile), judge)
    for story in facts:
        for letter in letters.of(story):
            judge.count("letters")
            if letters.judge(story, letter):
                break
    for looks in facts.looks.values():
        for look in looks:
            letters.doubled(look)
    return judge.judgement()


class _Letter(NamedTuple):
    event: Event
    reason: str | None
    attempts: int | None


class _Letters:
    def __init__(self, facts: Facts, promises: Promises, judge: Judge) -> None:
        self._facts = facts
        self._promises = promises
        self._judge = judge
        self._doubled: set[tuple[str, str | None]] = set()

    def of(self, story: Story) -> Iterator[_Letter]:
        """All signs that it died: as observers saw it, and as its dead-letter queue delivered it."""
        for event in story.letters:
            yield _Letter(event, event.more.get("reason"), event.attempt)
        target = self._facts.policy(story.dest).dead_letter
        dead = None if target is None else self._facts.stories.get((target, story.val))
        if dead is None or dead.sends or len(self._facts.origins.get(dead.dest, ())) > 1:
            return  # it may not have come from here
        for lease in dead.leases:
            yield _Letter(lease.event, lease.event.more.get("death"), None)

    # --- before its time

    def judge(self, story: Story, letter: _Letter) -> bool:
        """Was something found?"""
        policy = self._facts.policy(story.dest)
        if not policy.known or not story.sends:
            return False
        causes = {
            "rejected": self._may_be_rejected(story, letter.event.t),
            "max-attempts": self._may_have_failed(story, letter),
            "expired": self._may_have_expired(story, letter.event.t),
            "max-length": policy.bounded,
        }
        if letter.reason is None:
            if any(causes.values()):
                return False
            anomaly = "DLQ-premature" if self._deadline(story) is None else "ttl-early"
            text = f"{story.val!r} is dead, and nothing gave cause"
        elif causes.get(letter.reason, True):
            return False
        else:
            anomaly = "ttl-early" if letter.reason == "expired" else "DLQ-premature"
            text = f"{story.val!r} is dead as {letter.reason!r}, and {self._why(story, letter)}"
        witness = [send.invoke for send in story.sends[:1]]
        witness += [event for lease in story.leases if lease.t < letter.event.t for event in lease.told]
        self._judge.find(anomaly, story.dest, text, [*witness, letter.event])
        return True

    def _why(self, story: Story, letter: _Letter) -> str:
        if letter.reason == "rejected":
            return "nobody rejected it"
        if letter.reason == "max-length":
            return "its queue has no limit"
        if letter.reason == "expired":
            deadline = self._deadline(story)
            if deadline is None:
                return "it was to live for ever"
            return f"it had {(deadline - letter.event.t) / SECOND:.3f} s or more to live"
        limit = self._facts.policy(story.dest).max_attempts
        said = "" if letter.attempts is None else f", the letter says {letter.attempts}"
        return f"it was delivered {len(story.leases)} times of {limit}{said}"

    def _may_be_rejected(self, story: Story, t: int) -> bool:
        return any(
            lease.t < t
            and (not lease.traced or (lease.tried is not None and lease.tried.f == "reject" and lease.tried.t < t))
            for lease in story.leases
        )

    def _may_have_failed(self, story: Story, letter: _Letter) -> bool:
        limit = self._facts.policy(story.dest).max_attempts
        if limit is None:
            return False
        if letter.attempts is not None and letter.attempts < limit:
            return False
        if self._promises.copying or self._facts.copies(story) != 1:
            return True
        uncounted = () if self._promises.release_counts else ("release",)
        shown = sum(lease.t < letter.event.t and lease.f not in uncounted for lease in story.leases)
        return shown + self._facts.unseen(story.dest, self._facts.first_sent(story), letter.event.t) >= limit

    def _may_have_expired(self, story: Story, t: int) -> bool:
        deadline = self._deadline(story)
        return deadline is not None and t >= deadline - SLACK_NS

    def _deadline(self, story: Story) -> int | None:
        """When the first of its copies may expire."""
        policy = self._facts.policy(story.dest)
        times = [
            send.invoke.t + int(ttl_s * SECOND)
            for send in story.sends
            if not send.failed and (ttl_s := ttl_of(policy.message_ttl_s, send.invoke)) is not None
        ]
        return min(times, default=None)

    # --- once

    def doubled(self, look: Look) -> None:
        """At one time no message has more letters than there are copies of it."""
        dest = look.event.dest
        if dest is None or look.f != "letters":
            return
        for val, number in look.found.items():
            story = self._facts.stories.get((dest, val))
            if story is None or number <= self._facts.copies(story, look.t) or (dest, val) in self._doubled:
                continue
            if self._promises.copying and self._was_taken(story):
                continue  # where letters are written anew, an old one may still be seen
            self._doubled.add((dest, val))
            sent = self._facts.first_sent(story)
            smooth = self._facts.smooth(sent, look.t) and self._promises.held_safely(sent, look.t)
            text = f"{val!r} has {number} letters, and {self._facts.copies(story, look.t)} can have died"
            letters = [event for event in story.letters if (event.proc, event.op) == (look.event.proc, look.event.op)]
            self._judge.find("dlq-dup", dest, text, [*letters, look.event], "" if smooth else _MAY_DOUBLE)

    def _was_taken(self, story: Story) -> bool:
        target = self._facts.policy(story.dest).dead_letter
        dead = None if target is None else self._facts.stories.get((target, story.val))
        return bool(dead is not None and dead.leases) or bool(self._facts.redrives.get(story.dest))
