"""What is shown of a history: one act an operation, with its end, or a bare observation; and its words.

The rule: an act says only what its events say, in a few words; an operation without an end says that it has none.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias

from mqbridge_conformance.history import Damaged, Event, History, Payload

__all__ = ["Act", "Kind", "acts_of", "kind_of", "lane_of", "outcome_words", "short", "words"]

Kind: TypeAlias = Literal["send", "deliver", "settle", "commit", "lease", "fault", "seen", "other"]
"""What an act looks like in a picture."""

_KINDS: Final[dict[str, Kind]] = {
    "send": "send",
    "row": "send",
    "deliver": "deliver",
    "effect": "deliver",
    "ack": "settle",
    "release": "settle",
    "retry": "settle",
    "reject": "settle",
    "commit": "commit",
    "end": "commit",
    "begin": "commit",
    "reset": "commit",
    "seek": "commit",
    "assigned": "lease",
    "revoked": "lease",
    "lost": "lease",
    "fault": "fault",
    "heal": "fault",
    "sabotage": "fault",
    "stored": "seen",
    "committed": "seen",
    "letter": "seen",
    "left": "seen",
    "looked": "seen",
    "letters": "seen",
}
_RUN: Final = re.compile(r"\bmqc-[0-9a-f]{8}-")
"""What makes a name of the suite's its own; every name of a run begins so."""
_LONGEST: Final = 24


class Act(NamedTuple):
    """`fact` is the end, with what only the invoke said; the invoke itself where there is no end."""

    fact: Event
    invoke: Event | None
    end: Event | None

    @property
    def began_t(self) -> int:
        return self.fact.t if self.invoke is None else self.invoke.t

    @property
    def open(self) -> bool:
        """Did it begin and never end?"""
        return self.end is None

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(event for event in (self.invoke, self.end) if event is not None)


def acts_of(history: History) -> list[Act]:
    """All of them, in the order in which they began."""
    acts: list[Act] = []
    for event in history:
        if event.kind == "invoke":
            end = history.end_of(event)
            acts.append(Act(event if end is None else _joined(event, end), event, end))
            continue
        invoke = history.invoke_of(event)
        if invoke is None or history.end_of(invoke) != event:
            acts.append(Act(event if invoke is None else _joined(invoke, event), None, event))
    return acts


def _joined(invoke: Event, end: Event) -> Event:
    """The end; what it leaves out is as the invoke said it."""
    known = {name: value for name, value in invoke._asdict().items() if getattr(end, name) is None}
    return end._replace(**known, more={**invoke.more, **end.more})


def kind_of(act: Act) -> Kind:
    return _KINDS.get(act.fact.f, "other")


def lane_of(act: Act) -> str:
    """Whose act it is: a client of a process, or the process."""
    return act.fact.proc if act.fact.client is None else act.fact.who


def words(act: Act) -> str:
    """What it is, and about which message in which place."""
    event = act.fact
    said = [event.f, *([short(event.val)] if event.val is not None else [])]
    if event.key not in (None, "-") and _KINDS.get(event.f) == "send":
        said.append(f"key {short(event.key)}")
    said += [_place(event)] if event.dest is not None and event.f != "sabotage" else []
    if event.lease is not None and kind_of(act) == "lease":
        said.append(f"lease {event.lease}")
    if event.f == "assigned" and event.off is not None:
        said.append(f"from {event.off}")
    said += [f"attempt {event.attempt}"] if event.attempt is not None and event.attempt > 1 else []
    said += ["again"] if event.redelivered else []
    said += [f"in {event.txn}"] if event.txn is not None else []
    said += [str(event.more[name]) for name in ("what", "at", "code", "reason") if event.more.get(name)]
    if event.f == "left":
        said += [f"{number} {name}" for name, number in event.more.items()]
    return " ".join(said)


def _place(event: Event) -> str:
    """Where, as short as it can be said: the kind of destination goes without saying once a partition or a tag is
    told."""
    name = _RUN.sub("", event.dest or "")
    if event.part is not None:
        name = name.partition(":")[2] or name
        return f"{name}/{event.part}" + ("" if event.off is None or event.f == "assigned" else f"@{event.off}")
    if event.tag is not None:
        return f"{name.partition(':')[2] or name} tag {event.tag}"
    return name


def outcome_words(act: Act) -> str:
    """How it ended, where that is more than that it happened."""
    if act.open:
        return "no end: nobody knows"
    error = act.fact.err
    told = f" {error.code}: {error.outcome.replace('_', ' ')}" if error is not None else ""
    if act.fact.kind == "fail":
        return f"failed{told}"
    return f"nobody knows{told}" if act.fact.kind == "info" else ""


def short(value: str | None) -> str:
    """A value in a few letters: a payload by its producer and number."""
    try:
        payload = Payload.decode(value)
    except Damaged:
        return "a damaged payload"
    text = _RUN.sub("", value or "null") if payload is None else f"{payload.producer}#{payload.number}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
