"""Bytes on their way, cut into the frames of a protocol and called by name.

The rule: nothing is changed, kept back or answered here; all bytes that went in come out, in frames that are whole. A
frame's name is what the protocol calls the operation; a request and its answer have the same one. What does not belong
here: what is done to a frame (`proxy`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

__all__ = ["ANSWER", "BOTH", "REQUEST", "Frame", "Framer", "Plain", "Said", "Way"]

Way: TypeAlias = Literal["request", "answer"]
REQUEST: Final[Way] = "request"
"""To the broker."""
ANSWER: Final[Way] = "answer"
"""From the broker."""
BOTH: Final[tuple[Way, ...]] = (REQUEST, ANSWER)

Said: TypeAlias = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""What a scenario says, which knows no protocol (``send``, ``commit``, ``settle``, ...) -> what such requests, and the
answers to them, are called; empty where there are none."""

LARGEST: Final = 256 * 1024 * 1024


class Frame(NamedTuple):
    """`name` is empty for what has none."""

    name: str
    data: bytes


class Framer(ABC):
    """One connection's frames, both ways."""

    SAID: ClassVar[Said] = {}

    def __init__(self) -> None:
        self._buffers: dict[Way, bytearray] = {REQUEST: bytearray(), ANSWER: bytearray()}

    @classmethod
    def said(cls, way: Way, word: str) -> tuple[str, ...]:
        """The names of what a scenario calls by that word, on that way; none if there is no such thing."""
        requests, answers = cls.SAID.get(word, ((), ()))
        return requests if way == REQUEST else answers

    def feed(self, way: Way, data: bytes) -> list[Frame]:
        """What is whole by now. Errors: `ValueError` for what cannot be a frame of this protocol."""
        buffer = self._buffers[way]
        buffer += data
        frames: list[Frame] = []
        at = 0
        while size := self.size(way, buffer, at):
            if not 0 < size <= LARGEST:
                raise ValueError(f"a frame of {size} bytes on the way of the {way}s")
            if len(buffer) < at + size:
                break
            whole = bytes(buffer[at : at + size])
            frames.append(Frame(self.name(way, whole), whole))
            at += size
        del buffer[:at]
        return frames

    @abstractmethod
    def size(self, way: Way, buffer: bytearray, at: int) -> int:
        """Bytes of the frame that begins at `at`; 0 if that cannot be told yet."""

    @abstractmethod
    def name(self, way: Way, frame: bytes) -> str:
        """What a whole frame is called."""


class Plain(Framer):
    """No protocol is known: bytes go on as they come, and nothing has a name."""

    def feed(self, way: Way, data: bytes) -> list[Frame]:
        return [Frame("", data)]

    def size(self, way: Way, buffer: bytearray, at: int) -> int:
        return 0

    def name(self, way: Way, frame: bytes) -> str:
        return ""
