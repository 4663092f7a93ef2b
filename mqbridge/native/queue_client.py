"""A consumer of a queue on the native broker. The rule: messages are taken when the application asks, never pushed
ahead of it, so that competing consumers share by speed; the broker keeps the prefetch bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.errors import LeaseLost, MqbridgeError, NotFound, Rejected
from mqbridge.native.blocks import QueueBlock
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.spi import (
    Block,
    Completion,
    Disconnected,
    Event,
    Fatal,
    QueueSubscriptionSpec,
    Reconnected,
    SettleFailed,
    SettleVerb,
)

if TYPE_CHECKING:
    from mqbridge.native.engine import NativeConnection

T = TypeVar("T")
Reply = dict[str, Any]
_UNDEAD: dict[str, tuple[type[MqbridgeError], str]] = {
    "not_found": (NotFound, "does not exist; make it with admin.ensure()"),
    "rejected": (Rejected, "did not take them"),
}
"""Why a letter was not written, by the code that the broker gives for a verb."""


class QueueClient:
    """The SPI's QueueSubscription."""

    def __init__(self, connection: NativeConnection, spec: QueueSubscriptionSpec, ready: Callable[[], None]) -> None:
        self._connection = connection
        self._session = connection.session
        self._spec = spec
        self._ready = ready
        self._events: deque[Event] = deque()
        self._blocks: deque[QueueBlock] = deque()
        self._consumer: int | None = None
        self._asked = False
        self._watching = False
        self._closed = False
        self._beginning = False
        # Tags are numbers of one consumer at one host: until the loss of it was read, neither is a message of the next
        # one handed out nor is a tag of the old one sent there.
        self._stale = False
        self._handing = threading.Lock()
        connection.queue_clients.append(self)
        self._consume()

    def _consume(self) -> None:
        if self._closed or self._beginning or self._consumer is not None:
            return
        self._beginning = True
        args = {"queue": self._spec.queue.name, "prefetch": self._spec.prefetch, "priority": self._spec.priority}
        self._session.call("consume", args, (), self._consuming)

    def _consuming(self, reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
        self._beginning = False
        if error is not None or reply is None:
            if error is not None and not self._connection.ask_again(error, self._consume):
                self._say(Fatal(error))
            return
        self._consumer = reply["consumer"]
        self._asked = self._watching = False
        self._connection.consumers[reply["consumer"]] = self
        self._ready()

    def note(self, note: Reply) -> None:
        if note["note"] == "messages":
            self._watching = False
            self._ready()
        elif note["note"] == "cancelled":
            reason = str(note.get("reason", "it was deleted"))
            self._disconnect(reason)
            self._say(
                Fatal(
                    NotFound(
                        f"{self._spec.queue} is gone ({reason}), and its messages with it; nothing more can be "
                        "taken from "
                        "it. Make it with admin.ensure() and consume anew.",
                        engine="native",
                    )
                )
            )

    def lost(self) -> None:
        self._disconnect("the host of the folder is gone")

    def failed(self, error: MqbridgeError) -> None:
        """There will be no host any more."""
        self._say(Fatal(error))

    def _disconnect(self, reason: str) -> None:
        with self._handing:
            self._forget()
            self._stale = True
            self._events.append(Disconnected(reason))
        self._ready()

    def _forget(self) -> None:
        if self._consumer is not None:
            self._connection.consumers.pop(self._consumer, None)
        self._consumer = None
        self._blocks.clear()

    def restored(self) -> None:
        if not self._closed:
            self._say(Reconnected())
            self._consume()

    # --- the SPI

    def _say(self, event: Event) -> None:
        self._events.append(event)
        self._ready()

    def events(self) -> list[Event]:
        events: list[Event] = []
        with self._handing:
            while self._events:
                events.append(self._events.popleft())
            self._stale = False
        return events

    def take(self, max_records: int) -> Block | None:
        if max_records <= 0:
            return None  # a sign of life only, which a queue does not need
        if not self._stale and not self._blocks and not self._asked and not self._watching:
            self._ask(max_records)
        with self._handing:
            if self._blocks and not self._stale:
                return self._blocks.popleft()
        if self._stale:
            self._ready()
        return None

    def _ask(self, max_records: int) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        self._asked = True
        args = {"consumer": consumer, "max": min(max_records, self._spec.prefetch), "settle": [], "watch": True}
        self._session.call("take", args, (), lambda *answer: self._taken(consumer, *answer))

    def _taken(
        self, consumer: int, reply: Reply | None, batches: list[RecordBatch], error: MqbridgeError | None
    ) -> None:
        if consumer != self._consumer:
            return
        self._asked = False
        if error is not None or reply is None:
            if error is not None and not self._connection.ask_again(error, self._ready):
                self._say(Fatal(error))
            return
        if not batches:
            self._watching = True
            return
        block = QueueBlock(self._spec.queue, reply["tags"], reply["attempts"], reply["redelivered"], batches[0])
        if not self._spec.before:
            self._blocks.append(block)
            self._ready()
            return

        def settled(refused: tuple[int, ...] | None, failure: MqbridgeError | None) -> None:
            # At most once: only what is settled for certain is shown.
            if failure is None and not refused:
                self._blocks.append(block)
                self._ready()

        self.settle([SettleVerb("ack", reply["tags"])], settled)

    def settle(self, verbs: Sequence[SettleVerb], done: Completion[tuple[int, ...]]) -> None:
        consumer = self._consumer
        if consumer is None or self._stale:
            done(tuple(token for verb in verbs for token in verb.tokens), None)
            return

        def answered(reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
            if error is not None or reply is None:
                done(None, error)
                return
            self._settled(consumer, reply["settled_errors"], done)
            if self._watching:
                self._watching = False  # the window may be open again
                self._ready()

        settle: list[list[Any]] = []
        for verb, tokens, delay_s, text in verbs:
            rest: tuple[Any, ...] = ()
            if verb == "release":
                rest = (delay_s,)
            elif verb == "retry":
                rest = (delay_s, text)
            elif verb == "reject":
                rest = (text or "",)
            settle.extend([verb, token, *rest] for token in tokens)
        args = {"consumer": consumer, "max": 0, "settle": settle, "watch": False}
        self._session.call("take", args, (), answered)

    def _settled(self, consumer: int, refused: Sequence[tuple[int, str]], done: Completion[tuple[int, ...]]) -> None:
        """What could not be dead-lettered the broker still holds for this consumer, which knows of it no more: it is
        given back, and comes again. The call fails as unknown, for the rest of it was applied."""
        undead = [(tag, code) for tag, code in refused if code in _UNDEAD]
        lost = tuple(tag for tag, code in refused if code not in _UNDEAD)
        if not undead:
            done(lost, None)
            return
        queue = self._spec.queue
        back = [["release", tag, 0.0] for tag, _ in undead]
        args = {"consumer": consumer, "max": 0, "settle": back, "watch": False}
        self._session.call("take", args, (), lambda _reply, _batches, _error: None)
        if lost:
            self._say(SettleFailed(lost, LeaseLost(f"{len(lost)} deliveries of {queue} were settled too late")))
        kind, why = _UNDEAD[undead[0][1]]
        done(
            None,
            kind(
                f"{len(undead)} messages of {queue} could not be dead-lettered: their dead-letter queue {why}. They "
                "stay in their queue, uncounted, and come again.",
                outcome="unknown",
                engine="native",
                tokens=tuple(tag for tag, _ in undead),
            ),
        )

    def close(self, done: Completion[None]) -> None:
        self._closed = True
        if self in self._connection.queue_clients:
            self._connection.queue_clients.remove(self)
        consumer = self._consumer
        self._forget()
        if consumer is None:
            done(None, None)
            return
        # What prevents the answer has given the messages back just as well.
        self._session.call("cancel", {"consumer": consumer}, (), lambda _reply, _batches, _error: done(None, None))

    def call(self, kind: type[T], fn: Callable[[T], Any], done: Completion[Any]) -> None:
        self._connection.call(kind, fn, done)
