"""Copies: messages that are put somewhere else before they leave where they are. The rule: a copy is confirmed, by the
queue it was for, before anything is taken away; in doubt it is sent again, which may duplicate and never loses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mqbridge.errors import MqbridgeError, Rejected
from mqbridge_rabbitmq import errors, framing, records
from mqbridge_rabbitmq.confirming import Outlet

if TYPE_CHECKING:
    from mqbridge_rabbitmq.wire import Wire

Ended = Callable[["MqbridgeError | None"], None]
WINDOW = 500
MOST_LOSSES = 3
"""So many connections may be lost while a copy is out; then it may be what they were lost for."""


@dataclass(slots=True, eq=False)
class Copy:
    queue: str
    properties: Any
    body: bytes
    ended: Ended
    losses: int = 0


class Courier:
    """Carries copies to queues, by their names. One for a connection; an outlet's owner. Loop thread."""

    what = "a queue that takes copies"
    to_queue = True

    def __init__(self, wire: Wire) -> None:
        self._outlet: Outlet[Copy] = Outlet(wire, WINDOW, self)
        self._attached = False

    def carry(self, queue: str, properties: Any, body: bytes, ended: Ended) -> None:
        """Publish to `queue`; `ended` hears None once it is confirmed, or why it was not stored."""
        if not self._attached:
            self._attached = True
            self._outlet.attach()
        self._outlet.waiting.append(Copy(queue, properties, body, ended))
        self._outlet.wake()

    def close(self) -> None:
        self._outlet.close()

    # --- the outlet's owner

    def marshal(self, item: Copy, sequence: int, channel: int, frame_max: int) -> bytes:
        properties = item.properties
        properties.headers = {**(properties.headers or {}), records.SEQUENCE: sequence}
        header = framing.properties_header(channel, len(item.body), properties)
        if not framing.fits(header, frame_max):
            raise Rejected(
                f"the headers of a copy for queue {item.queue} take {len(header)} bytes, and AMQP carries at most "
                f"{frame_max} (frame_max). It was not sent, and the message stays where it is; settle it without a "
                "text, or raise the broker's frame_max.",
                engine=errors.ENGINE,
            )
        return framing.method(channel, "", item.queue) + header + framing.body(channel, item.body, frame_max)

    def confirmed(self, items: Sequence[Copy]) -> None:
        for item in items:
            item.ended(None)

    def failed(self, items: Sequence[Copy], error: MqbridgeError) -> None:
        for item in items:
            item.ended(error)

    def resends(self, item: Copy) -> bool:
        item.losses += 1
        return item.losses <= MOST_LOSSES

    def body_bytes(self, item: Copy) -> int:
        return len(item.body)

    def check(self, _channel: Any, good: Callable[[], None]) -> None:
        good()  # the default exchange is always there
