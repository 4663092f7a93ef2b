"""A channel in confirm mode with a bounded window: what is out, what was confirmed, returned, refused or lost.

The rules: one publish has one end. A basic.return comes before the confirm of the same message (RabbitMQ, "when will
messages be confirmed"), so a return is remembered and the confirm decides. Until a channel has seen its first confirm
only one message is out: a channel that the broker closes (no such exchange, no permission) closes for a message that is
out, so that with one alone it is certain that it was not applied. Everything here happens on the loop thread, `put` and
`wake` apart.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pika import exceptions as amqp
from pika import spec

from mqbridge.errors import ConnectionLost, MqbridgeError, NotFound, Rejected, Unroutable
from mqbridge_rabbitmq import errors, records
from mqbridge_rabbitmq.loop import Timer
from mqbridge_rabbitmq.wire import AmqpConnection, Wire

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)

TURN_BYTES = 1 << 18
"""Marshalled in one turn of the loop; between turns confirms are read and heartbeats sent."""
UNSENT_BYTES = 1 << 19
"""What may wait in this process for the socket. What is not given to the socket yet can still be kept when it dies."""
REOPEN_S = 0.05


class Owner(Protocol[ItemT_contra]):
    """Whose messages these are. Called on the loop thread."""

    what: str
    """The destination in a sentence, as "queue:emails"."""
    to_queue: bool
    """Sent to a queue by its name: a return means that the queue is gone."""

    def marshal(self, item: ItemT_contra, sequence: int, channel: int, frame_max: int) -> bytes:
        """The frames of one message; raises an mqbridge error for one that cannot be sent."""

    def confirmed(self, items: Sequence[ItemT_contra]) -> None: ...

    def failed(self, items: Sequence[ItemT_contra], error: MqbridgeError) -> None: ...

    def resends(self, item: ItemT_contra) -> bool:
        """Its outcome is unknown: is it to be sent again?"""

    def check(self, channel: Any, good: Callable[[], None]) -> None:
        """Ask on a fresh channel whether the destination is there; `good` when it is, a closed channel when not."""


class Outlet(Generic[ItemT]):
    """One confirmed channel of one wire, opened anew for as long as it is attached."""

    def __init__(self, wire: Wire, window: int, owner: Owner[ItemT]) -> None:
        self.waiting: deque[ItemT] = deque()
        """Taken and not sent. Any thread may append; whoever does calls `wake`."""
        self.again: deque[ItemT] = deque()
        """Sent before on a connection that was lost, to be sent again first: they may have been applied already."""
        self._wire = wire
        self._window = window
        self._owner = owner
        self._connection: AmqpConnection | None = None
        self._channel: Any = None
        self._open = False
        self._proven = False
        self._checked = False
        self._closed = False
        self._next = 1
        self._low = 1
        self._out: dict[int, ItemT] = {}
        self._returned: dict[int, tuple[int, str]] = {}
        self._good: list[ItemT] = []
        self._nacked: list[ItemT] = []
        self._bad: list[tuple[ItemT, MqbridgeError]] = []
        self._reporting = False
        self._wants_wake = True
        self._reopening: Timer | None = None

    # --- any thread

    def wake(self) -> None:
        """Something was appended to `waiting`."""
        if self._wants_wake:
            self._wants_wake = False
            self._wire.loop.call(self.pump)

    # --- sending

    @property
    def outstanding(self) -> int:
        return len(self._out)

    def pump(self) -> None:
        """Send what waits, as far as the window and the socket let it."""
        if not self._ready():
            return  # what makes it ready pumps again: up, the next channel, unblocked, a confirm
        connection, channel = self._connection, self._channel
        assert connection is not None, "an open channel has a connection"
        window = self._window if self._proven else 1
        out, marshal = self._out, self._owner.marshal
        number, frame_max = channel.channel_number, connection.params.frame_max
        frames: list[bytes] = []
        size = 0
        while (source := self.again or self.waiting) and len(out) < window and size < TURN_BYTES:
            item = source.popleft()
            try:
                encoded = marshal(item, self._next, number, frame_max)
            except MqbridgeError as error:
                self._bad.append((item, error))
                self._report_soon()
                continue
            except (amqp.AMQPError, ValueError, OverflowError, struct.error) as error:
                text = f"a message for {self._owner.what} cannot be encoded: {error}. It was not sent."
                self._bad.append((item, errors.caused(errors.invalid(text, "message"), error)))
                self._report_soon()
                continue
            out[self._next] = item
            self._next += 1
            frames.append(encoded)
            size += len(encoded)
        if frames:
            connection.emit(b"".join(frames))
        if len(out) >= window:
            return
        if self.waiting:
            self._wire.loop.call(self.pump)
            return
        self._wants_wake = True
        if self.waiting:  # appended between the look and the flag
            self.wake()

    def _ready(self) -> bool:
        connection = self._connection
        if self._closed:
            self._fail_waiting(errors.no_connection(f"sending to {self._owner.what}"))
            self._wants_wake = True
            return False
        if connection is None or not connection.is_open or self._wire.blocked:
            return False
        if not self._open:
            if self._channel is None and self._reopening is None:
                self._open_channel()
            return False
        return not (self._out and connection.unsent_bytes > UNSENT_BYTES)

    # --- the wire's tenant

    def attach(self) -> None:
        self._wire.attach(self)

    def up(self, connection: AmqpConnection) -> None:
        self._connection = connection
        self._open_channel()

    def down(self, error: MqbridgeError) -> None:
        self._connection = None
        self._gone()
        self._lose(error)

    def unblocked(self) -> None:
        self.pump()

    def _open_channel(self) -> None:
        self._reopening = None
        connection = self._connection
        if connection is None or not connection.is_open or self._closed:
            return
        self._gone()
        try:
            self._channel = connection.channel(on_open_callback=self._opened)
        except amqp.AMQPError:
            self._reopen_later()  # no channel number is free
            return
        self._channel.add_on_close_callback(self._channel_closed)

    def _reopen_later(self) -> None:
        if self._reopening is None and not self._closed:
            self._reopening = self._wire.loop.later(REOPEN_S, self._open_channel)

    def _opened(self, channel: Any) -> None:
        self._checked = False
        self._owner.check(channel, lambda: self._confirm_mode(channel))

    def _confirm_mode(self, channel: Any) -> None:
        self._checked = True
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _frame: self._usable(channel))

    def _usable(self, channel: Any) -> None:
        if channel is self._channel:
            self._open = True
            self._next = self._low = 1
            self.pump()

    def _gone(self) -> None:
        self._open = self._proven = False
        self._channel = None

    # --- what the broker says

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        accepted = isinstance(method, spec.Basic.Ack)
        out = self._out
        if method.multiple:
            tags: Sequence[int] = [one for one in range(self._low, tag + 1) if one in out]
            self._low = tag + 1
        else:
            tags = (tag,)
        for one in tags:
            item = out.pop(one, None)
            if item is None:
                continue
            refusal = self._returned.pop(one, None) if self._returned else None
            if refusal is not None:
                self._bad.append((item, self._unroutable(*refusal)))
            elif accepted:
                self._good.append(item)
            else:
                self._nacked.append(item)
        if tag == self._low:
            self._low += 1
        self._proven = True
        self._report_soon()

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        sequence = (properties.headers or {}).get(records.SEQUENCE)
        if sequence in self._out:
            self._returned[sequence] = (method.reply_code, method.reply_text)

    def _unroutable(self, code: int, text: str) -> MqbridgeError:
        what = self._owner.what
        if self._owner.to_queue:
            return NotFound(
                f"{what} is not there any more ({code} {text}). This message was not stored. Make it with "
                "admin.ensure().",
                engine=errors.ENGINE,
            )
        return Unroutable(
            f"no binding of {what} matched ({code} {text}), so no queue has this message. Bind a queue, or check the "
            "routing key.",
            engine=errors.ENGINE,
        )

    def _refused(self) -> MqbridgeError:
        return Rejected(
            f"{self._owner.what} refused this message (basic.nack): a queue is full and rejects what is sent, or could "
            "not store it. It is not stored by that queue; slow down, or raise the limit.",
            engine=errors.ENGINE,
            retryable=True,
        )

    def _report_soon(self) -> None:
        if not self._reporting:
            self._reporting = True
            self._wire.loop.soon(self._report)

    def _report(self) -> None:
        """Once for all that one read of the socket brought."""
        self._reporting = False
        self._report_now()
        self.pump()

    def _report_now(self) -> None:
        good, self._good = self._good, []
        nacked, self._nacked = self._nacked, []
        bad, self._bad = self._bad, []
        if good:
            self._owner.confirmed(good)
        if nacked:
            self._owner.failed(nacked, self._refused())
        for item, error in bad:
            self._owner.failed((item,), error)

    # --- endings

    def _channel_closed(self, channel: Any, native: BaseException) -> None:
        if channel is not self._channel or self._closed:
            return
        checked = self._checked
        self._gone()
        connection = self._connection
        if connection is None or not connection.is_open:
            return  # `down` follows, and knows why
        what = f"sending to {self._owner.what}"
        if checked:
            self._report_now()
            self._fail_out(native, what)
            self._reopen_later()
            return
        # The destination is gone, or may not be looked at: nothing that waits was sent. Who sends next looks again.
        self._wants_wake = True
        self._fail_waiting(errors.channel_error(native, what))

    def _fail_out(self, native: BaseException, what: str) -> None:
        """The broker closed the channel for one of those that are out; the newest was not applied in any case."""
        items = list(self._out.values())
        self._forget_out()
        if items:
            if len(items) > 1:
                self._owner.failed(items[:-1], errors.channel_error(native, what, "unknown"))
            self._owner.failed(items[-1:], errors.channel_error(native, what, "not_applied"))

    def _lose(self, error: MqbridgeError) -> None:
        """The connection broke: what is out may have been applied."""
        self._report_now()
        lost: list[ItemT] = []
        again: list[ItemT] = []
        for item in self._out.values():
            (again if self._owner.resends(item) else lost).append(item)
        self._forget_out()
        self.again.extendleft(reversed(again))
        if lost:
            self._owner.failed(lost, _lost(f"sending to {self._owner.what}: {error}", error.__cause__))

    def _forget_out(self) -> None:
        self._out = {}
        self._returned.clear()

    def _fail_waiting(self, error: MqbridgeError) -> None:
        self.fail(self.drain(self.again), self.drain(self.waiting), error)

    @staticmethod
    def drain(source: deque[ItemT], stop: Callable[[ItemT], bool] = lambda _item: False) -> list[ItemT]:
        """Take items from the head, up to the first at which `stop` says so."""
        items: list[ItemT] = []
        while source and not stop(source[0]):
            items.append(source.popleft())
        return items

    def fail(self, again: Sequence[ItemT], waiting: Sequence[ItemT], error: MqbridgeError) -> None:
        """Items that wait no more: of those that were out once the outcome is unknown."""
        if again:
            self._owner.failed(again, _lost(f"{error} An earlier attempt to send it may have been applied.", error))
        if waiting:
            self._owner.failed(waiting, error)

    def close(self) -> None:
        """Fail what is left, and let go."""
        if self._closed:
            return
        self._wire.detach(self)
        self._report_now()
        self._closed = True
        if self._reopening is not None:
            self._reopening.cancel()
        items = list(self._out.values())
        self._forget_out()
        if items:
            text = f"sending to {self._owner.what}: closed before the broker confirmed it. It may have been applied."
            self._owner.failed(items, _lost(text, None))
        self._fail_waiting(errors.no_connection(f"sending to {self._owner.what}"))
        channel = self._channel
        self._gone()
        if channel is not None and channel.is_open:
            channel.close()


def _lost(text: str, cause: BaseException | None) -> MqbridgeError:
    return errors.caused(ConnectionLost(text, engine=errors.ENGINE, outcome="unknown"), cause)
