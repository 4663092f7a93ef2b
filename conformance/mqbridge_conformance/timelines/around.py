"""What lies around a finding in its history: what a person wants to see beside the events that prove it.

The rule: the whole story of the same messages comes first, then faults and who owned the place, then the records next
to those of the witness in their log, then what was done in the same place, nearest in time; never more than can be
looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from mqbridge_conformance.checkers import Finding
from mqbridge_conformance.history import Event, History
from mqbridge_conformance.timelines.acts import Act, acts_of, lane_of

__all__ = ["AT_MOST", "Shown", "around", "before_the_end", "what_to_show"]

AT_MOST: Final = 30
"""Acts of one finding, those of the witness among them."""
NEXT_TO: Final = 3
"""So many offsets away, on either side."""
_FURNITURE: Final = frozenset("run declare delete open close poll looked left letters flush drained".split())
"""Says nothing about one message, and there is a lot of it."""
_SEEN: Final = frozenset(("stored", "letter", "committed"))
_LOOKS: Final = ("left", "committed")
"""What an observer was told by them is in their end."""


class Shown(NamedTuple):
    """A finding, and what lies around its witness."""

    finding: Finding
    around: tuple[Event, ...]


def what_to_show(history: History, errors: Sequence[Finding], at_most: int = 3) -> tuple[Shown, ...]:
    """The first of each anomaly, and then of the rest, if there is room."""
    firsts = {finding.anomaly: finding for finding in reversed(errors)}
    ordered = sorted(errors, key=lambda finding: firsts[finding.anomaly] is not finding)
    return tuple(Shown(finding, around(history, finding)) for finding in ordered[:at_most])


class _Scene(NamedTuple):
    """What the witness is about."""

    values: set[str | None]
    places: set[tuple[str | None, int | None]]
    offsets: set[tuple[str | None, int | None, int]]
    groups: set[str | None]
    lanes: set[str]
    times: list[int]

    @classmethod
    def of(cls, acts: list[Act]) -> _Scene:
        facts = [act.fact for act in acts]
        return cls(
            {fact.val for fact in facts} - {None},
            {(fact.dest, fact.part) for fact in facts if fact.dest is not None},
            {
                (fact.dest, fact.part, fact.off + away)
                for fact in facts
                if fact.part is not None and fact.off is not None
                for away in range(-NEXT_TO, NEXT_TO + 1)
            },
            {fact.group for fact in facts} - {None},
            {lane_of(act) for act in acts},
            sorted({t for act in acts for t in (act.began_t, act.fact.t)}),
        )

    def distance(self, act: Act) -> int:
        """How far in time from what is nearest to it in the witness."""
        return min(max(act.began_t - t, t - act.fact.t, 0) for t in self.times)


def around(history: History, finding: Finding, at_most: int = AT_MOST) -> tuple[Event, ...]:
    """The neighbours of the witness in order, without the witness; with it no more than `at_most` acts, for it alone
    if it is so long."""
    acts, witness = acts_of(history), set(map(_key, finding.witness))
    proof = [act for act in acts if witness & set(map(_key, act.events))]
    if not proof:
        return ()
    scene = _Scene.of(proof)
    chosen = {_key(act.fact): act for act in proof}
    rest = sorted((act for act in acts if act.fact.f not in _FURNITURE), key=scene.distance)
    for wanted in _in_turn(scene):
        for act in filter(wanted, rest):
            if len(chosen) >= at_most:
                break
            chosen.setdefault(_key(act.fact), act)
    return _events(chosen.values(), witness)


def _in_turn(scene: _Scene) -> Iterable[Callable[[Act], bool]]:
    """Which acts are wanted, the most wanted first."""

    def in_place(act: Act) -> bool:
        return (act.fact.dest, act.fact.part) in scene.places

    yield lambda act: act.fact.val in scene.values
    yield lambda act: act.fact.f in ("fault", "heal", "sabotage")
    yield lambda act: act.fact.f in ("assigned", "revoked", "lost") and in_place(act)
    yield lambda act: act.fact.f in ("commit", "seek") and lane_of(act) in scene.lanes
    yield lambda act: act.fact.off is not None and (act.fact.dest, act.fact.part, act.fact.off) in scene.offsets
    yield in_place


def before_the_end(history: History, failure: Finding, at_most: int = AT_MOST // 2) -> tuple[Shown, ...]:
    """What was done last, and the last look at each thing, beside a failure that no checker found and that has no
    witness."""
    acts = acts_of(history)
    looks = {(act.fact.f, act.fact.dest, act.fact.group): act for act in acts if act.fact.f in _LOOKS}
    done = [act for act in acts if act.fact.f not in _FURNITURE | _SEEN][-at_most:]
    shown = [*done, *looks.values()]
    return (Shown(failure, _events(shown, set())),) if shown else ()


def _events(acts: Iterable[Act], without: set[tuple[str, int]]) -> tuple[Event, ...]:
    events = [event for act in acts for event in act.events if _key(event) not in without]
    return tuple(sorted(events, key=lambda event: (event.t, event.proc, event.seq)))


def _key(event: Event) -> tuple[str, int]:
    return event.proc, event.seq
