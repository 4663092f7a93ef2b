"""What the conformance suite needs to run on this engine: a target, and an observer that is not the engine.

The rule: the observer asks the broker itself, never mqbridge; what it cannot tell it says with None.
"""

from __future__ import annotations

import secrets
from typing import Any

from mqbridge_conformance.observers import Counts, Letter, Names, Observer, Record
from mqbridge_conformance.parties import Party, ThreadParty
from mqbridge_conformance.targets import Target
from mqbridge_example.broker import Broker, Message, broker

__all__ = ["ExampleObserver", "ExampleTarget", "targets"]

LIBRARY = "mqbridge-"
"""Headers that begin so are mqbridge's own."""


class ExampleObserver(Observer):
    """Looks into the broker."""

    how = "the broker's own counts"

    def __init__(self, found: Broker) -> None:
        self._broker = found

    def names(self) -> Names:
        return Names({}, self._broker.names(), [], [])

    def records(self, topic: str) -> list[Record]:
        return []

    def committed(self, group: str) -> dict[str, int]:
        return {}

    def counts(self, queue: str) -> Counts:
        ready, out = self._broker.counts(queue)
        return Counts(ready, out, 0)

    def messages(self, queue: str) -> list[Record]:
        return [
            Record(None, None, one.key, one.value, _users(one), one.timestamp_ms, one.message_id)
            for one in self._broker.messages(queue)
        ]

    def letters(self, queue: str) -> list[Letter]:
        target = self._broker.queue(queue).dead_letter
        found = [] if target is None else self._broker.messages(target)
        return [_letter(one) for one in found if dict(one.headers).get(f"{LIBRARY}death-queue") == queue.encode()]

    def snapshot(self) -> dict[str, Any]:
        return {name: [repr(message) for message in self._broker.messages(name)] for name in self._broker.names()}


def _users(message: Message) -> tuple[tuple[str, bytes], ...]:
    return tuple(pair for pair in message.headers if not pair[0].startswith(LIBRARY))


def _letter(message: Message) -> Letter:
    facts = {name: value.decode() for name, value in message.headers if name.startswith(f"{LIBRARY}death-")}
    said = {name: facts.get(f"{LIBRARY}death-{name}") for name in ("reason", "queue", "attempts", "error")}
    return Letter(
        message.key,
        message.value,
        _users(message),
        message.timestamp_ms,
        message.message_id,
        said["reason"] or "",
        f"queue:{said['queue']}",
        int(said["attempts"] or 0),
        said["error"],
    )


class ExampleTarget(Target):
    """A broker of its own. There is no second process that could reach it, so other parties are threads."""

    name = "example"
    engine = "example"
    threads = True

    def __init__(self, url: str) -> None:
        self._name = f"conformance-{secrets.token_hex(4)}"
        self.url = url if "?" in url else f"example:?name={self._name}"

    def start(self) -> None:
        self.observer = ExampleObserver(broker(self.url.partition("name=")[2]))

    def stop(self) -> None:
        """A broker in memory leaves nothing behind."""

    def spawn(self, program: str, **args: Any) -> Party:
        return ThreadParty(program, {"url": self.url, **args})

    def versions(self) -> dict[str, str]:
        return {"example": "0.1"}


def targets(url: str) -> list[Target]:
    """What the entry point names: the targets of a URL ``example:``."""
    return [ExampleTarget(url)]
