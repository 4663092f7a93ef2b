"""Where the messages of queues come from: nothing is delivered that nobody sent, nothing damaged, nothing elsewhere.

What observers saw in a queue, or among its dead letters, counts as what was delivered does. A message keeps its key.

Anomalies: ``phantom``, ``payload-corruption``, ``wrong-destination``, and ``recovered`` as a count: what had an unknown
outcome and was there after all.
"""

from __future__ import annotations

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import NEVER
from mqbridge_conformance.checkers.queue_facts import Facts, Story
from mqbridge_conformance.history import Damaged, Event, History, Payload

__all__ = ["check_origin"]


def check_origin(history: History, profile: Profile) -> Judgement:
    """See the module."""
    facts, judge = history.derived(Facts), Judge("queue-origin", profile)
    for story in facts:
        shown = _first_shown(story)
        if shown is None:
            continue
        judge.count("values")
        _whole(judge, story, shown)
        _key_of(judge, story)
        sent = facts.first_sent(story)
        if sent == NEVER:
            _unsent(facts, judge, story, shown)
        elif shown.t < sent:
            began = [send.invoke for send in story.sends if not send.failed][:1]
            text = f"{story.val!r} is there before it was sent"
            judge.find("phantom", story.dest, text, [shown, *began])
        elif story.sends:
            _recovered(judge, story, shown)
    return judge.judgement()


def _first_shown(story: Story) -> Event | None:
    seen = [*(lease.event for lease in story.leases[:1]), *story.letters[:1], *story.stored[:1]]
    return min(seen, key=lambda event: event.t, default=None)


def _whole(judge: Judge, story: Story, shown: Event) -> None:
    try:
        Payload.decode(story.val)
    except Damaged as damage:
        judge.find("payload-corruption", story.dest, str(damage), [shown])


def _key_of(judge: Judge, story: Story) -> None:
    """It comes under the key of one of its sends, also where that is none."""
    keys = {send.invoke.key for send in story.sends}
    for event in (*(lease.event for lease in story.leases), *story.stored):
        if keys and event.key not in keys:
            send = story.sends[0].invoke
            text = f"{story.val!r} was sent under key {send.key!r} and came back under {event.key!r}"
            judge.find("payload-corruption", story.dest, text, [send, event])
            return


def _unsent(facts: Facts, judge: Judge, story: Story, shown: Event) -> None:
    try:
        payload = Payload.decode(story.val)
    except Damaged:
        return  # said already, and nobody sent it like that
    failed = next((send for send in story.sends if send.failed), None)
    elsewhere = None if payload is None else facts.first_sends.get((payload.dest, story.val))
    if failed is not None:
        witness = [failed.invoke, *([] if failed.end is None else [failed.end]), shown]
        text = f"{story.val!r} is there although its send failed and was said not to have been applied"
        judge.find("phantom", story.dest, text, witness)
    elif story.val in facts.sent_to_exchanges:
        sent = facts.sent_to_exchanges[story.val]
        text = f"{story.val!r} was sent to {sent.dest}, whose bindings do not carry it to {story.dest}"
        judge.find("wrong-destination", story.dest, text, [sent, shown])
    elif elsewhere is not None:
        text = f"{story.val!r} was sent to {elsewhere.dest} and is in {story.dest}"
        judge.find("wrong-destination", story.dest, text, [elsewhere, shown])
    else:
        judge.find("phantom", story.dest, f"{story.val!r} is there, and nobody sent it", [shown])


def _recovered(judge: Judge, story: Story, shown: Event) -> None:
    if any(send.end is not None and send.end.kind == "ok" for send in story.sends):
        return
    unknown = next(send for send in story.sends if send.unknown)
    witness = [unknown.invoke, *([] if unknown.end is None else [unknown.end]), shown]
    text = f"{story.val!r}, whose send has no known outcome, was applied"
    judge.find("recovered", story.dest, text, witness, legal="an unknown outcome may be either")
