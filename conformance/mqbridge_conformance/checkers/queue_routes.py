"""Which queues a message that was sent to an exchange comes to, as far as the bindings in a history tell.

The rule: certain is only what direct, fanout and topic exchanges say, whose bindings are older than the message and
outlive it. Headers are not in a history, an exchange that nobody declared can have any binding, and what goes through
an alternate exchange is perhaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from mqbridge_conformance.history import Event, History

__all__ = ["Reach", "Routes", "topic_matches"]

Reach: TypeAlias = Literal["yes", "maybe", "no"]
FOR_EVER = 1 << 62


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
                until = min(ends.get(_identity(told), FOR_EVER), ends.get(told["destination"], FOR_EVER))
                binding = _Binding(told["destination"], told.get("key", ""), event.t, until)
                self._bindings.setdefault(told["exchange"], []).append(binding)
            elif event.dest is not None and event.dest.startswith("exchange:"):
                self._declare(event.dest, event.more)

    def _declare(self, exchange: str, more: Mapping[str, Any]) -> None:
        kind = more.get("type", "direct")
        self._types[exchange] = kind if self._types.get(exchange, kind) == kind else None
        if more.get("alternate"):
            self._alternates[exchange] = more["alternate"]

    def queues(self, queues: list[str], exchange: str) -> list[str]:
        """Those of the queues that it may have a way to."""
        if self._types.get(exchange) is None:
            return queues
        reached: set[str] = set()
        left = [exchange]
        seen: set[str] = set()
        while left:
            here = left.pop()
            if here in seen:
                continue
            seen.add(here)
            if self._types.get(here) is None:
                return queues
            found = [binding.destination for binding in self._bindings.get(here, ())]
            found += [self._alternates[here]] if here in self._alternates else []
            reached.update(dest for dest in found if dest.startswith("queue:"))
            left += [dest for dest in found if dest.startswith("exchange:")]
        return sorted(reached)

    def reach(self, send: Event, ended: int | None, queue: str) -> Reach:
        """Does this send come to that queue?"""
        assert send.dest is not None
        key = str(send.more.get("routing_key", ""))
        return self._reach(send.dest, key, send.t, FOR_EVER if ended is None else ended, queue, frozenset())

    def _reach(self, exchange: str, key: str, begun: int, ended: int, queue: str, been: frozenset[str]) -> Reach:
        kind = self._types.get(exchange)
        if kind is None:
            return "maybe"
        found: set[Reach] = set()
        for binding in self._bindings.get(exchange, ()):
            if binding.destination == queue:
                onward: Reach = "yes"
            elif binding.destination.startswith("exchange:") and binding.destination not in been:
                onward = self._reach(binding.destination, key, begun, ended, queue, been | {exchange})
            else:
                continue
            found.add(_both(self._carries(binding, kind, key, begun, ended), onward))
        alternate = self._alternates.get(exchange)
        if alternate is not None and alternate not in been and "yes" not in found:
            by_another_way = self._reach(alternate, key, begun, ended, queue, been | {exchange})
            found.add("no" if by_another_way == "no" else "maybe")
        return "yes" if "yes" in found else "maybe" if "maybe" in found else "no"

    def _carries(self, binding: _Binding, kind: str, key: str, begun: int, ended: int) -> Reach:
        matches = _matches(kind, binding.key, key)
        if matches is False:
            return "no"
        return "yes" if matches and binding.since < begun and ended < binding.until else "maybe"

    def leads_nowhere(self, send: Event) -> bool:
        """Is it certain that no binding has ever matched this send, on no way?"""
        assert send.dest is not None
        return self._nowhere(send.dest, str(send.more.get("routing_key", "")), frozenset())

    def _nowhere(self, exchange: str, key: str, been: frozenset[str]) -> bool:
        kind = self._types.get(exchange)
        if exchange in been:
            return True
        if kind is None:
            return False
        for binding in self._bindings.get(exchange, ()):
            if _matches(kind, binding.key, key) is False:
                continue
            if binding.destination.startswith("queue:") or not self._nowhere(
                binding.destination, key, been | {exchange}
            ):
                return False
        alternate = self._alternates.get(exchange)
        return alternate is None or self._nowhere(alternate, key, been | {exchange})


def _ends(history: History) -> dict[str, int]:
    """When bindings and destinations first began to go, by what they are called."""
    ends: dict[str, int] = {}
    for event in history.of("unbind", "delete"):
        binding = event.more.get("binding")
        name = event.dest if binding is None else _identity(binding)
        if name is not None:
            ends[name] = min(event.t, ends.get(name, FOR_EVER))
    return ends


def _identity(binding: Mapping[str, Any]) -> str:
    return f"{binding['exchange']} {binding['destination']} {binding.get('key', '')}"


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
