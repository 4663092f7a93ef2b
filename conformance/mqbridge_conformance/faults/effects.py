"""What happened while a fault was in force, and whether it did anything at all.

The rule: a pure function of the history. A fault that nobody noticed proves nothing, so a scenario under it is no pass;
and what the application asked for (a retry, a wrong name) is not an effect of a fault. The window of a fault begins
when it is tried and ends when those who had work before it have work again after it was healed, for what was in
flight comes back only then; a fault that is never healed lasts to the end.

What counts as an effect: operations that failed or have no known outcome; those held up until it was over, for longer
than such operations usually take, where nothing of their kind got through meanwhile; those of a dead process that never
ended, and what it, or one that stood still, had in its hands; those that took longer than a delay that was added;
messages that came again; assignments that moved; sends to a disk that was full; and what the injector itself saw (at
the link connections cut, frames dropped, bytes late or held; at nodes that another one leads; of a handler the
deliveries that it hung over). So an engine that takes no note of a fault, as it ought to, does not hide it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mqbridge_conformance.history import Event, History, Operation

__all__ = ["FaultEffect", "effects"]

ASKED_FOR: Final = frozenset(
    {
        "already_settled",
        "closed",
        "codec",
        "concurrent_use",
        "configuration",
        "invalid_spec",
        "mismatch",
        "not_found",
        "unroutable",
        "unsupported",
        "unsupported_option",
    }
)
"""Codes of errors that are about what was asked for, not about what was in the way."""

_OWN: Final = ("fault", "heal", "run")
_WORK: Final = ("send", "deliver")
_VERBS: Final = ("ack", "release", "retry", "reject")
_MOVES: Final = ("assigned", "revoked", "lost")
_BY_THE_INJECTOR: Final = {
    "moved": "leaders moved",
    "cut": "connections cut",
    "dropped": "frames dropped",
    "late": "bytes late",
    "held": "bytes held",
    "hung": "deliveries that it hung over",
}
"""What is said in `more` when a fault is healed, and how it is called here."""
_BURST_NS: Final = 250_000_000
"""Those that are under way together wait for each other, but for no longer than this: they are answered in batches."""


@dataclass(frozen=True, slots=True)
class FaultEffect:
    """One fault. `counts` has what happened in its window; `had_effect` says whether any of it was due to the fault;
    `text` says all that in words."""

    what: str
    at: str
    counts: Mapping[str, int]
    had_effect: bool
    text: str


class _Window(NamedTuple):
    """Times of one fault: tried, in force, about to be healed, healed, and work again."""

    fault: Event
    tried: int
    in_force: int
    healing: int
    healed: int
    resumed: int


def effects(history: History) -> list[FaultEffect]:
    """All faults of a history, in order."""
    return [_effect(history, operation) for operation in history.operations("fault")]


def _effect(history: History, operation: Operation) -> FaultEffect:
    what, at = operation.invoke.more["what"], operation.invoke.more["at"]
    if operation.outcome != "ok":
        return FaultEffect(what, at, {}, False, f"{what} at {at}: it never came to be in force")
    assert operation.end is not None
    heal = _heal_of(history, operation.invoke)
    window = _window(history, operation, heal)
    marks = {
        **_operations(history, window),
        "in its hands": _in_its_hands(history, window),
        "came again": _again(history, window),
        "assignments moved": _moved(history, window),
        "sent without room": _sent_without_room(history, window, heal),
        **_by_the_injector(heal),
    }
    counts = {"invoked": _invoked(history, window), **{name: number for name, number in marks.items() if number}}
    had_effect = any(marks.values())
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    seconds = f"{(window.healed - window.tried) / 1e9:.1f} s" if heal is not None else "to the end"
    verdict = "" if had_effect else "; nothing came of it"
    return FaultEffect(what, at, counts, had_effect, f"{what} at {at} ({seconds}): {told}{verdict}")


def _heal_of(history: History, fault: Event) -> Operation | None:
    """The first healing of such a fault at that place after it; None if it was never over."""
    for heal in history.operations("heal"):
        same = (heal.invoke.more.get("what"), heal.invoke.more.get("at")) == (fault.more["what"], fault.more["at"])
        if same and heal.invoke.t > fault.t and heal.outcome == "ok":
            return heal
    return None


def _window(history: History, fault: Operation, heal: Operation | None) -> _Window:
    assert fault.end is not None
    tried, in_force = fault.invoke.t, fault.end.t
    last = history.events[-1].t + 1
    if heal is None or heal.end is None:
        return _Window(fault.invoke, tried, in_force, last, last, last)
    resumed = _resumed(history, tried, heal.end.t)
    return _Window(fault.invoke, tried, in_force, heal.invoke.t, heal.end.t, last if resumed is None else resumed)


def _resumed(history: History, tried: int, healed: int) -> int | None:
    """When the last of those who worked before the fault, and work after it, had work again; None if nobody had."""
    before = {event.who for event in history.of(*_WORK) if event.kind == "ok" and event.t < tried}
    first: dict[tuple[str, str], int] = {}
    for event in history.of(*_WORK):
        begun = history.invoke_of(event)
        if event.kind == "ok" and event.who in before and begun is not None and begun.t > healed:
            whole = history.end_of(begun)
            first.setdefault((event.who, event.f), event.t if whole is None else max(event.t, whole.t))
    return max(first.values(), default=None)


def _invoked(history: History, window: _Window) -> int:
    return sum(
        event.kind == "invoke" and event.f not in _OWN and window.tried <= event.t <= window.healed
        for event in history
    )  # fmt: skip


def _operations(history: History, window: _Window) -> dict[str, int]:
    """What became of the operations that met the fault."""
    found = {"failed": 0, "of unknown outcome": 0, "held until it was over": 0, "cut short": 0, "slower": 0}
    met = [operation for operation in _all_operations(history) if _met(operation, window)]
    through = {
        (operation.invoke.who, operation.invoke.f)
        for operation in met
        if operation.outcome == "ok" and operation.invoke.t > window.in_force and operation.ended_t is not None
        and operation.ended_t < window.healing
    }  # fmt: skip
    delay_ns = 1e9 * float(window.fault.more.get("delay_s", 0))
    usual = _usual(history, window)
    together = Counter(op.invoke.f for op in met if op.ended_t is None or op.invoke.t < window.healing < op.ended_t)
    for operation in met:
        invoke, end = operation
        if end is None or end.kind == "invoke":
            found["cut short"] += invoke.proc == window.fault.more["at"]
            continue
        if end.err is not None and end.err.code in ASKED_FOR:
            continue
        if end.kind == "fail":
            found["failed"] += 1
        elif end.kind == "info":
            found["of unknown outcome"] += 1
        elif invoke.t < window.healing < end.t and (invoke.who, invoke.f) not in through and not _idle(end):
            waited_ns = window.healing - max(invoke.t, window.in_force)
            found["held until it was over"] += waited_ns > _at_most(usual.get(invoke.f, ()), together[invoke.f])
        elif delay_ns and end.t - invoke.t >= delay_ns and not _idle(end):
            found["slower"] += 1
    return found


def _usual(history: History, window: _Window) -> dict[str, list[int]]:
    """How long each operation took before the fault, the shortest first."""
    before: dict[str, list[int]] = {}
    for invoke, end in _all_operations(history):
        if end is not None and end.kind == "ok" and end.t < window.tried and not _idle(end):
            before.setdefault(invoke.f, []).append(end.t - invoke.t)
    return {f: sorted(durations) for f, durations in before.items()}


def _at_most(usual: Sequence[int], together: int) -> int:
    """What so many that are under way together take without any fault: a short one that is over by then held nobody.
    Nineteen of twenty took no longer alone; together they take as many times the middle one, or one burst."""
    if not usual:
        return -1
    return max(usual[(len(usual) * 19 - 1) // 20], min(together * usual[len(usual) // 2], _BURST_NS))


def _met(operation: Operation, window: _Window) -> bool:
    """It was under way at some time between the trying and the resuming."""
    ended = operation.ended_t
    return operation.invoke.t < window.resumed and (ended is None or ended > window.tried)


def _idle(end: Event) -> bool:
    """A poll that brought nothing is slow because nothing came."""
    return end.f == "poll" and not end.more.get("count")


def _all_operations(history: History) -> Iterable[Operation]:
    for event in history:
        if event.kind == "invoke" and event.f not in _OWN:
            yield Operation(event, history.end_of(event))


def _again(history: History, window: _Window) -> int:
    """Deliveries in the window of what was delivered before, or says so; not those that the application gave back."""
    seen: set[tuple[object, ...]] = set()
    given_back: set[tuple[object, ...]] = set()
    again = 0
    for event in history.of("deliver", "release", "retry"):
        what = (event.dest, event.part, event.off, event.group) if event.part is not None else (event.dest, event.val)
        if event.f != "deliver":
            given_back.add(what)
            continue
        before = what in seen or event.redelivered or (event.attempt or 1) > 1
        again += bool(before) and what not in given_back and window.tried <= event.t <= window.resumed
        seen.add(what)
        given_back.discard(what)
    return again


def _in_its_hands(history: History, window: _Window) -> int:
    """What was delivered to a process that is dead, or stands still, and of which it had said nothing more, no verb and
    no effect, and the partitions that it had. One that said anything at all while it was to be so is alive."""
    silent_until = window.healing if window.fault.more["what"] == "stop" else float("inf")
    own = [event for event in history if event.proc == window.fault.more["at"] and event.t < silent_until]
    if not own or own[-1].t > window.in_force:
        return 0
    held: set[tuple[object, ...]] = set()
    for event in own:
        message = (event.client, event.dest, event.part, event.off, event.tag, event.val)
        place = (event.client, event.dest, event.part)
        if event.f == "deliver":
            held.add(message)
        elif event.f == "assigned":
            held.add(place)
        elif event.f in _VERBS:
            held.discard(message)
        elif event.f == "effect":  # known by its value alone
            held = {one for one in held if len(one) == len(place) or one[-1] != event.val}
        elif event.f in _MOVES:
            held.discard(place)
    return len(held)


def _moved(history: History, window: _Window) -> int:
    """Partitions that changed hands, of members that were there before; a member that joins meanwhile moves them by
    joining, and one that leaves by leaving."""
    members = {event.who for event in history.of("open", "assigned") if event.t < window.tried}
    leaving: dict[str, int] = {}
    for event in history.of("close"):
        leaving.setdefault(event.who, event.t)
    return sum(
        event.who in members
        and window.tried <= event.t <= window.resumed
        and event.t < leaving.get(event.who, event.t + 1)
        for event in history.of(*_MOVES)
    )


def _sent_without_room(history: History, window: _Window, heal: Operation | None) -> int:
    """Sends that were begun while no file could grow, which the injector saw to the end; however they ended."""
    if heal is None or heal.end is None or not heal.end.more.get("full"):
        return 0
    return sum(event.kind == "invoke" and window.in_force < event.t < window.healing for event in history.of("send"))


def _by_the_injector(heal: Operation | None) -> dict[str, int]:
    more = {} if heal is None or heal.end is None else heal.end.more
    return {called: int(more.get(name, 0)) for name, called in _BY_THE_INJECTOR.items()}
