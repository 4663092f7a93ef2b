"""The order in which a queue hands messages out.

Anomalies: ``fifo-inversion`` (what one producer sent first comes later) and ``priority-inversion`` (a lower priority
comes before a higher one that was there). Both are about first deliveries to the only consumer that a queue had, before
anything was given back, while all was calm: competing consumers and returned messages make any order lawful.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.queue_clients import NEVER, Client
from mqbridge_conformance.checkers.queue_facts import Facts, Lease, Send, Story
from mqbridge_conformance.history import History

__all__ = ["check_order"]


def check_order(history: History, profile: Profile) -> Judgement:
    """See the module."""
    facts, judge = history.derived(Facts), Judge("queue-order", profile)
    by_queue: dict[str, list[Story]] = {}
    for story in facts:
        by_queue.setdefault(story.dest, []).append(story)
    for dest, stories in by_queue.items():
        if len(facts.consumers.get(dest, ())) == 1:
            firsts = _firsts(facts, dest, stories)
            judge.count("first_deliveries", len(firsts))
            _in_order(facts, judge, firsts, profile)
            _by_priority(facts, judge, dest, stories, firsts, profile)
    return judge.judgement()


class _First(NamedTuple):
    """A message that can be only one, with its send and its first delivery."""

    story: Story
    send: Send
    lease: Lease


def _firsts(facts: Facts, dest: str, stories: list[Story]) -> list[_First]:
    """Those that are judged, in the order in which they came."""
    (client,) = facts.consumers[dest]
    until = min(_first_return(stories), client.closing, client.doubtful)
    firsts = [
        _First(story, story.sends[0], story.leases[0])
        for story in stories
        if len(story.sends) == 1 and story.leases and story.leases[0].t < until and _plain(facts, story)
    ]
    firsts = [first for first in firsts if facts.calm(first.send.invoke.t, first.lease.t)]
    return sorted(firsts, key=lambda first: (first.lease.t, first.lease.event.seq))


def _plain(facts: Facts, story: Story) -> bool:
    """Sent once, confirmed, due at once, and not handled by workers, who tell of what they took in any order."""
    send, told = story.sends[0], story.leases[0].event.more.get("handler")
    return send.ok_t != NEVER and not send.invoke.more.get("delay_s") and not told and facts.copies(story) == 1


def _first_return(stories: list[Story]) -> int:
    """When a message of the queue first began to go back, or may have."""
    times = [NEVER]
    for story in stories:
        for lease in story.leases:
            if lease.lost != NEVER or not lease.traced:
                times.append(lease.t)
            elif lease.tried is not None and lease.tried.f != "ack":
                times.append(lease.tried.t)
    return min(times)


# --- first in, first out


def _in_order(facts: Facts, judge: Judge, firsts: list[_First], profile: Profile) -> None:
    legal = "" if profile.has("ORDER_IN_QUEUE") else "this engine claims no order in queues"
    latest: dict[tuple[str, str | None, object], _First] = {}
    for first in firsts:
        invoke = first.send.invoke
        if _has_threads(facts, invoke.who):
            continue
        line = (invoke.who, invoke.dest, invoke.more.get("priority"))
        ahead = latest.get(line)
        if ahead is None or ahead.send.invoke.seq < invoke.seq:
            latest[line] = first
            continue
        text = f"{first.story.val!r} was sent before {ahead.story.val!r} and came after it"
        witness = [invoke, ahead.send.invoke, ahead.lease.event, first.lease.event]
        judge.find("fifo-inversion", first.story.dest, text, witness, legal)


def _has_threads(facts: Facts, who: str) -> bool:
    """Several threads send by one producer in no order of their own."""
    opened = facts.producers.get(who)
    return opened is not None and int(opened.more.get("threads") or 1) > 1


# --- higher first


def _by_priority(
    facts: Facts, judge: Judge, dest: str, stories: list[Story], firsts: list[_First], profile: Profile
) -> None:
    highest = facts.policy(dest).max_priority
    asked = highest is not None and profile.has("PRIORITY")
    legal = "" if asked else "nobody asked for priorities, or the engine claims none"
    waiting = _waiting(stories)
    fetched = _fetched(facts.consumers[dest][0], stories)
    for first in firsts:
        own = _priority(first.send)
        since = fetched.get(first.lease, -1)
        if own is None or (highest is not None and own >= highest):
            continue
        higher = next(_there(waiting, own, first.lease, since), None)
        if higher is None:
            continue
        text = f"{first.story.val!r} of priority {own} came while {higher.val!r} of priority "
        text += f"{_priority(higher.sends[0])} was there"
        came = [lease.event for lease in higher.leases[:1]]
        ends = [send.end for send in higher.sends if send.end is not None]
        witness = [first.send.invoke, higher.sends[0].invoke, *ends, first.lease.event, *came]
        judge.find("priority-inversion", dest, text, witness, legal)


def _priority(send: Send) -> int | None:
    found = send.invoke.more.get("priority")
    return None if found is None else int(found)


def _waiting(stories: list[Story]) -> Mapping[int, list[Story]]:
    """Those that were delivered, by priority, in the order in which they were confirmed."""
    waiting: dict[int, list[Story]] = {}
    for story in stories:
        if len(story.sends) != 1 or story.sends[0].ok_t == NEVER or story.sends[0].invoke.more.get("delay_s"):
            continue
        priority = _priority(story.sends[0])
        if priority is not None and story.leases:
            waiting.setdefault(priority, []).append(story)
    for line in waiting.values():
        line.sort(key=lambda story: story.sends[0].ok_t, reverse=True)
    return waiting


def _there(waiting: Mapping[int, list[Story]], own: int, lease: Lease, since: int) -> Iterator[Story]:
    """Messages of higher priority that were confirmed before `since` and came after that delivery. Those that have
    come are forgotten, for later deliveries have no use for them either."""
    for priority, line in waiting.items():
        if priority > own:
            while line and line[-1].leases[0].t <= lease.t:
                line.pop()
            if line and line[-1].sends[0].ok_t < since:
                yield line[-1]


def _fetched(client: Client, stories: list[Story]) -> Mapping[Lease, int]:
    """Delivery -> since when, at the earliest, the consumer can have had it: since it was asked for, or, with a window
    of one, since it began to settle the one before."""
    leases = [lease for story in stories for lease in story.leases]
    leases.sort(key=lambda lease: (lease.t, lease.event.seq))
    fetched = dict.fromkeys(leases, client.asked)
    if client.prefetch == 1:
        for before, after in zip(leases, leases[1:], strict=False):
            fetched[after] = max(client.asked, -1 if before.left_hand == NEVER else before.left_hand)
    return fetched
