"""Messages as AMQP carries them. The rule: what AMQP has a field for goes there, the rest into ``mqbridge-*`` headers,
and a message of a foreign producer decodes all the same.

Fields: body, message-id, priority, expiration, delivery-mode (always 2, persistent), timestamp (whole seconds; the
milliseconds are in a header). Headers: key, null value, milliseconds, and all pairs in one where a name repeats, which
an AMQP table cannot hold. What the broker adds (``x-death``, ``x-delivery-count`` ...) is read, and never shown.
"""

from __future__ import annotations

import datetime as _dt
import json
import struct
import time
from collections.abc import Mapping
from typing import Any, Final

import pika

from mqbridge.messages import RawHeaders
from mqbridge.semantics import reserved

KEY: Final = "mqbridge-key"
NULL: Final = "mqbridge-null"
TIMESTAMP_MS: Final = "mqbridge-timestamp-ms"
PAIRS: Final = "mqbridge-headers"
"""All of the sender's headers, in order: length and bytes of name, length and bytes of value, and so on. Then the table
holds the last value of each name too, for bindings and for foreign consumers; but no name that AMQP or the broker keeps
for itself."""
SEQUENCE: Final = "mqbridge-n"
"""The publisher's own number of the message on its channel, so that a basic.return can be told from another."""

OWN: Final = frozenset({KEY, NULL, TIMESTAMP_MS, PAIRS, SEQUENCE})
"""Of this adapter; all other ``mqbridge-*`` headers belong to every engine and are passed on."""

BROKERS: Final = frozenset(
    {
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
        "x-delivery-count",
        "x-acquired-count",
        "x-stream-offset",
    }
)
"""What the broker writes into the headers of a delivery."""

ROUTES: Final = frozenset({"CC", "BCC"})
"""What the broker takes for further routing keys (sender-selected distribution), and closes the channel over when it is
no array of strings."""

REASONS: Final = {
    "rejected": "rejected",
    "expired": "expired",
    "maxlen": "max-length",
    "delivery_limit": "max-attempts",
}
MAX_DEATH_TEXT_BYTES: Final = 4096
MAX_SHORT: Final = 255
"""AMQP 0-9-1, 4.2.5.3: a short string, such as a header's name or a message id, has at most 255 bytes."""
_LENGTH: Final = struct.Struct(">I")


# --- out


def table(
    key: bytes | None,
    is_null: bool,
    headers: RawHeaders | None,
    timestamp_ms: int,
    message_id: str | None,
    routing_key: str | None = None,
) -> dict[str, Any]:
    """The header table of one message. `routing_key` is given for messages to an exchange, so that it is still known
    after a dead-lettering has replaced the one on the envelope."""
    result: dict[str, Any] = {}
    if headers:
        result = {name: value for name, value in headers if _may_stand(name)}
        if len(result) != len(headers):
            result[PAIRS] = _pack(headers)
    result[TIMESTAMP_MS] = timestamp_ms
    if key is not None:
        result[KEY] = key
    if is_null:
        result[NULL] = True
    if message_id is not None and len(message_id.encode()) > MAX_SHORT:
        result[reserved.MESSAGE_ID] = message_id.encode()
    if routing_key is not None:
        result[reserved.ROUTING_KEY] = routing_key.encode()
    return result


def properties(
    headers: Mapping[str, Any],
    timestamp_ms: int,
    message_id: str | None,
    *,
    priority: int | None = None,
    expires_in_ms: int | None = None,
) -> Any:
    """pika's properties. Without a priority it is 0, as on the other engines: a quorum queue would take none for 4."""
    short = message_id is not None and len(message_id.encode()) <= MAX_SHORT
    return pika.BasicProperties(
        headers=dict(headers),
        delivery_mode=2,
        priority=0 if priority is None else min(priority, 255),
        message_id=message_id if short else None,
        expiration=None if expires_in_ms is None else str(expires_in_ms),
        timestamp=max(0, timestamp_ms // 1000),
    )


def _may_stand(name: str) -> bool:
    """Can a header of the sender's stand in the table under its own name?"""
    return len(name.encode()) <= MAX_SHORT and name not in ROUTES and name not in BROKERS


def _pack(pairs: RawHeaders) -> bytes:
    pieces: list[bytes] = []
    for name, value in pairs:
        for item in (name.encode(), value):
            pieces += (_LENGTH.pack(len(item)), item)
    return b"".join(pieces)


def _unpack(packed: bytes) -> RawHeaders:
    items: list[bytes] = []
    at = 0
    while at < len(packed):
        (size,) = _LENGTH.unpack_from(packed, at)
        items.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return tuple((items[i].decode(), items[i + 1]) for i in range(0, len(items) - 1, 2))


# --- in


def value_of(properties: Any, body: bytes) -> bytes | None:
    headers = properties.headers
    return None if not body and headers and NULL in headers else body


def key_of(properties: Any) -> bytes | None:
    headers = properties.headers
    return _bytes(headers[KEY]) if headers and KEY in headers else None


def message_id_of(properties: Any) -> str | None:
    headers = properties.headers
    if headers and reserved.MESSAGE_ID in headers:
        return _bytes(headers[reserved.MESSAGE_ID]).decode(errors="replace")
    identity = properties.message_id
    return None if identity is None else identity if isinstance(identity, str) else identity.decode(errors="replace")


def timestamp_ms_of(properties: Any, arrived_ms: int | None = None) -> int:
    """Milliseconds; of a message whose producer gave no time, when it arrived here."""
    headers = properties.headers
    if headers:
        at_ms = headers.get(TIMESTAMP_MS)
        if isinstance(at_ms, int):
            return int(at_ms)
    if properties.timestamp is not None:
        return int(properties.timestamp) * 1000
    return now_ms() if arrived_ms is None else arrived_ms


def attempt_of(properties: Any, redelivered: bool) -> int:
    """1 for the first delivery. Quorum queues count (``x-delivery-count``); a classic queue only tells a first delivery
    from a later one. The count of the queue in which a message died comes along, so a first delivery is 1 whatever it
    says."""
    headers = properties.headers or {}
    if not redelivered:
        return 1
    count = headers.get("x-delivery-count")
    if not isinstance(count, int):
        # Returned without a count, or of a classic queue, which tells by the missing x-acquired-count.
        return 1 if "x-acquired-count" in headers else 2
    if "x-death" in headers:
        # What it was handed out here bounds what it was tried here.
        return min(int(count), int(headers.get("x-acquired-count", count))) + 1
    return int(count) + 1


def pairs_of(properties: Any, exchange: str = "", routing_key: str = "") -> RawHeaders | None:
    """The sender's headers and the library's own that every engine passes on, dead-letter facts included."""
    headers = properties.headers
    if not headers:
        return ((reserved.ROUTING_KEY, routing_key.encode()),) if exchange else None
    packed = headers.get(PAIRS)
    pairs: list[tuple[str, bytes]] = []
    if packed is not None:  # a stream gives back text where the bytes happen to be UTF-8
        pairs.extend(_unpack(_bytes(packed)))
    died = "x-death" in headers
    for name, value in headers.items():
        text = name if isinstance(name, str) else name.decode(errors="replace")
        if text in OWN or text in BROKERS:
            continue
        if not text.startswith(reserved.PREFIX):
            if packed is None:
                pairs.append((text, _bytes(value)))
        elif not (died and text in reserved.DEATH):
            pairs.append((text, _bytes(value)))
    if exchange and not died and reserved.ROUTING_KEY not in headers:
        pairs.append((reserved.ROUTING_KEY, routing_key.encode()))
    if died:
        pairs.extend(death_of(headers))
    return tuple(pairs)


def death_of(headers: Mapping[str, Any]) -> RawHeaders:
    """The broker's ``x-death`` as the library's dead-letter facts. Its first entry is the newest; what a consumer wrote
    about an earlier death, in a queue before, is older than it."""
    deaths = headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return ()
    newest = deaths[0]
    reason = str(newest.get("reason", ""))
    at = newest.get("time")
    # The count of attempts at the death; absent if it was never handed out.
    count = headers.get("x-delivery-count")
    attempts = int(count) if isinstance(count, int) else (1 if reason == "rejected" else 0)
    pairs = [
        (reserved.DEATH_REASON, REASONS.get(reason, reason).encode()),
        (reserved.DEATH_QUEUE, str(newest.get("queue", "")).encode()),
        (reserved.DEATH_ATTEMPTS, str(attempts).encode()),
    ]
    if isinstance(at, _dt.datetime):
        pairs.append((reserved.DEATH_AT_MS, str(int(at.timestamp() * 1000)).encode()))
    return tuple(pairs)


def death_table(reason: str, origin: str, attempts: int, at_ms: int, text: str | None) -> dict[str, Any]:
    """Dead-letter facts for the header table of a copy. Of `text` the first 4 KiB (`MAX_DEATH_TEXT_BYTES`) are kept:
    all headers of a message share one frame."""
    facts: dict[str, Any] = {
        reserved.DEATH_REASON: reason.encode(),
        reserved.DEATH_QUEUE: origin.encode(),
        reserved.DEATH_ATTEMPTS: str(attempts).encode(),
        reserved.DEATH_AT_MS: str(at_ms).encode(),
    }
    if text is not None:
        cut = text.encode(errors="backslashreplace")[:MAX_DEATH_TEXT_BYTES]
        facts[reserved.DEATH_ERROR] = cut.decode(errors="ignore").encode()
    return facts


def copied(properties: Any, facts: Mapping[str, Any]) -> Any:
    """The properties of a copy of a message: all of the sender's, none of the broker's or of earlier deaths, and
    `facts`. A copy does not expire: it was dead-lettered, or it is to live anew. Nor does it go again to the queues of
    CC and BCC, which have the message: it is for one queue."""
    headers = {
        name: value
        for name, value in (properties.headers or {}).items()
        if name not in BROKERS and name not in ROUTES and name not in reserved.DEATH and name != SEQUENCE
    }
    headers.update(facts)
    return pika.BasicProperties(
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=headers,
        delivery_mode=2,
        priority=properties.priority,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        type=properties.type,
        app_id=properties.app_id,
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _bytes(value: Any) -> bytes:
    """A header's value as bytes: of the types that other producers use, their text."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if value is None:
        return b""
    if isinstance(value, int):
        return b"%d" % value  # pika's long shows itself with an L
    if isinstance(value, _dt.datetime):
        return value.isoformat().encode()
    if isinstance(value, list | dict):
        return json.dumps(value, default=str).encode()
    return str(value).encode()
