"""Which message is next: the order of ready messages, and heaps of what falls due.

The one rule: ready messages are ordered by priority, highest first, then by sequence number, whatever happened to them
before. A message that comes back therefore stands where it stood, and one whose delay ends stands by its age.

A message that leaves other than by being taken is passed over when its turn comes, known by its `state`; entries passed
over are never more than the living ones, or the structure is built anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush, merge

from mqbridge.native.core.queues.records import GONE, READY, TAKEN, Message

_SLACK = 64


class _Level:
    """One priority: what never left, in order of arrival, and what came back, as a heap."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Message] = deque()
        self.returned: list[tuple[int, Message]] = []

    def trim(self) -> int:
        """Drop passed over entries at both heads; how many."""
        dropped = 0
        while self.fresh and self.fresh[0].state != READY:
            self.fresh.popleft()
            dropped += 1
        while self.returned and self.returned[0][1].state != READY:
            heappop(self.returned)
            dropped += 1
        return dropped

    def __iter__(self) -> Iterator[Message]:
        back = (message for _, message in sorted(self.returned))
        both = merge(back, self.fresh, key=_seq) if self.returned else self.fresh
        return (message for message in both if message.state == READY)


class ReadyOrder:
    """The ready messages of one queue. `count` is how many; iterating gives them in the order of delivery."""

    __slots__ = ("_levels", "_passed_over", "count")

    def __init__(self, top_priority: int) -> None:
        # Index 0 is the highest priority.
        self._levels = [_Level() for _ in range(top_priority + 1)]
        self._passed_over = 0
        self.count = 0

    def __iter__(self) -> Iterator[Message]:
        for level in self._levels:
            yield from level

    def by_age(self) -> Iterator[Message]:
        """All of them by sequence number, whatever their priority."""
        for level in self._levels:
            self._passed_over -= level.trim()
        return iter(merge(*self._levels, key=_seq)) if len(self._levels) > 1 else iter(self._levels[0])

    def add(self, messages: list[Message]) -> None:
        """New messages, in order of their numbers, above all numbers so far."""
        self.count += len(messages)
        if len(self._levels) == 1:
            self._levels[0].fresh.extend(messages)
            return
        for message in messages:
            self._level(message).fresh.append(message)

    def give_back(self, message: Message) -> None:
        """A message that was away (taken or delayed), to its old place."""
        message.state = READY
        self.count += 1
        heappush(self._level(message).returned, (message.seq, message))

    def take(self, limit: int, limit_bytes: int) -> list[Message]:
        """The next messages, marked as taken: at most `limit`, and at most `limit_bytes` of values or one message."""
        out: list[Message] = []
        room = limit_bytes
        for level in self._levels:
            fresh, returned = level.fresh, level.returned
            while limit > 0:
                if returned and (not fresh or returned[0][0] < fresh[0].seq):
                    message = heappop(returned)[1]
                elif fresh:
                    message = fresh.popleft()
                else:
                    break
                if message.state != READY:
                    self._passed_over -= 1
                    continue
                message.state = TAKEN
                self.count -= 1
                out.append(message)
                limit -= 1
                room -= message.body_bytes
                if room <= 0:
                    if room < 0 and len(out) > 1:
                        self.give_back(out.pop())
                    return out
            if limit <= 0:
                break
        return out

    def withdraw(self, message: Message) -> None:
        """Undo `give_back`: the message is as it was before, which is for the caller to mark."""
        self.count -= 1
        returned = self._level(message).returned
        returned.remove((message.seq, message))
        heapify(returned)

    def remove(self, message: Message, state: int) -> None:
        """A ready message leaves for good, to `state`, wherever it stands."""
        message.state = state
        self.count -= 1
        self._passed_over += 1
        if self._passed_over > _SLACK and self._passed_over > self.count:
            self._rebuild()

    def clear(self) -> None:
        for level in self._levels:
            level.fresh.clear()
            level.returned.clear()
        self.count = self._passed_over = 0

    def _level(self, message: Message) -> _Level:
        return self._levels[len(self._levels) - 1 - message.priority]

    def _rebuild(self) -> None:
        for level in self._levels:
            level.fresh = deque(message for message in level.fresh if message.state == READY)
            level.returned = [pair for pair in level.returned if pair[1].state == READY]
            heapify(level.returned)
        self._passed_over = 0


class TimeHeap:
    """Messages by a moment in wall ms. `keeps` says whether an entry still means something for its message."""

    __slots__ = ("_entries", "_keeps", "_rebuild_at")

    def __init__(self, keeps: Callable[[Message], bool]) -> None:
        self._entries: list[tuple[int, int, Message]] = []
        self._keeps = keeps
        self._rebuild_at = _SLACK

    def __iter__(self) -> Iterator[Message]:
        """The messages whose entries still mean something, in no promised order."""
        return (entry[2] for entry in self._entries if self._keeps(entry[2]))

    def add(self, at_ms: int, message: Message) -> None:
        heappush(self._entries, (at_ms, message.seq, message))
        if len(self._entries) > self._rebuild_at:
            self._rebuild()

    def first_ms(self) -> int | None:
        """The earliest moment that still means something, or None."""
        entries = self._entries
        while entries and not self._keeps(entries[0][2]):
            heappop(entries)
        return entries[0][0] if entries else None

    def due(self, wall_ms: int) -> list[Message]:
        """Take out what is due, in order of its moment."""
        entries = self._entries
        out: list[Message] = []
        while entries and entries[0][0] <= wall_ms:
            message = heappop(entries)[2]
            if self._keeps(message):
                out.append(message)
        return out

    def withdraw(self, message: Message) -> None:
        """Take the entries of one message out."""
        self._entries = [entry for entry in self._entries if entry[2] is not message]
        heapify(self._entries)

    def clear(self) -> None:
        self._entries = []

    def _rebuild(self) -> None:
        self._entries = [entry for entry in self._entries if self._keeps(entry[2])]
        heapify(self._entries)
        self._rebuild_at = max(_SLACK, 2 * len(self._entries))


def is_alive(message: Message) -> bool:
    return message.state != GONE


def oldest_first(messages: Iterable[Message]) -> list[Message]:
    return sorted(messages, key=_seq)


def _seq(message: Message) -> int:
    return message.seq
