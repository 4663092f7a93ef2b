"""Changes to a right history of a queue, each of which makes one anomaly, and some that make none.

The rule: a change is made where it certainly is that anomaly, and nowhere else; where a history has no such place it is
None. What a change breaks besides does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from mqbridge_conformance.checkers.queue_clients import SECOND
from mqbridge_conformance.history import Event
from tests.conformance.checkers.queue_model import Dice, Spec
from tests.conformance.checkers.queue_tale import QUEUE

__all__ = ["BREAKING", "HARMLESS", "Change", "Events"]

Events: TypeAlias = list[Event]
Change: TypeAlias = Callable[[Events, Dice], Events | None]
VERBS: Final = ("ack", "release", "retry", "reject")
OTHER: Final = "queue:other"
LATER: Final = 1_000_000
"""Numbers of events that are put in."""


def _pick(events: Iterable[Any], dice: Dice) -> Any:
    found = list(events)
    return dice.of(found) if found else None


def _change(events: Events, change: Callable[[Event], Event | None]) -> Events:
    changed = (change(event) for event in events)
    return [event for event in changed if event is not None]


def _deliveries(events: Events, val: str | None = None, dest: str = QUEUE) -> Events:
    of = [event for event in events if event.f == "deliver" and event.dest == dest]
    return of if val is None else [event for event in of if event.val == val]


def _verbs(events: Events, delivery: Event, kind: str = "ok") -> Events:
    """What was done with a delivery."""
    place = (delivery.who, delivery.tag)
    return [event for event in events if event.f in VERBS and event.kind == kind and (event.who, event.tag) == place]


def _verb(events: Events, delivery: Event) -> str:
    return next((event.f for event in _verbs(events, delivery)), "")


def _known(events: Events, verb: Event) -> Event | None:
    """The commit that says that the broker has it."""
    begun = (event for event in events if event.f == "commit" and event.kind == "invoke" and event.who == verb.who)
    commit = next((event for event in begun if event.t > verb.t), None)
    return commit and next(event for event in events if (event.proc, event.op) == (commit.proc, commit.seq))


def _pairs(events: Events) -> list[tuple[Event, Event]]:
    """Deliveries of one message that follow each other."""
    by_val: dict[str | None, Events] = {}
    for event in _deliveries(events):
        by_val.setdefault(event.val, []).append(event)
    return [pair for line in by_val.values() for pair in zip(line, line[1:], strict=False)]


def _without(events: Events, val: str | None) -> Events:
    """Nobody ever saw it."""
    seen = ("deliver", "letter", "stored", *VERBS)
    return [event for event in events if not (event.f in seen and event.val == val)]


def _swapped(events: Events, one: str | None, two: str | None) -> Events:
    """One is delivered where the other was, and the other way round."""
    other = {one: two, two: one}

    def swap(event: Event) -> Event:
        shown = event.f in ("deliver", "letter", *VERBS) and event.val in other
        return event._replace(val=other[event.val]) if shown else event

    return _change(events, swap)


def _sends(events: Events) -> Events:
    return [event for event in events if event.f == "send" and event.kind == "invoke"]


def _end(events: Events, invoke: Event) -> Event:
    return next(
        e for e in events if e.f == invoke.f and e.kind != "invoke" and (e.proc, e.op) == (invoke.proc, invoke.seq)
    )


def _delivered(events: Events, dice: Dice) -> Event | None:
    """The send, with an end, of something that was delivered."""
    vals = {event.val for event in _deliveries(events)}
    answered = {(event.proc, event.op) for event in events if event.f == "send" and event.kind != "invoke"}
    sends = (send for send in _sends(events) if send.val in vals and (send.proc, send.seq) in answered)
    found: Event | None = _pick(sends, dice)
    return found


# --- what breaks


def lose(events: Events, dice: Dice) -> Events | None:
    send = _delivered(events, dice)
    return None if send is None else _without(events, send.val)


def deny(events: Events, dice: Dice) -> Events | None:
    """A send that was applied is said to have failed."""
    send = _delivered(events, dice)
    if send is None:
        return None
    end = _end(events, send)
    return _change(events, lambda event: event._replace(kind="fail") if event is end else event)


def damage(events: Events, dice: Dice) -> Events | None:
    """One digit of a payload, wherever it is shown."""
    send = _delivered(events, dice)
    if send is None or send.val is None:
        return None
    val, damaged = send.val, send.val.replace(" p ", " q ")
    return _change(
        events, lambda event: event._replace(val=damaged) if event.f != "send" and event.val == val else event
    )


def misplace(events: Events, dice: Dice) -> Events | None:
    """It is delivered from another queue."""
    found = _pick(_deliveries(events), dice)
    if found is None:
        return None
    return _change(events, lambda event: event._replace(dest=OTHER) if event is found else event)


def appear(events: Events, dice: Dice) -> Events | None:
    """An observer sees something in the queue that nobody sent."""
    looks = (event for event in events if event.f == "looked" and event.kind == "ok" and event.dest == QUEUE)
    look = _pick(looks, dice)
    if look is None:
        return None
    return [*events, look._replace(seq=LATER, t=look.t - 1, f="stored", val="what nobody sent")]


def rekey(events: Events, dice: Dice) -> Events | None:
    """A message comes under a key that it was not sent with."""
    found = _pick(_deliveries(events), dice)
    return None if found is None else _change(events, lambda e: e._replace(key="k") if e is found else e)


def redeliver(events: Events, dice: Dice) -> Events | None:
    """After its ack was committed."""
    acked = [(e, _known(events, v)) for e in _deliveries(events) for v in _verbs(events, e) if v.f == "ack"]
    found = _pick(((event, commit) for event, commit in acked if commit is not None), dice)
    if found is None:
        return None
    event, commit = found
    again = event._replace(seq=LATER, t=commit.t + 1, tag=LATER, op=None, redelivered=True, attempt=event.attempt + 1)
    return [*events, again]


def do_twice(events: Events, dice: Dice) -> Events | None:
    """The same, and it is acked again."""
    again = redeliver(events, dice)
    if again is None:
        return None
    last = again[-1]
    verb = last._replace(kind="invoke", f="ack", seq=LATER + 1, t=last.t + 1, attempt=None, redelivered=None)
    return [*again, verb, verb._replace(kind="ok", seq=LATER + 2, t=last.t + 2, op=LATER + 1)]


def share(events: Events, dice: Dice) -> Events | None:
    """Another consumer is given what one still holds."""
    held = [event for event in _deliveries(events) if any(v.t > event.t + 2 for v in _verbs(events, event, "invoke"))]
    found = _pick(held, dice)
    if found is None:
        return None
    opened = Event(LATER, found.t, "z", "ok", "open", dest=QUEUE, client="c", more={"role": "queue-consumer"})
    return [*events, opened, found._replace(proc="z", seq=LATER + 1, t=found.t + 1, op=None, redelivered=True)]


def narrow(events: Events, dice: Dice) -> Events | None:
    """A consumer asked for less than it had."""
    most: dict[str, int] = {}
    out: dict[str, int] = {}
    for event in events:
        if event.f == "deliver" and event.dest == QUEUE:
            out[event.who] = out.get(event.who, 0) + 1
            most[event.who] = max(most.get(event.who, 0), out[event.who])
        elif event.f in VERBS and event.kind == "invoke":
            out[event.who] -= 1
    who = _pick((who for who, number in most.items() if number > 1), dice)
    if who is None:
        return None

    def less(event: Event) -> Event:
        opened = event.f == "open" and event.who == who
        return event._replace(more={**event.more, "prefetch": most[who] - 1}) if opened else event

    return _change(events, less)


def _after(verb: str, change: Callable[[Event], Event]) -> Change:
    """Something of the delivery that follows a verb; an empty one is the end of a consumer."""

    def made(events: Events, dice: Dice) -> Events | None:
        found = _pick((after for before, after in _pairs(events) if _verb(events, before) == verb), dice)
        return None if found is None else _change(events, lambda event: change(event) if event is found else event)

    return made


def _once_more(event: Event) -> Event:
    return event._replace(attempt=(event.attempt or 0) + 1)


def _unflagged(event: Event) -> Event:
    return event._replace(redelivered=False)


def forbid(events: Events, dice: Dice) -> Events | None:
    """The queue allows one attempt less than there were."""
    most = max((event.attempt or 0 for event in _deliveries(events)), default=0)
    return None if most < 2 else _respecified(events, max_attempts=most - 1)


def _respecified(events: Events, **spec: Any) -> Events:
    def change(event: Event) -> Event:
        declared = event.f == "declare" and event.dest == QUEUE
        return event._replace(more={**event.more, **spec}) if declared else event

    return _change(events, change)


def forget(events: Events, dice: Dice) -> Events | None:
    """What was given back never comes again, and does not die."""
    dead = {event.val for event in events if event.f == "letter"}
    last = {event.val: event for event in _deliveries(events)}
    given_back = [after for _, after in _pairs(events) if last[after.val] is after and after.val not in dead]
    found = _pick(given_back, dice)
    if found is None:
        return None
    place = (found.who, found.tag)
    return [
        event for event in events if event is not found and not (event.f in VERBS and (event.who, event.tag) == place)
    ]


def _letters(events: Events, reason: str) -> Events:
    return [event for event in events if event.f == "letter" and event.more.get("reason") == reason]


def lose_letter(events: Events, dice: Dice) -> Events | None:
    found = _pick(_letters(events, "rejected"), dice)
    return (
        None if found is None else [event for event in events if not (event.f == "letter" and event.val == found.val)]
    )


def die_unasked(events: Events, dice: Dice) -> Events | None:
    """Nobody rejected it."""
    found = _pick(_letters(events, "rejected"), dice)
    return (
        None if found is None else [event for event in events if not (event.f == "reject" and event.val == found.val)]
    )


def double_letter(events: Events, dice: Dice) -> Events | None:
    found = _pick(_letters(events, "rejected"), dice)
    return None if found is None else [*events, found._replace(seq=LATER, t=found.t + 1)]


def live_longer(events: Events, dice: Dice) -> Events | None:
    """It expired, and had hours to live."""
    found = _pick(_letters(events, "expired"), dice)
    if found is None:
        return None

    def longer(event: Event) -> Event:
        sent = event.f == "send" and event.val == found.val
        return event._replace(more={**event.more, "expires_in_s": 9999}) if sent else event

    return _respecified(_change(events, longer), message_ttl_s=9999)


def _first_return(events: Events) -> int:
    return min((event.t for event in events if event.f in VERBS and event.f != "ack"), default=1 << 62)


def overtake(events: Events, dice: Dice) -> Events | None:
    """Two that one producer sent change places."""
    until = _first_return(events)
    sent = {send.val: send for send in _sends(events)}
    first = [event for event in _deliveries(events) if event.t < until and event.redelivered is False]
    pairs = [(a, b) for a, b in zip(first, first[1:], strict=False) if sent[a.val].dest == sent[b.val].dest]
    found = _pick(pairs, dice)
    return None if found is None else _swapped(events, found[0].val, found[1].val)


def prefer_the_lower(events: Events, dice: Dice) -> Events | None:
    """One of a lower priority comes where one of a higher priority came."""
    until = _first_return(events)
    rank = {send.val: send.more.get("priority", 0) for send in _sends(events)}
    first = [event for event in _deliveries(events) if event.t < until]
    pairs = [(a, b) for a, b in zip(first, first[1:], strict=False) if rank[a.val] > rank[b.val]]
    found = _pick(pairs, dice)
    return None if found is None else _swapped(events, found[0].val, found[1].val)


def answer_nothing(events: Events, dice: Dice) -> Events | None:
    """A send never ends, and its process lives on for long."""
    send = _pick(_sends(events), dice)
    if send is None:
        return None
    end = _end(events, send)
    late = Event(LATER, events[-1].t + 300 * SECOND, send.proc, "ok", "declare", dest=OTHER)
    return [*(event for event in events if event is not end), late]


def unbind(events: Events, dice: Dice) -> Events | None:
    """There never was a binding."""
    routed = any(send.dest == "exchange:e" for send in _sends(events))
    return [event for event in events if "binding" not in event.more] if routed else None


def shorten(events: Events, dice: Dice) -> Events | None:
    """The queue may hold one message, and was sent many."""
    makers = {send.who for send in _sends(events)}
    return _respecified(events, max_length=1) if len(_sends(events)) > 2 + len(makers) else None


def hurry(events: Events, dice: Dice) -> Events | None:
    """It was to be held back for an hour."""
    send = _delivered(events, dice)
    if send is None:
        return None
    return _change(events, lambda e: e._replace(more={**e.more, "delay_s": 3600}) if e is send else e)


def outlive(events: Events, dice: Dice) -> Events | None:
    """It was to live for a moment, and is given to one who came much later."""
    asked = {event.who: event.more.get("asked_t", 0) for event in events if event.f == "open"}
    ends = {send.val: (send, _end(events, send)) for send in _sends(events)}
    late = [ends[e.val][0] for e in _deliveries(events) if asked[e.who] > ends[e.val][1].t + 2 * SECOND]
    send = _pick(late, dice)
    if send is None:
        return None
    return _change(events, lambda e: e._replace(more={**e.more, "expires_in_s": 0.001}) if e is send else e)


_PLAIN: Final = Spec(calm=True)
_ORDER: Final = Spec(calm=True, alone=True, producers=1)
_RANKS: Final = Spec(calm=True, alone=True, sends_first=True, max_priority=2)
BREAKING: Final[dict[str, tuple[str, Spec, Change]]] = {
    "lose": ("lost", _PLAIN, lose),
    "deny": ("phantom", _PLAIN, deny),
    "damage": ("payload-corruption", _PLAIN, damage),
    "appear": ("phantom", _PLAIN, appear),
    "rekey": ("payload-corruption", _PLAIN, rekey),
    "misplace": ("wrong-destination", _PLAIN, misplace),
    "redeliver": ("redelivery-after-settle", _PLAIN, redeliver),
    "do twice": ("duplicate", _PLAIN, do_twice),
    "share": ("concurrent-lease", _PLAIN, share),
    "narrow": ("prefetch-bound", _PLAIN, narrow),
    "count twice": ("attempt-wrong", _PLAIN, _after("retry", _once_more)),
    "count a close": ("attempt-wrong", _PLAIN, _after("", _once_more)),
    "count a release": ("release-counted", _PLAIN, _after("release", _once_more)),
    "hide a retry": ("unflagged-redelivery", _PLAIN, _after("retry", _unflagged)),
    "hide a close": ("dup-unflagged", _PLAIN, _after("", _unflagged)),
    "forbid": ("delivery-limit", _PLAIN, forbid),
    "forget": ("missing-redelivery", _PLAIN, forget),
    "lose a letter": ("dlq-lost", _PLAIN, lose_letter),
    "die unasked": ("DLQ-premature", _PLAIN, die_unasked),
    "double a letter": ("dlq-dup", _PLAIN, double_letter),
    "live longer": ("ttl-early", Spec(calm=True, ttl=True), live_longer),
    "overtake": ("fifo-inversion", _ORDER, overtake),
    "prefer the lower": ("priority-inversion", _RANKS, prefer_the_lower),
    "answer nothing": ("confirm-never", _PLAIN, answer_nothing),
    "unbind": ("unroutable-confirmed", _PLAIN, unbind),
    "shorten": ("limit-exceeded", Spec(calm=True, sends_first=True), shorten),
    "hurry": ("delay-early", _PLAIN, hurry),
    "outlive": ("ttl-late", _PLAIN, outlive),
}
"""What is done -> the anomaly that it is, and the run in which it is done."""


# --- what changes nothing


def wonder(events: Events, dice: Dice) -> Events | None:
    """Nobody knows of a send that was applied."""
    send = _delivered(events, dice)
    if send is None:
        return None
    end = _end(events, send)
    return _change(events, lambda event: event._replace(kind="info") if event is end else event)


def rename(events: Events, dice: Dice) -> Events | None:
    """Every process has another name."""

    def renamed(event: Event) -> Event:
        more = event.more
        if str(more.get("at", "")).startswith("w"):
            more = {**more, "at": f"x-{more['at']}"}
        return event._replace(proc=f"x-{event.proc}" if event.proc != "main" else "main", more=more)

    return _change(events, renamed)


def shift(events: Events, dice: Dice) -> Events | None:
    """All of it happens an hour later."""

    def later(event: Event) -> Event:
        by = 3600 * SECOND
        asked = {"asked_t": event.more["asked_t"] + by} if "asked_t" in event.more else {}
        return event._replace(t=event.t + by, more={**event.more, **asked})

    return _change(events, later)


def look_away(events: Events, dice: Dice) -> Events | None:
    """Nobody looked, of one kind of looks."""
    away = dice.of((("looked", "stored"), ("letters", "letter"), ("left",), ("drained",)))
    return [event for event in events if event.f not in away]


def ask_less(events: Events, dice: Dice) -> Events | None:
    """Polls that gave nothing were not made."""
    empty = {(e.proc, e.op) for e in events if e.f == "poll" and e.kind == "ok" and e.more.get("count") == 0}
    return [
        event for event in events if event.f != "poll" or not {(event.proc, event.op), (event.proc, event.seq)} & empty
    ]


def say_less(events: Events, dice: Dice) -> Events | None:
    """Commits were not made: what is known less is held against nobody."""
    return [event for event in events if event.f != "commit"]


HARMLESS: Final[dict[str, Change]] = {
    "wonder": wonder,
    "rename": rename,
    "shift": shift,
    "look away": look_away,
    "ask less": ask_less,
    "say less": say_less,
}
