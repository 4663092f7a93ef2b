"""What an observer is, and what it can say about an engine.

The rule: an observer changes nothing and never shares a connection with a scenario; what it cannot tell it says with
None, and never guesses. Several observers of one target must agree; where they do not, that is a finding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from mqbridge_conformance.native_files import Pairs
from mqbridge_conformance.results import CheckFailed

__all__ = ["LIBRARY", "Agreed", "Counts", "Disagreement", "Letter", "Names", "Observer", "Record"]

T = TypeVar("T")
LIBRARY = "mqbridge-"
"""How the names of the headers begin that are the library's own and not the user's."""


class Record(NamedTuple):
    """A stored record or message, the library's own headers taken out. `offset` is None for a queue's."""

    partition: int | None
    offset: int | None
    key: bytes | None
    value: bytes | None
    headers: Pairs
    timestamp_ms: int
    message_id: str | None


class Letter(NamedTuple):
    """A dead letter: the message, and what it says about its death."""

    key: bytes | None
    value: bytes | None
    headers: Pairs
    timestamp_ms: int
    message_id: str | None
    reason: str
    origin: str
    attempts: int
    error: str | None


class Counts(NamedTuple):
    """The messages of a queue by what they wait for; None where an observer cannot tell."""

    ready: int | None
    unsettled: int | None
    delayed: int | None


class Names(NamedTuple):
    """What exists: topics with their partitions, queues, exchanges, groups."""

    topics: dict[str, int]
    queues: list[str]
    exchanges: list[str]
    groups: list[str]


class Disagreement(CheckFailed):
    """Two observers of one target saw different things."""


class Observer(ABC):
    """See the module. Destinations are named by their portable names."""

    how: str = ""
    takes_to_look: bool = False
    """Are dead letters seen by taking them and giving them back, so that they say they were delivered before?"""

    @abstractmethod
    def names(self) -> Names: ...

    @abstractmethod
    def records(self, topic: str) -> list[Record]:
        """All that can be read of a topic, by partition and offset."""

    @abstractmethod
    def counts(self, queue: str) -> Counts: ...

    @abstractmethod
    def committed(self, group: str) -> dict[str, int] | None:
        """``TOPIC/PARTITION`` -> offset; empty for a group that is not known, None if it cannot be told now."""

    @abstractmethod
    def letters(self, queue: str) -> list[Letter]:
        """The dead letters of the queue in which they died, oldest first."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """All that this observer can see, to be compared with itself."""

    def messages(self, queue: str) -> list[Record] | None:
        """What lies in a queue, whoever holds it; None if this observer sees counts alone."""
        return None

    def held(self, queue: str) -> int | None:
        """How many messages a queue has that can be had or are out, where `counts` cannot tell them apart; None if
        that cannot be told either."""
        found = self.counts(queue)
        return None if found.ready is None or found.unsettled is None else found.ready + found.unsettled

    def versions(self) -> dict[str, str]:
        """Of the engine, under its name, and of the clients that look at it; without what cannot be told."""
        return {}

    def close(self) -> None:
        """Stop looking; an observer that holds nothing has nothing to do."""
        return


class Agreed(Observer):
    """Several observers, which must see the same; `Disagreement` says who saw what."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)
        self.how = " and ".join(observer.how for observer in observers)
        self.takes_to_look = any(observer.takes_to_look for observer in observers)

    def _all(self, what: str, look: Callable[[Observer], T]) -> T:
        seen = [(observer.how, look(observer)) for observer in self._observers]
        first_how, first = seen[0]
        for how, found in seen[1:]:
            if found != first:
                raise Disagreement(f"{what}: {first_how} shows {_short(first)}, {how} {_short(found)}")
        return first

    def names(self) -> Names:
        return self._all("what exists", lambda observer: observer.names())

    def records(self, topic: str) -> list[Record]:
        return self._all(f"the records of {topic}", lambda observer: observer.records(topic))

    def counts(self, queue: str) -> Counts:
        return self._all(f"the counts of {queue}", lambda observer: observer.counts(queue))

    def committed(self, group: str) -> dict[str, int] | None:
        return self._all(f"the offsets of group {group}", lambda observer: observer.committed(group))

    def letters(self, queue: str) -> list[Letter]:
        return self._all(f"the dead letters of {queue}", lambda observer: observer.letters(queue))

    def messages(self, queue: str) -> list[Record] | None:
        found = [seen for observer in self._observers if (seen := observer.messages(queue)) is not None]
        return found[0] if found else None

    def snapshot(self) -> dict[str, Any]:
        return {observer.how: observer.snapshot() for observer in self._observers}

    def close(self) -> None:
        for observer in self._observers:
            observer.close()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
