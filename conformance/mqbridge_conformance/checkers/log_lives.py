"""Topics that were deleted and made again: each of their lives is judged as a topic of its own.

The rule: an event belongs to the life in which it was told. What may belong to either is told of neither: what was
under way when the topic was deleted, what came meanwhile, and what a consumer was given afterwards that had been opened
before. Where nobody knows whether it was deleted, all that came later is left out.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mqbridge_conformance.checkers.judging import Checker, Finding, Judgement, Profile
from mqbridge_conformance.history import Event, History

__all__ = ["AGAIN", "Lives", "born_as", "each_life"]

AGAIN: Final = ", life "
"""What a later life of a topic is named by, after the name that all of them have."""


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
        told = {(event.proc, event.seq): event for event in history}

        def as_told(finding: Finding) -> Finding:
            return replace(finding, witness=tuple(told[event.proc, event.seq] for event in finding.witness))

        return replace(judgement, findings=tuple(map(as_told, judgement.findings)))

    return judged


class Lives:
    """See the module. `history` is the one that it was made of, where no topic has a second life."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._ends = _deletions(history)
        self._opened = {event.who: event.t for event in history.said("open")}
        self.made_again = len(self._ends)
        self.history = history if not self._ends else History(self._told())

    def _told(self) -> Iterator[Event]:
        dubious = {event.val for event in self._history.of("send") if self._is_dubious(event)}
        for event in self._history:
            dest = event.dest
            if dest not in self._ends:
                yield self._with_sources(event) if event.f == "open" else event
            elif not self._is_dubious(event) and not (event.f in ("deliver", "stored") and event.val in dubious):
                invoke = self._history.invoke_of(event)
                named = event._replace(dest=self._name(dest, event.t if invoke is None else invoke.t))
                yield self._with_sources(named) if event.f == "open" else named

    def _name(self, dest: str | None, t: int) -> str:
        assert dest is not None
        number = bisect_left(self._ends[dest], (t, -1))  # how many deletions had begun before
        return dest if not number else f"{dest}{AGAIN}{number + 1}"

    def _with_sources(self, event: Event) -> Event:
        sources = event.more.get("sources")
        if not isinstance(sources, list):
            return event
        named = [self._name(source, event.t) if source in self._ends else source for source in sources]
        return event._replace(more={**event.more, "sources": named})

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


def _deletions(history: History) -> Mapping[str, list[tuple[int, int]]]:
    """Topic -> when each deletion of it began and ended, of those that were there again afterwards; one that nobody
    knows the end of never ends."""
    last: dict[str, int] = {}
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    operations: Any = history.operations("delete")
    for invoke, end in operations:
        if invoke.dest is not None and invoke.dest.startswith("topic:") and (end is None or end.kind != "fail"):
            over = end.t if end is not None and end.kind == "ok" else 1 << 62
            found[invoke.dest].append((invoke.t, over))
    if found:
        last = {event.dest: event.t for event in history.of("declare", "deliver", "stored") if event.dest is not None}
    again = {dest: sorted(ends) for dest, ends in found.items() if last.get(dest, -1) > ends[0][0]}
    return {dest: [(begun, over) for begun, over in ends if begun < last[dest]] for dest, ends in again.items()}
