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
from functools import partial
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

    def body_bytes(self, item: ItemT_contra) -> int:
        """The size of its body, by which the broker names a message that is too large for it."""

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
        self._resent: set[int] = set()
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
            resent = source is self.again
            item = source.popleft()
            try:
                encoded = marshal(item, self._next, number, frame_max)
            except MqbridgeError as error:
                self._bad.append((item, _maybe_applied(error) if resent else error))
                self._report_soon()
                continue
            except (amqp.AMQPError, ValueError, OverflowError, struct.error) as error:
                text = f"a message for {self._owner.what} cannot be encoded: {error}. It was not sent."
                invalid = errors.caused(errors.invalid(text, "message"), error)
                self._bad.append((item, _maybe_applied(invalid) if resent else invalid))
                self._report_soon()
                continue
            if resent:
                self._resent.add(self._next)
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
        self._stop_reopening()
        self._reporting = False  # a fault on the loop may have taken the turn that was to report
        self._gone()
        self._lose(error)

    def unblocked(self) -> None:
        self.pump()

    def _stop_reopening(self) -> None:
        reopening, self._reopening = self._reopening, None
        if reopening is not None:
            reopening.cancel()

    def _open_channel(self) -> None:
        """One channel at a time: with two, the confirms of one would be taken for the other's."""
        self._stop_reopening()
        connection = self._connection
        if connection is None or not connection.is_open or self._closed or self._channel is not None:
            return
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
        if channel is not self._channel:
            return
        self._checked = False
        self._owner.check(channel, lambda: self._confirm_mode(channel))

    def _confirm_mode(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        self._checked = True
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(partial(self._on_confirm, channel), callback=lambda _frame: self._usable(channel))

    def _usable(self, channel: Any) -> None:
        if channel is self._channel:
            assert not self._out, "what a channel had out ended with it"
            self._open = True
            self._next = self._low = 1
            self.pump()

    def _gone(self) -> None:
        self._open = self._proven = False
        self._channel = None

    # --- what the broker says

    def _on_confirm(self, channel: Any, frame: Any) -> None:
        if channel is not self._channel:
            return
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
            resent = one in self._resent
            if refusal is not None:
                error = self._unroutable(*refusal)
                self._bad.append((item, _maybe_applied(error) if resent else error))
            elif accepted:
                self._good.append(item)
            elif resent:
                self._bad.append((item, _maybe_applied(self._refused())))
            else:
                self._nacked.append(item)
            if resent:
                self._resent.discard(one)
        if tag == self._low:
            self._low += 1
        self._proven = True
        self._report_soon()

    def _on_return(self, channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        if channel is not self._channel:
            return
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
        """A nack is that of one queue. Behind an exchange the others may have the message, and get it twice if it is
        sent again."""
        if not self._owner.to_queue:
            return Rejected(
                f"a queue behind {self._owner.what} refused this message (basic.nack): it is full and rejects what is "
                "sent, or could not store it. Other queues may have it, and would have it twice if it were sent again; "
                "find the full queue, and raise its limit or empty it.",
                engine=errors.ENGINE,
                outcome="unknown",
                retryable=False,
            )
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
            self._sort_out(native, what)
            self._reopen_later()
            return
        # The destination is gone, or may not be looked at: nothing that waits was sent. Who sends next looks again.
        self._wants_wake = True
        self._fail_waiting(errors.channel_error(native, what))

    def _sort_out(self, native: BaseException, what: str) -> None:
        """The broker closed the channel for one of those that are out: the one whose size it names, else nobody knows
        which. That one, or the newest, was not applied; those before it may have been, and those behind it, which the
        broker discarded (AMQP 0-9-1, channel.close), go out on the next channel."""
        out, resent = list(self._out.items()), self._resent
        self._forget_out()
        if not out:
            return
        size = errors.too_large(native)
        sizes = [self._owner.body_bytes(item) for _, item in out]
        last = len(out) - 1 if size not in sizes else sizes.index(size)
        for sequence, item in reversed(out[last + 1 :]):
            (self.again if sequence in resent else self.waiting).appendleft(item)
        lost = self._keep([item for _, item in out[:last]])
        if lost:
            self._owner.failed(lost, errors.sending_error(native, what, "unknown"))
        sequence, item = out[last]
        error = errors.sending_error(native, what, "not_applied")
        self._owner.failed((item,), _maybe_applied(error) if sequence in resent else error)

    def _lose(self, error: MqbridgeError) -> None:
        """The connection broke: what is out may have been applied."""
        self._report_now()
        items = list(self._out.values())
        self._forget_out()
        lost = self._keep(items)
        if lost:
            self._owner.failed(lost, _lost(f"sending to {self._owner.what}: {error}", error.__cause__))

    def _keep(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Of those that may have been applied: what is to be sent again will be, first; the others."""
        lost: list[ItemT] = []
        again: list[ItemT] = []
        for item in items:
            (again if self._owner.resends(item) else lost).append(item)
        self.again.extendleft(reversed(again))
        return lost

    def _forget_out(self) -> None:
        self._out = {}
        self._resent = set()
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
        self._stop_reopening()
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


def _maybe_applied(error: MqbridgeError) -> MqbridgeError:
    """What became of an attempt, for a message that had another one before."""
    text = f"{error} An earlier attempt to send it may have been applied."
    again = type(error)(text, engine=errors.ENGINE, outcome="unknown", retryable=False)
    return errors.caused(again, error.__cause__)


def _lost(text: str, cause: BaseException | None) -> MqbridgeError:
    return errors.caused(ConnectionLost(text, engine=errors.ENGINE, outcome="unknown"), cause)
