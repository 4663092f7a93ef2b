"""Which queues a message that was sent to an exchange comes to, as far as the bindings in a history tell.

The rule: certain is only what direct, fanout and topic exchanges say, whose bindings are older than the message and
outlive it. Headers are not in a history, an exchange that nobody declared can have any binding, and what goes through
an alternate exchange is perhaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from mqbridge_conformance.checkers.queue_clients import NEVER
from mqbridge_conformance.history import Event, History

__all__ = ["Reach", "Routes", "topic_matches"]

Reach: TypeAlias = Literal["yes", "maybe", "no"]


class _Binding(NamedTuple):
    destination: str
    key: str
    since: int
    until: int


class Routes:
    """All exchanges and bindings of a history."""

    def __init__(self, history: History) -> None:
        self._types: dict[str, str | None] = {}
        self._alternates: dict[str, str] = {}
        self._bindings: dict[str, list[_Binding]] = {}
        ends = _ends(history)
        for event in history.said("declare"):
            told = event.more.get("binding")
            if told is not None:
                until = min(ends.get(name, NEVER) for name in (_identity(told), told["exchange"], told["destination"]))
                binding = _Binding(told["destination"], told["key"], event.t, until)
                self._bindings.setdefault(told["exchange"], []).append(binding)
            elif event.dest is not None and event.dest.startswith("exchange:"):
                self._declare(event.dest, event.more)

    def _declare(self, exchange: str, more: Mapping[str, Any]) -> None:
        kind = more["type"]
        self._types[exchange] = kind if self._types.get(exchange, kind) == kind else None
        if more.get("alternate") is not None:
            self._alternates[exchange] = more["alternate"]

    def queues(self, queues: list[str], exchange: str) -> list[str]:
        """Those of the queues that it may have a way to."""
        reached: set[str] = set()
        left, seen = [exchange], {exchange}
        while left:
            here = left.pop()
            if self._types.get(here) is None:
                return queues
            onward = [binding.destination for binding in self._bindings.get(here, ())]
            onward += [self._alternates[here]] if here in self._alternates else []
            reached.update(dest for dest in onward if dest.startswith("queue:"))
            left += [dest for dest in onward if dest.startswith("exchange:") and dest not in seen]
            seen.update(onward)
        return sorted(reached)

    def reach(self, send: Event, ended: int | None, queue: str) -> Reach:
        """Does this send come to that queue?"""
        assert send.dest is not None
        return self._reach(send.dest, _key(send), (send.t, NEVER if ended is None else ended), queue, frozenset())

    def _reach(self, exchange: str, key: str, span: tuple[int, int], queue: str, been: frozenset[str]) -> Reach:
        kind = self._types.get(exchange)
        if kind is None:
            return "maybe"
        found: set[Reach] = set()
        here = been | {exchange}
        for binding in self._bindings.get(exchange, ()):
            carries = self._carries(binding, kind, key, span)
            if binding.destination == queue:
                found.add(carries)
            elif binding.destination.startswith("exchange:") and binding.destination not in here:
                found.add(_both(carries, self._reach(binding.destination, key, span, queue, here)))
        alternate = self._alternates.get(exchange)
        if alternate is not None and alternate not in here:
            found.add(_both("maybe", self._reach(alternate, key, span, queue, here)))
        return "yes" if "yes" in found else "maybe" if "maybe" in found else "no"

    def _carries(self, binding: _Binding, kind: str, key: str, span: tuple[int, int]) -> Reach:
        matches = _matches(kind, binding.key, key)
        if matches is False:
            return "no"
        return "yes" if matches and binding.since < span[0] and span[1] < binding.until else "maybe"

    def leads_nowhere(self, send: Event) -> bool:
        """Is it certain that no binding has ever matched this send, on no way?"""
        assert send.dest is not None
        return self._nowhere(send.dest, _key(send), frozenset())

    def _nowhere(self, exchange: str, key: str, been: frozenset[str]) -> bool:
        kind = self._types.get(exchange)
        if kind is None:
            return False
        onward = [
            binding.destination
            for binding in self._bindings.get(exchange, ())
            if _matches(kind, binding.key, key) is not False
        ]
        onward += [self._alternates[exchange]] if exchange in self._alternates else []
        here = been | {exchange}
        return all(dest.startswith("exchange:") and (dest in here or self._nowhere(dest, key, here)) for dest in onward)


def _key(send: Event) -> str:
    return str(send.more.get("routing_key") or "")


def _ends(history: History) -> dict[str, int]:
    """When bindings and destinations first began to go, by what they are called."""
    ends: dict[str, int] = {}
    for event in history.of("unbind", "delete"):
        binding = event.more.get("binding")
        ends.setdefault(str(event.dest) if binding is None else _identity(binding), event.t)
    return ends


def _identity(binding: Mapping[str, Any]) -> str:
    return f"{binding['exchange']} {binding['destination']} {binding['key']}"


def _both(first: Reach, second: Reach) -> Reach:
    return "no" if "no" in (first, second) else "maybe" if "maybe" in (first, second) else "yes"


def _matches(kind: str, pattern: str, key: str) -> bool | None:
    """None where that cannot be told."""
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == key
    if kind == "topic":
        return topic_matches(pattern, key)
    return None


@lru_cache(maxsize=4096)
def topic_matches(pattern: str, key: str) -> bool | None:
    """AMQP's rule: ``*`` is one word, ``#`` any number of them. None for keys with empty words, which brokers may read
    in their own ways."""
    words, parts = key.split("."), pattern.split(".")
    if "" in words or "" in parts:
        return True if pattern in ("#", key) else None
    places = {0}
    for part in parts:
        if part == "#":
            places = set(range(min(places), len(words) + 1)) if places else places
        else:
            places = {at + 1 for at in places if at < len(words) and part in ("*", words[at])}
    return len(words) in places
