"""An observer of several nodes: the first that can tell is believed.

The rule: a node that is down, or has no replica yet of what is asked for, cannot tell, and that is no last word while
there is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mqbridge_conformance.observers.seen import Counts, Letter, Names, Observer, Record
from mqbridge_conformance.results import CannotTell

__all__ = ["FirstToTell"]

T = TypeVar("T")


class FirstToTell(Observer):
    """The same observer of each of several nodes; `CannotTell` with what the last one said if none can."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)
        self.how = observers[0].how
        self.takes_to_look = observers[0].takes_to_look

    def _first(self, look: Callable[[Observer], T]) -> T:
        for observer in self._observers[:-1]:
            try:
                return look(observer)
            except CannotTell:
                continue
        return look(self._observers[-1])

    def names(self) -> Names:
        return self._first(lambda observer: observer.names())

    def records(self, topic: str) -> list[Record]:
        return self._first(lambda observer: observer.records(topic))

    def counts(self, queue: str) -> Counts:
        return self._first(lambda observer: observer.counts(queue))

    def committed(self, group: str) -> dict[str, int] | None:
        return self._first(lambda observer: observer.committed(group))

    def letters(self, queue: str) -> list[Letter]:
        return self._first(lambda observer: observer.letters(queue))

    def messages(self, queue: str) -> list[Record] | None:
        return self._first(lambda observer: observer.messages(queue))

    def held(self, queue: str) -> int | None:
        return self._first(lambda observer: observer.held(queue))

    def snapshot(self) -> dict[str, Any]:
        return self._first(lambda observer: observer.snapshot())

    def versions(self) -> dict[str, str]:
        return self._first(lambda observer: observer.versions())

    def close(self) -> None:
        for observer in self._observers:
            observer.close()
