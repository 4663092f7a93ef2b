"""Consuming a queue: tokens, settled one by one.

The rule of this room: a verb is a local mark, and the engine is told in batches: at each poll, at intervals, on commit
and on close. What is out and not settled when the connection breaks is not ours any more.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.capabilities import Capability as Cap
from mqbridge.consumer import AckMode, BaseConsumer, check_delay, raise_first
from mqbridge.errors import ConfigurationError, LeaseLost, MqbridgeError, OperationTimeout
from mqbridge.ledger import DONE, Page
from mqbridge.messages import Delivery
from mqbridge.spi import (
    Disconnected,
    Fatal,
    QueueDescription,
    QueueSubscription,
    QueueSubscriptionSpec,
    Reconnected,
    SettleFailed,
    SettleVerb,
)
from mqbridge.topology import Queue
from mqbridge.waiting import Deadline, Turnstile, wait

if TYPE_CHECKING:
    from mqbridge.bus import Bus
    from mqbridge.semantics.backoff import RetryPolicy

T = TypeVar("T")
log = logging.getLogger("mqbridge.consumer")

__all__ = ["QueueConsumer"]

FULL_WINDOW_S = 0.005
"""How long a poll with a full prefetch window waits before it looks again for marks that other threads made."""


class _QueuePage(Page):
    """A page that remembers which marks the engine has been told."""

    __slots__ = ("told",)

    def __init__(self, block: Any, owner: Any, codec: Any) -> None:
        super().__init__(block, owner, codec)
        self.told = bytearray(block.count)


class QueueConsumer(BaseConsumer[T]):
    """A competing consumer of one queue; made by `Bus.consumer`.

    At most `prefetch` deliveries are out and not settled. A delivery of this consumer is given to another when this one
    closes (not counted as an attempt) or dies (counted).
    """

    def __init__(
        self, bus: Bus, queue: Queue[T], *, prefetch: int, ack: AckMode, priority: int, settle_interval_s: float
    ) -> None:
        super().__init__(bus, ack, settle_interval_s)
        self.queue = queue
        self._prefetch = prefetch
        described: QueueDescription = wait(
            partial(bus._connection.admin.describe_queue, queue),
            bus._operation_timeout_s,
            f"looking at {queue}",
            "not_applied",
        )
        self._dead_letters = described.queue.dead_letter is not None
        self._max_attempts = described.queue.max_attempts
        self._has_backoff = described.queue.retry_backoff is not None
        self._codec = None if queue.codec.name == "bytes" else queue.codec
        self._pages: deque[_QueuePage] = deque()
        self._verbs: list[SettleVerb] = []
        self._again: deque[list[SettleVerb]] = deque()
        self._failed: MqbridgeError | None = None
        self._settling = threading.Lock()
        self._turnstile = Turnstile()
        self._submitted = 0
        self._answered = 0
        self._subscription: QueueSubscription = bus._connection.subscribe_queue(
            QueueSubscriptionSpec(queue, prefetch, priority, before=ack == "before"), self._ready.set
        )
        bus._guard.on_fork(self._forget)
        self._start()

    def _forget(self) -> None:
        """In a forked child: what is out is the parent's. No lock, for its holder may be a thread that is not here."""
        for page in list(self._pages):
            page.lose("this process was forked from the one that consumes")

    # --- polling

    def _handle_events(self) -> None:
        for event in self._subscription.events():
            match event:
                case Disconnected(reason):
                    self._lose(f"the connection was lost ({reason}), and its deliveries with it")
                case SettleFailed(_, error):
                    self._late.append(error)
                case Fatal(error):
                    self._fatal = error
                case Reconnected():
                    log.info("consuming %s again", self.queue)
                case _:
                    log.debug("event %r", event)

    def _fetch(self, max_messages: int) -> list[Delivery[T]]:
        self._settle_now()
        block = self._subscription.take(max_messages)
        if block is None:
            return []
        page = _QueuePage(block, self, self._codec)
        page.shown = block.count
        deliveries = block.deliveries(0, block.count, page)
        if self._ack == "before":
            # The engine settled them when it handed them out: at most once.
            page.marks[:] = bytes((DONE,)) * block.count
        else:
            with self._settling:  # the settling thread walks the pages
                self._pages.append(page)
        if self._bus._hooks.received is not None:
            self._bus._hooks.received(destination=self.queue, partition=None, count=block.count)
        if len(deliveries) > max_messages:
            return list(islice(self._hand(deliveries), max_messages))
        return deliveries

    def _next_due_s(self) -> float | None:
        """An idle poll settles what other threads have marked; soon, if that is what a full prefetch window waits
        for."""
        if not self._pages:
            return None
        out = sum(page.told.count(0) for page in self._pages)
        return FULL_WINDOW_S if out >= self._prefetch else self._settle_interval_s

    def _lose(self, reason: str) -> None:
        with self._settling:
            untold = self._collect()
            while self._pages:
                self._pages.popleft().lose(reason)
            if untold:
                self._late.append(self._too_late([token for verb in untold for token in verb.tokens], reason))
        if self._ack != "before":  # what is settled before it is shown is ours to show, whatever becomes of the lease
            self._withdraw(lambda _delivery: True)

    def _too_late(self, tokens: Sequence[int], reason: str) -> LeaseLost:
        return LeaseLost(
            f"{len(tokens)} deliveries of {self.queue} were settled too late: {reason}. Their settlement was not "
            "applied.",
            tokens=tuple(tokens),
            engine=self._bus.engine,
        )

    # --- verbs (ledger.Owner)

    def _take(self, delivery: Delivery[Any], verb: SettleVerb) -> None:
        page, index = delivery._page, delivery._index
        self._bus._guard.check()
        with self._settling:
            page.take(index, DONE)
            page.told[index] = 1  # type: ignore[attr-defined]
            self._verbs.append(verb)

    def _release(self, delivery: Delivery[Any], delay_s: float) -> None:
        check_delay(delay_s)
        if delay_s:
            self._bus.capabilities.need(Cap.DELAYED_RETRY, "release(delay_s=...)")
        self._take(delivery, SettleVerb("release", (delivery._block.offset(delivery._index),), delay_s))

    def _retry(self, delivery: Delivery[Any], delay_s: float, error: BaseException | str | None) -> None:
        check_delay(delay_s)
        if delay_s:
            self._bus.capabilities.need(Cap.DELAYED_RETRY, "retry(delay_s=...)")
        text = None if error is None else _text(error)
        self._take(delivery, SettleVerb("retry", (delivery._block.offset(delivery._index),), delay_s, text))

    def _reject(self, delivery: Delivery[Any], reason: str) -> None:
        if not self._dead_letters:
            raise ConfigurationError(
                f"{self.queue} has no dead-letter queue, so reject() would drop the message. Nothing was "
                "settled; give the "
                "queue a dead_letter, or ack() what may be dropped."
            )
        self._take(delivery, SettleVerb("reject", (delivery._block.offset(delivery._index),), 0.0, reason))

    # --- settling

    def _collect(self) -> list[SettleVerb]:
        """What was marked since the last time, as verbs. Under the settling lock."""
        verbs: list[SettleVerb] = []
        while self._again:
            verbs += self._again.popleft()
        verbs += self._verbs
        self._verbs = []
        acked: list[int] = []
        finished = True
        for page in self._pages:
            marks, told = page.marks, page.told
            if marks != told:
                offset = page.block.offset
                for index, mark in enumerate(marks):
                    if mark == DONE and not told[index]:
                        told[index] = 1
                        acked.append(offset(index))
        if acked:
            verbs.append(SettleVerb("ack", acked))
        while finished and self._pages:
            page = self._pages[0]
            finished = page.told.find(0) < 0
            if finished:
                self._pages.popleft()
        return verbs

    def _settle_now(self) -> None:
        with self._settling:
            verbs = self._collect()
            if not verbs:
                return
            self._submitted += 1
            # Submitted under the lock: two threads must not pass each other with the verbs of one delivery.
            self._subscription.settle(verbs, partial(self._settled, verbs))
        if self._bus._hooks.settled is not None:
            self._bus._hooks.settled(destination=self.queue, count=sum(len(verb.tokens) for verb in verbs))

    def _settled(self, verbs: list[SettleVerb], refused: tuple[int, ...] | None, error: MqbridgeError | None) -> None:
        self._failed = error
        if error is not None and error.outcome == "not_applied":
            self._again.append(verbs)  # no lock here: the one who submitted may hold it and be told at once
        elif error is not None:
            self._late.append(error)
        if refused:
            why = "they had been given to another consumer, or were lost with the connection"
            self._late.append(self._too_late(refused, why))
        self._answered += 1
        self._turnstile.progress()

    def commit(self, timeout: float = 30.0) -> None:
        """Wait until the engine has every settlement marked so far; raise `LeaseLost` for those that came too late."""
        self._bus._guard.check()
        deadline = Deadline(timeout)
        for _ in range(2):  # once more for what was under way when this was called, and failed
            self._settle_now()
            target = self._submitted
            if not self._turnstile.wait_for(lambda target=target: self._answered >= target, deadline.left_s()):  # type: ignore[misc]
                raise OperationTimeout(
                    f"the settlements for {self.queue} were not answered within {timeout:g} s. They may have been "
                    "applied; what was not will be delivered again.",
                    outcome="unknown",
                )
            if not self._again:
                break
        late: list[MqbridgeError] = []
        while self._late:
            late.append(self._late.popleft())
        if self._again and self._failed is not None:
            late.append(self._failed)
        raise_first(late)

    def close(self, timeout: float = 30.0) -> None:
        """Settle what is marked, give back the rest (not counted), and end; twice is harmless."""
        if self._closed:
            return
        if self._bus._guard.forked:
            self._closed = True
            return
        deadline = Deadline(timeout)
        try:
            self._return_unshown(list(self._pending))
            self._forget_late()
            self.commit(timeout)
        finally:
            self._finish()
            wait(self._subscription.close, deadline.left_s(), f"closing the consumer of {self.queue}")
            self._lose("its consumer was closed, and the message was given back")

    def _run_policy(self) -> RetryPolicy:
        """What the queue says about attempts and delays comes before the defaults."""
        policy = super()._run_policy()
        if self._max_attempts is not None:
            policy = replace(policy, max_attempts=self._max_attempts)
        return replace(policy, first_delay_s=0.0) if self._has_backoff else policy

    def _give_up(self, delivery: Delivery[Any], error: BaseException) -> None:
        if self._max_attempts is not None and delivery.attempt >= self._max_attempts:
            self._retry(delivery, 0.0, error)  # the queue counts, and dead-letters it for that reason
        else:
            self._reject(delivery, _text(error))

    def _return_unshown(self, deliveries: Sequence[Delivery[T]]) -> None:
        """Fetched, never seen by the application: back without an attempt."""
        for delivery in deliveries:
            if not delivery.settled:
                self._take(delivery, SettleVerb("return", (delivery._block.offset(delivery._index),)))


def _text(error: BaseException | str) -> str:
    return error if isinstance(error, str) else f"{type(error).__name__}: {error}"
