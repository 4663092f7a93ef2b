"""A hooks object that remembers. The rule: it records what the hooks are told, per batch, and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mqbridge.testing.conditions import wait_until
from mqbridge.topology import Destination

__all__ = ["HookEvent", "Recorder"]


@dataclass(frozen=True, slots=True)
class HookEvent:
    """One call of a hook (`mqbridge.hooks.EVENTS` names them), and its facts."""

    name: str
    facts: Mapping[str, Any]

    def __getitem__(self, fact: str) -> Any:
        return self.facts[fact]


class Recorder:
    """For ``hooks=[recorder]`` of `mqbridge.connect` and `embedded`. Thread-safe; hooks come from several threads.

    `events` is everything in the order in which it came. A confirmation is reported per batch, so counts are of
    messages and the number of events says nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[HookEvent] = []

    # --- the hooks (mqbridge.hooks.EVENTS)

    def sent(self, **facts: Any) -> None:
        self._add("sent", facts)

    def received(self, **facts: Any) -> None:
        self._add("received", facts)

    def settled(self, **facts: Any) -> None:
        self._add("settled", facts)

    def assignment(self, **facts: Any) -> None:
        self._add("assignment", facts)

    def error(self, **facts: Any) -> None:
        self._add("error", facts)

    def closed(self, **facts: Any) -> None:
        self._add("closed", facts)

    def _add(self, name: str, facts: dict[str, Any]) -> None:
        with self._lock:
            self._events.append(HookEvent(name, MappingProxyType(facts)))

    # --- looking

    @property
    def events(self) -> list[HookEvent]:
        """All that was recorded so far."""
        with self._lock:
            return list(self._events)

    def of(self, name: str, destination: Destination | None = None) -> list[HookEvent]:
        """The events of one name, of one destination if it is given: ``recorder.of("received", orders)``."""
        return [
            event
            for event in self.events
            if event.name == name and (destination is None or event.facts.get("destination") == destination)
        ]

    def sent_count(self, destination: Destination | None = None) -> int:
        """Messages confirmed."""
        return sum(event["count"] for event in self.of("sent", destination))

    def failed_count(self, destination: Destination | None = None) -> int:
        """Messages whose send failed."""
        return sum(event["failed"] for event in self.of("sent", destination))

    def received_count(self, destination: Destination | None = None) -> int:
        """Messages handed to consumers, redeliveries from the engine included."""
        return sum(event["count"] for event in self.of("received", destination))

    def wait_for(self, name: str, destination: Destination | None = None, timeout_s: float = 10.0) -> HookEvent:
        """The first event of that name, waited for."""
        return wait_until(lambda: self.of(name, destination), timeout_s, f"a hook {name!r}")[0]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        with self._lock:
            self._events.clear()
