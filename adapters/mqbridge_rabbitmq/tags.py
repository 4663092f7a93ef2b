"""Which deliveries of one channel are out. The rules: a token names its generation, so that none of a channel that is
gone can settle one of its successor; and an ack is cumulative only where nothing below it stays out.

Delivery tags of a channel are 1, 2, 3 ... (AMQP 0-9-1, 1.1 "delivery-tag"); ``basic.ack(multiple)`` settles all up to a
tag that must itself be out, else the broker closes the channel (406).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

GENERATION_SHIFT: Final = 40
Arrived = tuple[Any, Any, bytes]
"""What pika gives: method, properties, body."""


class Tags:
    """The deliveries of one generation of one consumer's channel that are not settled."""

    def __init__(self, generation: int) -> None:
        self.base = generation << GENERATION_SHIFT
        self._out: dict[int, Arrived] = {}
        self._low = 1
        self._high = 0
        self._held: set[int] = set()

    def __len__(self) -> int:
        return len(self._out)

    @property
    def newest(self) -> int:
        """The highest tag that was delivered, 0 before the first."""
        return self._high

    def delivered(self, tag: int, arrived: Arrived) -> None:
        self._out[tag] = arrived
        self._high = tag

    def arrived(self, tag: int) -> Arrived:
        """What was delivered with a tag that is out."""
        return self._out[tag]

    def claim(self, tokens: Iterable[int]) -> tuple[list[int], list[int]]:
        """Tags that are out, of these tokens, and the tokens that are not ours (any more)."""
        ours: list[int] = []
        refused: list[int] = []
        out, held, base = self._out, self._held, self.base
        for token in tokens:
            tag = token - base
            if tag in out and tag not in held:
                ours.append(tag)
            else:
                refused.append(token)
        return ours, refused

    def hold(self, tag: int) -> None:
        """Its copy is on the way: it is out still, and no other verb may settle it."""
        self._held.add(tag)

    def settle(self, tag: int) -> None:
        """Settled by a frame of its own."""
        self._held.discard(tag)
        del self._out[tag]
        self._advance()

    def ack(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """Settle these by acks: (tag, multiple) for each frame to send, in order."""
        fresh = sorted(tags)
        for tag in fresh:
            self._held.discard(tag)
            del self._out[tag]
        self._advance()
        below = 0
        while below < len(fresh) and fresh[below] < self._low:
            below += 1
        frames = [(fresh[below - 1], below > 1)] if below else []
        frames.extend((tag, False) for tag in fresh[below:])
        return frames

    def _advance(self) -> None:
        low, high, out = self._low, self._high, self._out
        while low <= high and low not in out:
            low += 1
        self._low = low
