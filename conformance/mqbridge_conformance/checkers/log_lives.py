"""Topics that were deleted and made again: each of their lives is judged as a topic of its own.

The rule: an event belongs to the life in which it was told. What may belong to either is told of neither: what was
under way when the topic was deleted, what came meanwhile, and what a consumer was given afterwards that had been opened
before. Of the group of such a consumer the life that follows is not judged, for what it took the others did not get.
Where nobody knows whether a topic was deleted, all that came later is left out. Whatever was left out for one of these
two reasons, no checker can tell of it, and each says so.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mqbridge_conformance.checkers.judging import Checker, Finding, Judgement, Outcome, Profile
from mqbridge_conformance.history import Event, History

__all__ = ["AGAIN", "Lives", "born_as", "each_life"]

AGAIN: Final = ", life "
"""What a later life of a topic is named by, after the name that all of them have."""
_NEVER: Final = 1 << 62


def born_as(dest: str) -> str:
    """The name that a topic has in all its lives."""
    return dest.partition(AGAIN)[0]


def each_life(checker: Checker) -> Checker:
    """The checker, of a history in which each life of a topic is one by itself; its findings are shown as they were
    told."""

    @functools.wraps(checker)
    def judged(history: History, profile: Profile) -> Judgement:
        lives = history.derived(Lives)
        judgement = checker(lives.history, profile)
        if lives.history is history:
            return judgement
        if lives.untold:
            outcome = Outcome.INVALID if judgement.errors else Outcome.UNKNOWN
            reasons = [*([judgement.reason] if judgement.reason else []), *lives.untold]
            judgement = replace(judgement, outcome=outcome, reason="; ".join(reasons))
        told = {(event.proc, event.seq): event for event in history}

        def as_told(finding: Finding) -> Finding:
            return replace(finding, witness=tuple(told[event.proc, event.seq] for event in finding.witness))

        return replace(judgement, findings=tuple(map(as_told, judgement.findings)))

    return judged


class Lives:
    """See the module. `history` is the one that it was made of, where no topic has a second life; `untold` says why
    something was left out that should have been judged."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._ends = _deletions(history)
        self._opened = {event.who: event.t for event in history.said("open")}
        self._outlived = self._groups_that_stayed()
        self._untold: dict[str, None] = {}
        self.made_again = len(self._ends)
        self.history = history if not self._ends else History(self._told())
        self.untold = tuple(self._untold)

    def _groups_that_stayed(self) -> set[tuple[str, str]]:
        """(life, group): the lives before which a topic was deleted under a member of that group."""
        closed = {event.who: event.t for event in self._history.said("close")}
        last = {event.proc: event.t for event in self._history}
        found = set()
        for event in self._history.said("open"):
            for dest in self._sources(event):
                for begun, _ in self._ends.get(dest, ()):
                    stays = event.t < begun < min(closed.get(event.who, begun + 1), last[event.proc])
                    if stays and (group := _group(event)) is not None:
                        found.add((self._name(dest, begun + 1), group))
        return found

    @staticmethod
    def _sources(event: Event) -> list[str]:
        sources = event.more.get("sources")
        return list(map(str, sources)) if isinstance(sources, list) else [event.dest or ""]

    def _told(self) -> Iterator[Event]:
        dubious = {event.val for event in self._history.of("send") if self._is_dubious(event)}
        for event in self._history:
            if event.f == "open":
                if (opened := self._as_opened(event)) is not None:
                    yield opened
                continue
            dest = event.dest
            if dest is None or dest not in self._ends:
                yield event
            elif self._is_dubious(event) or (event.f in ("deliver", "stored") and event.val in dubious):
                never_over = any(over == _NEVER and begun < event.t for begun, over in self._ends[dest])
                if never_over and event.f != "declare":
                    self._untold[f"nobody knows whether {dest} was deleted"] = None
            else:
                invoke = self._history.invoke_of(event)
                life = self._name(dest, event.t if invoke is None else invoke.t)
                if self._is_judged(life, event.group):
                    yield event._replace(dest=life)

    def _as_opened(self, event: Event) -> Event | None:
        """What a client was opened for, by the names of the lives that are judged; None if nothing is left of it."""
        if event.dest in self._ends and self._is_dubious(event):
            return None
        group, sources = _group(event), self._sources(event)
        lives = [self._name(source, event.t) if source in self._ends else source for source in sources]
        judged = [life for life in lives if self._is_judged(life, group)]
        if judged == sources:
            return event
        if not judged:
            return None
        dest = None if event.dest is None else judged[0]
        return event._replace(dest=dest, more={**event.more, "sources": judged})

    def _is_judged(self, life: str, group: str | None) -> bool:
        if group is None or (life, group) not in self._outlived:
            return True
        self._untold[f"{born_as(life)} was deleted under a member of {group}, and nobody knows what it took"] = None
        return False

    def _name(self, dest: str, t: int) -> str:
        number = bisect_left(self._ends[dest], (t, -1))  # how many deletions had begun before
        return dest if not number else f"{dest}{AGAIN}{number + 1}"

    def _is_dubious(self, event: Event) -> bool:
        """May it belong to another life than the one in which it was told?"""
        ends = self._ends.get(event.dest or "")
        if not ends or event.f == "delete":
            return False
        whole = self._history.invoke_of(event) if event.kind != "invoke" else event
        end = None if whole is None else self._history.end_of(whole)
        since = event.t if whole is None else whole.t
        until = event.t if end is None else max(event.t, end.t)
        if event.f in ("deliver", "ack", "release", "retry", "reject", "assigned", "revoked", "lost", "seek"):
            since = min(since, self._opened.get(event.who, since))
        if event.f == "send" and end is None:
            until = ends[-1][1]
        return any(since < over and until > begun for begun, over in ends)


def _group(opened: Event) -> str | None:
    return opened.group or (opened.more.get("options") or {}).get("group")


def _deletions(history: History) -> Mapping[str, list[tuple[int, int]]]:
    """Topic -> when each deletion of it began and ended, of those that were there again afterwards; one that nobody
    knows the end of never ends."""
    last: dict[str, int] = {}
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    operations: Any = history.operations("delete")
    for invoke, end in operations:
        if invoke.dest is not None and invoke.dest.startswith("topic:") and (end is None or end.kind != "fail"):
            over = end.t if end is not None and end.kind == "ok" else _NEVER
            found[invoke.dest].append((invoke.t, over))
    if found:
        last = {event.dest: event.t for event in history.of("declare", "deliver", "stored") if event.dest is not None}
    again = {dest: sorted(ends) for dest, ends in found.items() if last.get(dest, -1) > ends[0][0]}
    return {dest: [(begun, over) for begun, over in ends if begun < last[dest]] for dest, ends in again.items()}
