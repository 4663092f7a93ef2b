"""What sending to a queue and to an exchange have in common. The rule of this room: no client, no state."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mqbridge import spi
from mqbridge.errors import NotFound, Rejected
from mqbridge.messages import RawHeaders
from mqbridge.semantics import reserved
from mqbridge.topology import Destination
from mqbridge_kafka.errors import ENGINE
from mqbridge_kafka.records import NativeHeaders, encode_headers


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def headers_for_queue(
    headers: RawHeaders | None,
    timestamp_ms: int | None,
    message_id: str | None,
    extras: spi.Extras | None,
    wall_ms: int,
) -> NativeHeaders:
    """The record's headers. Where the sender gives a timestamp, the time it came into the queue is told beside it."""
    extra: list[tuple[str, bytes]] = []
    if extras is not None:
        if extras.routing_key is not None:
            extra.append((reserved.ROUTING_KEY, extras.routing_key.encode()))
        if extras.expires_in_ms is not None:
            extra.append((reserved.EXPIRES_MS, b"%d" % extras.expires_in_ms))
    if timestamp_ms is not None:
        extra.append((reserved.ENQUEUED_MS, b"%d" % wall_ms))
    return encode_headers(headers, message_id, timestamp_ms, extra) or []


def report_confirmed(sequences: Sequence[int], reports: spi.Reports) -> None:
    """Report confirmed sends; where in its topic a queue's message lies is nobody's business."""
    low = 0
    while low < len(sequences):
        high = low + 1
        while high < len(sequences) and sequences[high] == sequences[high - 1] + 1:
            high += 1
        reports.confirmed(sequences[low], high - low, None, None)
        low = high


def too_large(destination: Destination) -> Rejected:
    """With nothing in the buffer, this message alone is too large for it."""
    return Rejected(
        f"a message for {destination} is larger than the producer's whole buffer. Nothing was sent; raise "
        "max_in_flight_bytes.",
        engine=ENGINE,
    )


def not_there(destination: Destination) -> NotFound:
    """A queue or an exchange that nobody ensured."""
    return NotFound(
        f"{destination} does not exist. Nothing was applied. Make it with admin.ensure(); sending and consuming never "
        "create one.",
        engine=ENGINE,
    )
