"""Groups of topics: who was in them, where they had to begin, and what they were asked to pass over.

The rule: what a group had to be given is a lower bound. A start that the history does not tell, a seek and a reset all
excuse what may lie before them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mqbridge_conformance.checkers.log_facts import Client, Logs
from mqbridge_conformance.checkers.log_runs import start_of
from mqbridge_conformance.history import Event, History

__all__ = ["Group", "Groups", "Move"]


class Move:
    """A reset, a deletion of the group, or a seek: from its invoke to its end, to `offsets` (None: nobody knows)."""

    __slots__ = ("event", "offsets", "since", "until")

    def __init__(self, event: Event, until: float, offsets: Mapping[int, int] | None) -> None:
        self.event = event
        self.since = event.t
        self.until = until
        self.offsets = offsets

    def touches(self, part: int) -> bool:
        return self.offsets is None or part in self.offsets


class Group:
    """One group on one topic."""

    def __init__(self, name: str, dest: str) -> None:
        self.name = name
        self.dest = dest
        self.members: list[Client] = []
        self.moves: list[Move] = []
        self.first: dict[int, int] = {}
        """Partition -> the lowest offset that it was given."""
        self.may_jump = False

    @property
    def where(self) -> str:
        return f"{self.dest} in group {self.name}"

    def floor(self, part: int) -> float:
        """From which offset on it has to have been given everything."""
        if self.may_jump:
            return math.inf
        starts = [self._start(member, part) for member in self.members]
        low = max(starts, default=math.inf)
        for move in self.moves:
            if move.touches(part):
                low = max(low, math.inf if move.offsets is None else move.offsets[part])
        return low

    def _start(self, member: Client, part: int) -> float:
        start = start_of(member.options.get("start"))
        if start == "earliest":
            return 0
        if isinstance(start, dict):
            return start.get(part, 0)
        return self.first.get(part, math.inf)

    def had_to_reach(self, at: tuple[int, int] | None) -> bool:
        """Had it to be given what lies there? Of what nobody knows where it lies: only if it had to be given all."""
        if at is not None:
            return at[1] >= self.floor(at[0])
        if self.may_jump or self.moves:
            return False
        return all(start_of(member.options.get("start")) == "earliest" for member in self.members)

    def moved(self, part: int, since: float, until: float) -> bool:
        """Was its place set by somebody between two times?"""
        return any(move.touches(part) and move.since <= until and move.until >= since for move in self.moves)


class Groups:
    """All groups of a history, by topic."""

    def __init__(self, history: History) -> None:
        logs = history.derived(Logs)
        self._all: dict[tuple[str, str], Group] = {}
        for client in logs.clients.values():
            if client.role == "topic-consumer" and client.group is not None:
                for dest in client.sources:
                    group = self.of(client.group, dest)
                    group.members.append(client)
                    group.may_jump = group.may_jump or logs.may_jump(client.who, dest)
        for event in history.said("deliver"):
            if event.group is not None and event.part is not None and event.off is not None and event.dest is not None:
                first = self.of(event.group, event.dest).first
                first[event.part] = min(event.off, first.get(event.part, event.off))
        for name, moved, move in _moves(history, logs):
            for group in self._all.values():
                if group.name == name and moved in (None, group.dest):
                    group.moves.append(move)

    def of(self, name: str, dest: str) -> Group:
        found = self._all.get((name, dest))
        if found is None:
            found = self._all[name, dest] = Group(name, dest)
        return found

    def __iter__(self) -> Iterator[Group]:
        return iter(self._all.values())

    def reading(self, dest: str) -> list[Group]:
        return [group for group in self._all.values() if group.dest == dest]


def _moves(history: History, logs: Logs) -> Iterator[tuple[str, str | None, Move]]:
    """Group, topic (None: all), and how it was moved."""
    for f in ("reset", "delete", "seek"):
        for operation in history.operations(f):
            invoke, end = operation
            client = logs.client(invoke)
            group = invoke.group or (client.group if client is not None else None)
            if operation.outcome == "fail" or group is None:
                continue
            offsets: Mapping[int, int] | None = None
            if f == "seek" and invoke.part is not None and invoke.off is not None:
                offsets = {invoke.part: invoke.off}
            elif f == "reset":
                offsets = _reset_to(invoke.more)
            until = math.inf if end is None else end.t
            yield group, invoke.dest if f != "delete" else None, Move(invoke, until, offsets)


def _reset_to(more: Mapping[str, Any]) -> Mapping[int, int] | None:
    """Partition -> offset; None where it is told in another way."""
    told = more.get("offsets", more.get("to"))
    if not isinstance(told, Mapping):
        return None
    start = start_of(told)
    if isinstance(start, dict):
        return _Elsewhere(start)
    if start == "earliest":
        return _Elsewhere({})
    try:
        return {int(part): int(off) for part, off in told.items()}
    except (TypeError, ValueError):
        return None


class _Elsewhere(dict[int, int]):
    """Partitions that are not named begin at their start."""

    def __missing__(self, part: int) -> int:
        return 0

    def __contains__(self, part: object) -> bool:
        return True
