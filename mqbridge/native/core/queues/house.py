"""What all queues of a room share, and what one of them gives to a consumer.

The rule: plain values and ports; no state, no decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mqbridge.native.core.ports import DecodeBatch, EncodeBatch, MakeBatch, Notify
from mqbridge.native.core.queues.deadletter import DeadLetters
from mqbridge.native.core.queues.records import Message


class House(NamedTuple):
    """The ports of a room. `sooner(moment_s)`: the room is to tick at this moment at the latest."""

    make_batch: MakeBatch
    encode_batch: EncodeBatch
    decode_batch: DecodeBatch
    notify: Notify
    dead_letters: DeadLetters
    sooner: Callable[[float], None]


class Taken(NamedTuple):
    """What one `take` gave: `messages[i]` has the tag `first_tag + i`. `errors` are (tag, code) of settlements."""

    first_tag: int
    messages: list[Message]
    errors: list[tuple[int, str]]
