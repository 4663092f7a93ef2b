"""Looking at dead letters, and moving them. The rules: a look takes nothing and counts nothing; a move writes there,
confirmed, before it takes away here.

AMQP has no look. So messages are taken with basic.get, held, and given back with basic.nack, which a quorum queue of
4.3 does not count as an attempt. Meanwhile other consumers of that queue do not get them; afterwards they are marked as
redelivered. A token is made of the message's id, or of its content where it has none: copies of one message share it.

Each get is a consumer of its own to a quorum queue until its message is settled, and each settlement a command of its
own, which nobody answers. Beyond 32 of them on their way the channel keeps the rest (`rabbit_fifo_client`, SOFT_LIMIT),
sends them in another order, and drops them when it is closed: then a message that was moved is there again, and the
queue counts an attempt of what was given back. So messages are given back a few at a time, and a channel is let go when
the queue counts no more consumers than when we had one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pika import spec as amqp_spec

from mqbridge.errors import MqbridgeError, NotFound
from mqbridge.semantics import reserved
from mqbridge.spi import Completion, StoredMessage
from mqbridge.topology import Queue
from mqbridge_rabbitmq import errors, naming, records
from mqbridge_rabbitmq.wire import usable

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

IN_FLIGHT = 100
"""Copies on their way at a time."""
AT_A_TIME = 16
"""So many are given back, and seen to be, before the next."""
COUNT_S = 0.5
"""A quorum queue that cannot count at the moment says that it has no consumer, though it has us. A classic one may."""
SETTLED_S = 5.0
"""How long that is waited for. It takes milliseconds, but a consumer that begins or ends meanwhile, another look too,
is taken for one of ours."""
MOVE_S = 3600.0


def token_of(properties: Any, body: bytes) -> int:
    """63 bits that name the message in its queue."""
    identity = records.message_id_of(properties)
    digest = hashlib.blake2b(digest_size=8)
    if identity is not None:
        digest.update(b"id" + identity.encode())
    else:
        digest.update(body)
        for name, value in records.pairs_of(properties) or ():
            if name not in reserved.DEATH:
                digest.update(b"\0" + name.encode() + b"\0" + value)
    return int.from_bytes(digest.digest()) >> 1


def _ask_counts(channel: Any, name: str, answered: Callable[[Any], None]) -> None:
    """How many messages and consumers the queue has. Of a channel that closes nothing is asked: the operation has ended
    with it."""
    if usable(channel):
        channel.queue_declare(name, passive=True, callback=answered)


class _Taking:
    """basic.get, one after the other, of at most as many as were ready at the beginning: what arrives meanwhile, maybe
    because of us, is not waited for.

    The first one is taken before they are counted. A quorum queue writes a get into its log behind what was given back
    before, and counts what is applied; what was given back just now a count alone may miss.
    """

    def __init__(self, channel: Any, name: str, most: int, taken: Callable[[Any, Any, bytes], bool]) -> None:
        self._channel = channel
        self._name = name
        self._left = most
        self.others: int | None = None
        """How many consumers the queue has with one message taken (a classic queue does not count us); None before."""
        self._taken = taken
        self._ended: Callable[[], None] | None = None

    def run(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._channel.add_callback(lambda _frame: self._end(), [amqp_spec.Basic.GetEmpty], one_shot=False)
        self.go_on()

    def go_on(self) -> None:
        if self._left <= 0:
            self._end()
        elif usable(self._channel):
            self._left -= 1
            self._channel.basic_get(self._name, self._got)

    def _got(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if self.others is not None:
            self._take(method, properties, body)
            return
        until_s = time.monotonic() + COUNT_S

        def count(frame: Any) -> None:
            if not frame.method.consumer_count and time.monotonic() < until_s:
                _ask_counts(self._channel, self._name, count)
                return
            self._left = min(self._left, frame.method.message_count)
            self.others = frame.method.consumer_count
            self._take(method, properties, body)

        _ask_counts(self._channel, self._name, count)

    def _take(self, method: Any, properties: Any, body: bytes) -> None:
        if self._taken(method, properties, body):
            self.go_on()

    def stop(self) -> None:
        self._left = 0

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


class _Settling:
    """Waits until what was acknowledged is settled, gives back what is held, in order, `AT_A_TIME`, and ends when that
    is settled too: but for one, which is on its way then, and for what takes longer than `SETTLED_S`."""

    def __init__(
        self, channel: Any, name: str, taking: _Taking, held: Sequence[int], ended: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._name = name
        self._others = taking.others
        self._held = held
        self._given = 0
        self._ended = ended
        self._until_s = 0.0

    def run(self) -> None:
        if self._others is None:
            self._ended()
        else:
            self._wait()

    def _give_back(self) -> None:
        few = self._held[self._given : self._given + AT_A_TIME]
        if usable(self._channel):
            self._channel.basic_nack(few[-1], multiple=True, requeue=True)
        self._given += len(few)
        self._wait()

    def _wait(self) -> None:
        self._until_s = time.monotonic() + SETTLED_S
        self._look()

    def _look(self) -> None:
        _ask_counts(self._channel, self._name, self._looked)

    def _looked(self, frame: Any) -> None:
        assert self._others is not None, "something was taken"
        left = len(self._held) - self._given
        cannot_count = left and self._others and not frame.method.consumer_count
        if cannot_count or frame.method.consumer_count > self._others + left:
            if time.monotonic() < self._until_s:
                self._look()
                return
            self._others = max(0, frame.method.consumer_count - left)
        if left:
            self._give_back()
        else:
            self._ended()


def browse(
    connection: RabbitConnection, queue: Queue[Any], max_messages: int, done: Completion[Sequence[StoredMessage]]
) -> None:
    """See `Admin.browse`."""

    def steps(channel: Any, finish: Callable[[Any], None]) -> None:
        found: list[StoredMessage] = []
        tags: list[int] = []

        def taken(method: Any, properties: Any, body: bytes) -> bool:
            tags.append(method.delivery_tag)
            found.append(
                StoredMessage(
                    token=token_of(properties, body),
                    value=records.value_of(properties, body),
                    key=records.key_of(properties),
                    headers=_with_id(properties, method),
                    timestamp_ms=records.timestamp_ms_of(properties),
                )
            )
            return True

        def ended() -> None:
            _Settling(channel, name, taking, tags, lambda: finish(found)).run()

        name = naming.queue_name(queue)
        taking = _Taking(channel, name, max_messages, taken)
        taking.run(ended)

    connection.asking.rpc(f"browsing {queue}", steps, done, outcome="not_applied")


def _with_id(properties: Any, method: Any) -> tuple[tuple[str, bytes], ...]:
    """The headers, with the message id among them, where the portable layer looks for it."""
    pairs = records.pairs_of(properties, method.exchange, method.routing_key) or ()
    identity = records.message_id_of(properties)
    if identity is None or any(name == reserved.MESSAGE_ID for name, _ in pairs):
        return pairs
    return (*pairs, (reserved.MESSAGE_ID, identity.encode()))


def move(
    connection: RabbitConnection,
    queue: Queue[Any],
    tokens: Sequence[int] | None,
    to: Queue[Any] | None,
    max_messages: int,
    done: Completion[int],
) -> None:
    """See `Admin.move`."""
    connection.asking.rpc(
        f"moving messages of {queue}",
        lambda channel, finish: _Move(connection, channel, queue, tokens, to, max_messages, finish).begin(),
        done,
        timeout_s=MOVE_S,
    )


class _Move:
    """One move, on a channel of its own."""

    def __init__(
        self,
        connection: RabbitConnection,
        channel: Any,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        finish: Callable[[Any], None],
    ) -> None:
        self._courier = connection.courier
        self._channel = channel
        self._queue = queue
        self._wanted = None if tokens is None else set(tokens)
        self._to = to
        self._most = max_messages
        self._finish = finish
        self._under_way = 0
        self._moved = 0
        self._chosen = 0
        self._held: list[int] = []
        self._failure: MqbridgeError | None = None
        self._paused = False
        self._all_taken = False
        # Those that were not chosen are looked at too, and held until the end.
        self._taking = _Taking(
            channel, naming.queue_name(queue), max_messages if tokens is None else 1 << 60, self._taken
        )

    def begin(self) -> None:
        if self._most <= 0:
            self._finish(0)
            return
        self._taking.run(self._ended)

    def _taken(self, method: Any, properties: Any, body: bytes) -> bool:
        tag = method.delivery_tag
        target = self._target(properties)
        if target is None or (self._wanted is not None and token_of(properties, body) not in self._wanted):
            self._held.append(tag)
            return True
        self._chosen += 1
        if self._chosen >= self._most:
            self._taking.stop()
        self._under_way += 1
        self._courier.carry(target, records.copied(properties, {}), body, lambda error: self._copied(tag, error))
        self._paused = self._under_way >= IN_FLIGHT
        return not self._paused

    def _target(self, properties: Any) -> str | None:
        """The queue it goes to; None for one that did not die in a queue."""
        if self._to is not None:
            return naming.queue_name(self._to)
        origin = next(
            (value.decode() for name, value in records.pairs_of(properties) or () if name == reserved.DEATH_QUEUE), ""
        )
        return origin.removeprefix("queue:") if origin and not origin.startswith("topic:") else None

    def _copied(self, tag: int, error: MqbridgeError | None) -> None:
        self._under_way -= 1
        if not usable(self._channel):
            return  # the operation has ended with it
        if error is None:
            self._moved += 1
            self._channel.basic_ack(tag)
        else:
            self._held.append(tag)
            self._failure = self._failure or error
            self._taking.stop()
        if self._paused and self._under_way < IN_FLIGHT:
            self._paused = False
            self._taking.go_on()
        self._end_if_done()

    def _ended(self) -> None:
        self._all_taken = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._all_taken or self._under_way:
            return
        held, name = sorted(self._held), naming.queue_name(self._queue)
        _Settling(self._channel, name, self._taking, held, lambda: self._finish(self._result())).run()

    def _result(self) -> Any:
        if self._failure is None:
            return self._moved
        return errors.caused(
            NotFound(
                f"moving messages of {self._queue} ended after {self._moved}: {self._failure} The rest stays where it "
                "is.",
                engine=errors.ENGINE,
                outcome="applied" if self._moved else "not_applied",
                moved=self._moved,
            )
            if isinstance(self._failure, NotFound)
            else self._failure,
            self._failure.__cause__,
        )
