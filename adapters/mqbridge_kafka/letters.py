"""What is written when a message moves: a copy to the tail, a dead letter, a redriven message.

The rule of this room: pure. Key, value, timestamp, id and the user's headers stay as they are; the reserved headers say
what moved it. A record's own count of deliveries cannot be carried over, so attempts travel in a header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mqbridge.semantics import reserved
from mqbridge_kafka.records import NativeHeaders, reserved_value

ERROR_BYTES: Final = 2000
"""Longer texts of `reject` and `retry` are cut: the letter must not outgrow what the brokers take."""
OVERHEAD_BYTES: Final = 400
"""What the headers of a letter need besides the text."""
_NOT_IN_A_LETTER: Final = frozenset(
    (
        *reserved.DEATH,
        reserved.ATTEMPTS,
        reserved.ENQUEUED_MS,
        reserved.EXPIRES_MS,
        reserved.DELAY_MS,
    )
)
_NOT_IN_A_REDRIVEN: Final = frozenset((*reserved.DEATH, reserved.ATTEMPTS, reserved.ENQUEUED_MS))


class Letter(NamedTuple):
    """One record to write."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: NativeHeaders
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """One record as it was acquired. `deliveries` is the share group's own count, this one included."""

    value: bytes | None
    key: bytes | None
    headers: NativeHeaders
    timestamp_ms: int
    deliveries: int

    @property
    def carried(self) -> int | None:
        """Attempts counted before this copy was written; None if it is no copy."""
        return _number(self.headers, reserved.ATTEMPTS)

    @property
    def attempt(self) -> int:
        """1 for the first time an application sees it."""
        return self.deliveries + (self.carried or 0)

    @property
    def redelivered(self) -> bool:
        """An application may have seen it before."""
        return self.attempt > 1 or self.carried is not None

    def expires_at_ms(self, queue_ttl_ms: int | None) -> int | None:
        """When its time is over: the shorter of its own and its queue's time to live, from the enqueue on."""
        lives = [ttl for ttl in (queue_ttl_ms, _number(self.headers, reserved.EXPIRES_MS)) if ttl is not None]
        if not lives:
            return None
        enqueued_ms = _number(self.headers, reserved.ENQUEUED_MS)
        return (self.timestamp_ms if enqueued_ms is None else enqueued_ms) + min(lives)


def copy_to_tail(message: Arrived, topic: str, attempts: int, *, shown: bool) -> Letter:
    """The same message again, with the attempts counted so far; `shown` says that an application saw it."""
    headers = _without(message.headers, lambda name: name == reserved.ATTEMPTS)
    if attempts or shown or message.carried is not None:
        headers.append((reserved.ATTEMPTS, b"%d" % attempts))
    return Letter(topic, message.value, message.key, headers, message.timestamp_ms)


def dead_letter(
    message: Arrived,
    topic: str,
    *,
    origin: str,
    reason: str,
    attempts: int,
    text: str | None,
    wall_ms: int,
    room_bytes: int,
) -> Letter:
    """What goes into the dead-letter queue: the message, and why it died. Its own time to live ends with it.

    The text is cut to what `room_bytes`, the largest message, leaves for it.
    """
    headers = _without(message.headers, _NOT_IN_A_LETTER.__contains__)
    size = len(message.value or b"") + len(message.key or b"") + sum(len(n) + len(v or b"") for n, v in headers)
    headers += [
        (reserved.DEATH_REASON, reason.encode()),
        (reserved.DEATH_QUEUE, origin.encode()),
        (reserved.DEATH_ATTEMPTS, b"%d" % attempts),
        (reserved.DEATH_AT_MS, b"%d" % wall_ms),
        (reserved.ENQUEUED_MS, b"%d" % wall_ms),
    ]
    if text is not None:
        room = max(0, min(ERROR_BYTES, room_bytes - size - OVERHEAD_BYTES))
        told = text.encode("utf-8", "backslashreplace")[:room].decode(errors="ignore")
        headers.append((reserved.DEATH_ERROR, told.encode()))
    return Letter(topic, message.value, message.key, headers, message.timestamp_ms)


def redriven(message: Arrived, topic: str, wall_ms: int) -> Letter:
    """The message as it was before it died, with its attempts counted anew."""
    headers = _without(message.headers, _NOT_IN_A_REDRIVEN.__contains__)
    headers.append((reserved.ENQUEUED_MS, b"%d" % wall_ms))
    return Letter(topic, message.value, message.key, headers, message.timestamp_ms)


def origin_of(message: Arrived) -> str | None:
    """The queue a dead letter died in, by its bare name; None for what is no letter of a queue's."""
    value = reserved_value(message.headers, reserved.DEATH_QUEUE)
    name = None if value is None else value.decode("ascii", "replace")
    return None if name is None or ":" in name else name


def _without(headers: NativeHeaders, unwanted: Callable[[str], bool]) -> NativeHeaders:
    return [pair for pair in headers if not unwanted(pair[0])]


def _number(headers: NativeHeaders, name: str) -> int | None:
    """A reserved header's number; a foreigner's nonsense reads as none."""
    value = reserved_value(headers, name)
    if value is None or not value.isdigit() or len(value) > 18:
        return None
    return int(value)
