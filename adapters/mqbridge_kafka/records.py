"""Headers and times, to and from Kafka's records.

The rule of this room: a foreign producer's record reads like one of ours, and what a record has no field for travels in
the reserved headers (mqbridge.semantics.reserved). Kafka keeps names that repeat, and their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from confluent_kafka import Message

from mqbridge.messages import RawHeaders
from mqbridge.semantics import reserved

NativeHeaders: TypeAlias = "list[tuple[str, bytes | None]]"


def encode_headers(
    headers: RawHeaders | None,
    message_id: str | None = None,
    timestamp_ms: int | None = None,
    extra: Sequence[tuple[str, bytes]] = (),
) -> NativeHeaders | None:
    """The headers of a record: the user's, the message id, a timestamp that the record cannot have (see
    `record_timestamp`), and whatever `extra` the caller adds; None if none."""
    early_ms = timestamp_ms if timestamp_ms is not None and timestamp_ms <= 0 else None
    if headers is None and message_id is None and early_ms is None and not extra:
        return None
    pairs: NativeHeaders = list(headers or ())
    if message_id is not None:
        pairs.append((reserved.MESSAGE_ID, message_id.encode()))
    if early_ms is not None:
        pairs.append((reserved.TIMESTAMP_MS, b"%d" % early_ms))
    pairs.extend(extra)
    return pairs


def record_timestamp(timestamp_ms: int | None) -> int:
    """What the client is given: 0 is the present. Kafka takes no time before 1970, and its client takes that very
    moment for the present; such a time travels in a header."""
    return max(0, timestamp_ms or 0)


def decode_headers(native: Sequence[tuple[str, bytes | None]] | None) -> RawHeaders | None:
    """The pairs of a record, in order; a header with a null value, which Kafka allows, reads as empty."""
    if not native:
        return None
    return tuple((name, value if value.__class__ is bytes else value or b"") for name, value in native)


def reserved_value(native: Sequence[tuple[str, bytes | None]] | None, name: str) -> bytes | None:
    """The value of one reserved header, the last one if it repeats: what was added last stands."""
    if native:
        for key, value in reversed(native):
            if key == name:
                return value or b""
    return None


def message_id_of(native: Sequence[tuple[str, bytes | None]] | None) -> str | None:
    """The message id, or None. Bytes that are no UTF-8 are a foreigner's, and read all the same."""
    value = reserved_value(native, reserved.MESSAGE_ID)
    return None if value is None else value.decode(errors="replace")


def timestamp_ms_of(message: Message) -> int:
    """Milliseconds since the epoch, of the header where there is one; 0 where the record has none (message format
    0)."""
    told = reserved_value(message.headers(), reserved.TIMESTAMP_MS)  # type: ignore[arg-type]
    if told is not None and told.lstrip(b"-").isdigit():
        return int(told)
    return max(0, message.timestamp()[1])
