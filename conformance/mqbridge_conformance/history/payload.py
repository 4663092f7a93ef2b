"""What a message of a scenario carries so that it can be judged wherever it turns up.

The rule: a payload says where it was meant to go, under which key, who sent it and as the how-manieth of that producer,
and has a checksum of all that; so a message in the wrong place, a damaged one and a gap in a producer's count are seen
without asking anybody else.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

__all__ = ["Damaged", "Payload"]

MARK: Final = "mqp1"


class Damaged(ValueError):
    """It begins as a payload, and its checksum or its form is wrong."""


class Payload(NamedTuple):
    """`dest` as in a history (``topic:NAME``); `key` without blanks, ``-`` for none; `number` counts from 0 within its
    producer. As bytes: blank-separated ASCII with a CRC-32 at the end, `pad` more bytes before it if that was asked
    for."""

    run: str
    dest: str
    key: str
    producer: str
    number: int

    def encode(self, pad: int = 0) -> bytes:
        words = [MARK, self.run, self.dest, self.key, self.producer, str(self.number)]
        if any(" " in word or not word for word in words):
            raise ValueError(f"a payload's words are without blanks and not empty: {words}")
        body = " ".join([*words, *(["." * pad] if pad else [])])
        return f"{body} {zlib.crc32(body.encode()):08x}".encode("ascii")

    @classmethod
    def decode(cls, text: str | None) -> Payload | None:
        """The payload of a value as `identify` tells it; None if it never was one. Errors: `Damaged`."""
        if text is None or not text.startswith(MARK):
            return None
        body, _, checksum = text.rpartition(" ")
        words = body.split(" ")
        if len(words) not in (6, 7) or not words[5].isdecimal() or f"{zlib.crc32(body.encode()):08x}" != checksum:
            raise Damaged(f"{text!r} is a damaged payload")
        return cls(words[1], words[2], words[3], words[4], int(words[5]))
