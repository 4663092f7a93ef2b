"""Headers and times, to and from Kafka's records.

The rule of this room: a foreign producer's record reads like one of ours, and what a record has no field for travels in
the reserved headers (mqbridge.semantics.reserved). Kafka keeps names that repeat, and their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from mqbridge.messages import RawHeaders
from mqbridge.semantics import reserved

NativeHeaders: TypeAlias = "list[tuple[str, bytes | None]]"

MAX_TIMESTAMP_MS: Final = (1 << 63) - 1


def encode_headers(
    headers: RawHeaders | None, message_id: str | None = None, extra: Sequence[tuple[str, bytes]] = ()
) -> NativeHeaders | None:
    """The headers of a record: the user's, the message id, and whatever `extra` the caller adds; None if none."""
    if headers is None and message_id is None and not extra:
        return None
    pairs: NativeHeaders = list(headers or ())
    if message_id is not None:
        pairs.append((reserved.MESSAGE_ID, message_id.encode()))
    pairs.extend(extra)
    return pairs


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


def timestamp_ms_of(timestamp: tuple[int, int]) -> int:
    """Milliseconds since the epoch; 0 where the record has none (message format 0)."""
    return max(0, timestamp[1])
