"""Times that messages have: not before their delay is over, and not after they have expired.

Anomalies: ``delay-early`` and ``ttl-late``. A time begins, at the earliest, when the send or the verb began, and, at
the latest, when it was confirmed. What a consumer may have had before a message expired it may show afterwards.
"""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import SECOND
from mqbridge_conformance.checkers.queue_facts import Facts, Story, ttl_of
from mqbridge_conformance.history import Event, History

__all__ = ["check_times"]

SLACK_NS: Final = SECOND // 20
"""Brokers count in milliseconds, and by clocks of their own."""
LATE_NS: Final = SECOND
"""So late a broker may notice that a message has expired."""


def check_times(history: History, profile: Profile) -> Judgement:
    """See the module."""
    facts, judge = history.derived(Facts), Judge("queue-times", profile)
    sends = "" if profile.has("DELAYED_SEND") else "this engine claims no delayed sends"
    retries = "" if profile.has("DELAYED_RETRY") else "this engine claims no delayed retries"
    expiry = "" if profile.has("MESSAGE_TTL") else "this engine claims no expiry"
    for story in facts:
        if not story.leases or not story.sends or facts.copies(story, story.leases[-1].t) != 1:
            continue
        judge.count("messages")
        _early(judge, story, story.sends[0].invoke, story.leases[0].event, sends)
        for before, after in zip(story.leases, story.leases[1:], strict=False):
            if before.tried is not None and before.verb is not None and facts.calm(before.t, after.t):
                if after.t > before.tried.t and before.client.doubtful > after.t:
                    _early(judge, story, before.tried, after.event, retries)
        _late(facts, judge, story, expiry)
    return judge.judgement()


def _early(judge: Judge, story: Story, cause: Event, shown: Event, legal: str) -> None:
    delay_s = float(cause.more.get("delay_s") or 0)
    if delay_s:
        judge.count("delayed")
    if shown.t < cause.t + int(delay_s * SECOND) - SLACK_NS:
        text = (
            f"{story.val!r} came {(shown.t - cause.t) / SECOND:.3f} s after a {cause.f} that delays it by {delay_s:g} s"
        )
        judge.find("delay-early", story.dest, text, [cause, shown], legal)


def _late(facts: Facts, judge: Judge, story: Story, legal: str) -> None:
    send = story.sends[0]
    ttl_s = ttl_of(facts.policy(story.dest).message_ttl_s, send.invoke)
    if ttl_s is None or not facts.policy(story.dest).known or send.end is None or send.end.kind != "ok":
        return
    judge.count("mortal")
    delay_s = float(send.invoke.more.get("delay_s") or 0)
    over = send.end.t + int((ttl_s + delay_s) * SECOND) + LATE_NS
    for lease in story.leases:
        if lease.client.asked > over and facts.calm(send.invoke.t, lease.t):
            text = f"{story.val!r} was to live for {ttl_s:g} s, and was given to one who came after that"
            judge.find("ttl-late", story.dest, text, [send.invoke, send.end, lease.event], legal)
            return
