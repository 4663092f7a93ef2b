"""Saboteurs of queues: what a verb does, what a delivery says of itself, how many are out, what is dead-lettered.

The rule: each is a consumer of a queue that does one thing wrong and tells its program that all is well.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import BlockView, Message, PassingQueueSubscription

__all__ = [
    "AcksAreReleases",
    "AllowsOneAttemptMore",
    "DropsDeadLetters",
    "DropsReturned",
    "HandsOutOneMore",
    "HidesRedelivery",
    "WritesDeadLettersTwice",
]

SENDER: Final = spi.SenderSpec("all", None, 0.0, 1 << 18, None, 30.0, 1 << 24, "fail")


class AcksAreReleases(PassingQueueSubscription):
    """M27: a message is acked and delivered again, once."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        block, index = self.out.get(token, (None, 0))
        if verb.verb != "ack" or block is None or block.redelivered(index):
            return verb
        return verb._replace(verb="release") if self.strikes.here(self.spec.queue, value=block.raw(index)) else verb


class DropsReturned(PassingQueueSubscription):
    """M28: a message that is released or retried is never delivered again."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        if verb.verb in ("release", "retry") and self.strikes.here(self.spec.queue, verb=verb.verb):
            return spi.SettleVerb("ack", verb.tokens)
        return verb


class HandsOutOneMore(PassingQueueSubscription):
    """M29: one message more is out than the prefetch allows."""

    def specified(self, spec: spi.QueueSubscriptionSpec) -> spi.QueueSubscriptionSpec:
        return replace(spec, prefetch=spec.prefetch + 1) if self.strikes.here(spec.queue) else spec


class HidesRedelivery(PassingQueueSubscription):
    """M30: a message that was delivered before says that it was not."""

    def block(self, block: spi.Block) -> spi.Block | None:
        hidden = {
            index
            for index in range(block.count)
            if block.redelivered(index) and self.strikes.here(self.spec.queue, value=block.raw(index))
        }
        return _Unflagged(block, hidden) if hidden else block


class _Unflagged(BlockView):
    __slots__ = ("hidden",)

    def __init__(self, inner: spi.Block, hidden: set[int]) -> None:
        super().__init__(inner)
        self.hidden = hidden

    def redelivered(self, index: int) -> bool:
        return index not in self.hidden and super().redelivered(index)


class _KnowsItsQueue(PassingQueueSubscription):
    """`known` is the queue as the engine has it, once that has told it."""

    def prepare(self) -> None:
        self.known: mq.Queue[Any] = self.spec.queue

        def described(found: spi.QueueDescription | None, _error: mq.MqbridgeError | None) -> None:
            if found is not None:
                self.known = found.queue

        self.connection.admin.describe_queue(self.spec.queue, described)

    def dies(self, verb: spi.SettleVerb, token: int) -> bool:
        """Does this verb make it a dead letter?"""
        block, index = self.out.get(token, (None, 0))
        limit = self.known.max_attempts
        last = block is not None and limit is not None and block.attempt(index) >= limit
        return self.known.dead_letter is not None and (verb.verb == "reject" or (verb.verb == "retry" and last))


class DropsDeadLetters(_KnowsItsQueue):
    """M31: what is rejected, or fails for the last time, is dropped in place of being dead-lettered."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        if self.dies(verb, token) and self.strikes.here(self.spec.queue, verb=verb.verb):
            return spi.SettleVerb("ack", verb.tokens)
        return verb


class AllowsOneAttemptMore(_KnowsItsQueue):
    """M34: a message that fails for the last time is delivered once more before it is dead-lettered."""

    def prepare(self) -> None:
        super().prepare()
        self.spared: set[str | None] = set()

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        if verb.verb != "retry" or not self.dies(verb, token):
            return verb
        block, index = self.out[token]
        name = block.message_id(index)
        if name in self.spared or not self.strikes.here(self.spec.queue, value=block.raw(index)):
            return verb
        self.spared.add(name)
        return spi.SettleVerb("release", verb.tokens)


class WritesDeadLettersTwice(_KnowsItsQueue):
    """M32: a dead letter is written twice."""

    def prepare(self) -> None:
        super().prepare()
        self.letters: _Letters | None = None

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        every = [(verb._replace(tokens=(token,)), token) for verb in verbs for token in verb.tokens]
        copies = [
            (*self.out[token], verb)
            for verb, token in every
            if token in self.out and self.dies(verb, token) and self.strikes.here(self.spec.queue, verb=verb.verb)
        ]
        settle = partial(super().settle, verbs, done)
        if not copies:
            settle()
            return
        self.letters = self.letters or _Letters(self.connection, self.known)
        self.letters.write([_letter(self.known, *copy) for copy in copies], settle)

    def close(self, done: spi.Completion[None]) -> None:
        if self.letters is not None:
            self.letters.close()
        super().close(done)


def _letter(queue: mq.Queue[Any], block: spi.Block, index: int, verb: spi.SettleVerb) -> Message:
    """What the engine writes when that verb makes a dead letter of it."""
    told = {
        "mqbridge-death-reason": "rejected" if verb.verb == "reject" else "max-attempts",
        "mqbridge-death-queue": queue.name,
        "mqbridge-death-attempts": str(block.attempt(index)),
        "mqbridge-death-at-ms": str(int(time.time() * 1000)),
        "mqbridge-death-error": verb.text or "",
    }
    headers = (*(block.headers(index) or ()), *((name, text.encode()) for name, text in told.items()))
    name = block.message_id(index)
    return Message(block.raw(index), block.key(index), headers, block.timestamp_ms(index), name, None)


class _Letters:
    """Writes to the dead-letter queue of a queue beside its engine; implements the SPI's Reports."""

    def __init__(self, connection: spi.Connection, queue: mq.Queue[Any]) -> None:
        self._sender = connection.open_sender(SENDER)
        self._lock = threading.Lock()
        self._channel: spi.Channel | None = None
        self._waiting: deque[tuple[Sequence[Message], Callable[[], None]]] = deque()
        self._open = 0
        self._then: Callable[[], None] | None = None
        if queue.dead_letter is not None:
            self._sender.channel(queue.dead_letter, None, self, self._opened)

    def write(self, messages: Sequence[Message], then: Callable[[], None]) -> None:
        """Append them, and go on when all of them are there."""
        with self._lock:
            self._waiting.append((messages, then))
        self._next()

    def _opened(self, channel: spi.Channel | None, _error: mq.MqbridgeError | None) -> None:
        self._channel = channel
        self._next()

    def _next(self) -> None:
        with self._lock:
            if self._channel is None or self._then is not None or not self._waiting:
                return
            messages, self._then = self._waiting.popleft()
            self._open = len(messages)
        for message in messages:
            self._channel.append(*message)
        self._channel.seal()

    def _reported(self, count: int) -> None:
        with self._lock:
            self._open -= count
            if self._open:
                return
            then, self._then = self._then, None
        if then is not None:
            then()
        self._next()

    def close(self) -> None:
        self._sender.close(lambda _result, _error: None)

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        self._reported(count)

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        self._reported(len(sequence))

    def failed(self, sequence: Sequence[int], error: mq.MqbridgeError) -> None:
        self._reported(len(sequence))

    def room(self) -> None:
        """Few are written at a time: there always is."""
