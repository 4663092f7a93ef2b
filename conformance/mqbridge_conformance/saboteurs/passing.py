"""Decorators of everything in the SPI that pass it all on: what a saboteur changes one method of.

The rule: what is not changed here by a subclass reaches the engine as it was said, in the order in which it was said,
and comes back as the engine gave it. Nothing here knows an engine or a saboteur.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mqbridge import spi

if TYPE_CHECKING:
    import mqbridge as mq
    from mqbridge_conformance.saboteurs.strikes import Strikes

__all__ = [
    "BlockView",
    "Message",
    "PassingAdmin",
    "PassingChannel",
    "PassingConnection",
    "PassingQueueSubscription",
    "PassingReplay",
    "PassingTopicSubscription",
]

T = TypeVar("T")
RawHeaders = tuple[tuple[str, bytes], ...]


class Message(NamedTuple):
    """What `Channel.append` takes."""

    value: bytes | None
    key: bytes | None
    headers: RawHeaders | None
    timestamp_ms: int | None
    message_id: str | None
    extras: spi.Extras | None


class PassingChannel:
    """One channel, and the reports of it: `inner` is the engine's, `outer` are the portable layer's reports.

    The portable layer is given numbers of this channel's own, so that a subclass may append less, more, later or in
    another order than it was told. An append is one at a time: the portable layer's thread holds `lock`. Reports come
    on any thread and take no lock.
    """

    inner: spi.Channel
    siblings: Sequence[PassingChannel] = ()
    """All channels of its sender."""

    def __init__(self, destination: Any, outer: spi.Reports, strikes: Strikes, connection: spi.Connection) -> None:
        self.destination = destination
        self.outer = outer
        self.strikes = strikes
        self.connection = connection
        self.lock = threading.Lock()
        self._next = 0
        self._inner_next = 0
        self._numbers: dict[int, int | None] = {}
        self.prepare()

    def prepare(self) -> None:
        """What a subclass has beside."""

    def opening(self, then: Callable[[], None]) -> None:
        """Before it is opened at the engine, which `then` does."""
        then()

    def opened(self) -> None:
        """It is open at the engine, as `inner`, and the portable layer does not have it yet."""

    def partitioner(self, given: spi.Partitioner | None) -> spi.Partitioner | None:
        """What the engine is given in the place of the partitioner."""
        return given

    # --- the channel

    @property
    def appended(self) -> int:
        return self._next

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        with self.lock:
            return self.take(Message(value, key, headers, timestamp_ms, message_id, extras))

    def take(self, message: Message) -> int:
        """Take one message, or `FULL`. Under the lock."""
        return self.put(message)

    def put(self, message: Message) -> int:
        """Append it to the engine's channel, under the next number of this one; `FULL` with nothing taken."""
        if not self.put_as(self._next, message):
            return spi.FULL
        return self.number()

    def number(self) -> int:
        """The next number of this channel, which is taken by that."""
        self._next += 1
        return self._next - 1

    def put_as(self, number: int | None, message: Message) -> bool:
        """Append it to the engine's channel, reported under this number (None: not reported)."""
        # Before the call: its report may come first.
        self._numbers[self._inner_next] = number
        if self.inner.append(*message) == spi.FULL:
            del self._numbers[self._inner_next]
            return False
        self._inner_next += 1
        return True

    def seal(self) -> None:
        self.inner.seal()

    def closing(self) -> None:
        """Its sender is about to be closed; all that was sealed has been reported."""

    # --- its reports

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        self.confirmed_at(range(first, first + count), partition, base_offset)

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        for place, inner in enumerate(sequence):
            number = self._numbers.pop(inner)
            if number is not None:
                self.confirm(number, partition, None if base_offset is None else base_offset + place)

    def confirm(self, number: int, partition: int | None, offset: int | None) -> None:
        """One send is applied: tell it."""
        self.outer.confirmed(number, 1, partition, offset)

    def failed(self, sequence: Sequence[int], error: mq.MqbridgeError) -> None:
        for inner in sequence:
            number = self._numbers.pop(inner)
            if number is not None:
                self.fail(number, error)

    def fail(self, number: int, error: mq.MqbridgeError) -> None:
        """One send failed: tell it."""
        self.outer.failed((number,), error)

    def room(self) -> None:
        self.outer.room()


class BlockView(spi.Block):
    """Some records of a block, in some order."""

    __slots__ = ("count", "destination", "indices", "inner", "lease", "next_offset", "partition")

    def __init__(self, inner: spi.Block, indices: Sequence[int] | None = None) -> None:
        self.inner = inner
        self.indices = range(inner.count) if indices is None else indices
        self.destination = inner.destination
        self.partition = inner.partition
        self.lease = inner.lease
        self.count = len(self.indices)
        self.next_offset = inner.next_offset

    def key(self, index: int) -> bytes | None:
        return self.inner.key(self.indices[index])

    def headers(self, index: int) -> RawHeaders | None:
        return self.inner.headers(self.indices[index])

    def timestamp_ms(self, index: int) -> int:
        return self.inner.timestamp_ms(self.indices[index])

    def raw(self, index: int) -> bytes | None:
        return self.inner.raw(self.indices[index])

    def message_id(self, index: int) -> str | None:
        return self.inner.message_id(self.indices[index])

    def offset(self, index: int) -> int:
        return self.inner.offset(self.indices[index])

    def attempt(self, index: int) -> int:
        return self.inner.attempt(self.indices[index])

    def redelivered(self, index: int) -> bool:
        return self.inner.redelivered(self.indices[index])

    def describe(self, index: int) -> str:
        return self.inner.describe(self.indices[index])


class PassingTopicSubscription:
    """A member of a group. `spec` may be changed before the engine sees it; `ready` wakes its program."""

    ready: Callable[[], None]

    def __init__(
        self,
        subscribe: Callable[[spi.TopicSubscriptionSpec], spi.TopicSubscription],
        spec: spi.TopicSubscriptionSpec,
        strikes: Strikes,
        connection: spi.Connection,
    ) -> None:
        self.strikes = strikes
        self.connection = connection
        self.spec = self.specified(spec)
        self.prepare()
        self.inner = subscribe(self.spec)

    def prepare(self) -> None:
        """What a subclass has beside."""

    def specified(self, spec: spi.TopicSubscriptionSpec) -> spi.TopicSubscriptionSpec:
        """What the engine is asked for."""
        return spec

    def events(self) -> list[spi.Event]:
        return list(itertools.chain.from_iterable(map(self.event, self.inner.events())))

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        """What becomes of one event."""
        return (event,)

    def take(self, max_records: int) -> spi.Block | None:
        while True:
            block = self.inner.take(max_records)
            if block is None:
                return None
            shown = self.block(block)
            if shown is not None:
                return shown

    def block(self, block: spi.Block) -> spi.Block | None:
        """What becomes of one block; None: it is not shown."""
        return block

    def commit(
        self,
        offsets: Mapping[spi.TopicPartition, tuple[int, int]],
        done: spi.Completion[tuple[spi.TopicPartition, ...]],
    ) -> None:
        self.inner.commit(offsets, done)

    def seek(self, partition: spi.TopicPartition, offset: int) -> None:
        self.inner.seek(partition, offset)

    def pause(self, partitions: Sequence[spi.TopicPartition]) -> None:
        self.inner.pause(partitions)

    def resume(self, partitions: Sequence[spi.TopicPartition]) -> None:
        self.inner.resume(partitions)

    def close(self, done: spi.Completion[None]) -> None:
        self.inner.close(done)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        self.inner.call(kind, fn, done)


class PassingQueueSubscription:
    """A consumer of a queue. `spec` may be changed before the engine sees it; what was taken and is not settled is in
    `out`: token -> (block, index)."""

    def __init__(
        self,
        subscribe: Callable[[spi.QueueSubscriptionSpec], spi.QueueSubscription],
        spec: spi.QueueSubscriptionSpec,
        strikes: Strikes,
        connection: spi.Connection,
    ) -> None:
        self.strikes = strikes
        self.connection = connection
        self.out: dict[int, tuple[spi.Block, int]] = {}
        self.spec = self.specified(spec)
        self.prepare()
        self.inner = subscribe(self.spec)

    def prepare(self) -> None:
        """What a subclass has beside."""

    def specified(self, spec: spi.QueueSubscriptionSpec) -> spi.QueueSubscriptionSpec:
        """What the engine is asked for."""
        return spec

    def events(self) -> list[spi.Event]:
        return self.inner.events()

    def take(self, max_records: int) -> spi.Block | None:
        while True:
            block = self.inner.take(max_records)
            if block is None:
                return None
            self.out.update((block.offset(index), (block, index)) for index in range(block.count))
            shown = self.block(block)
            if shown is not None:
                return shown

    def block(self, block: spi.Block) -> spi.Block | None:
        """What becomes of one block; None: it is not shown."""
        return block

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        changed = [
            self.verb(spi.SettleVerb(verb, (token,), delay_s, text), token)
            for verb, tokens, delay_s, text in verbs
            for token in tokens
        ]
        for verb in changed:
            for token in verb.tokens:
                self.out.pop(token, None)
        self.inner.settle(changed, done)

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        """What becomes of the verb for one message."""
        return verb

    def close(self, done: spi.Completion[None]) -> None:
        self.inner.close(done)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        self.inner.call(kind, fn, done)


class PassingReplay:
    """The reading of a range."""

    def __init__(self, inner: spi.ReplaySource, topic: Any, strikes: Strikes) -> None:
        self.inner = inner
        self.topic = topic
        self.strikes = strikes
        self.prepare()

    def prepare(self) -> None:
        """What a subclass has beside."""

    def bounds(self, start: spi.Start, end: spi.Start, done: spi.Completion[Mapping[int, tuple[int, int]]]) -> None:
        self.inner.bounds(start, end, done)

    def begin(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        self.inner.begin(ranges)

    def take(self, max_records: int) -> spi.Block | None:
        return self.inner.take(max_records)

    def failure(self) -> mq.MqbridgeError | None:
        return self.inner.failure()

    def close(self) -> None:
        self.inner.close()


class PassingConnection:
    """A connection: what a subclass does not have is the engine's own."""

    def __init__(self, inner: spi.Connection, strikes: Strikes) -> None:
        self.inner = inner
        self.strikes = strikes
        self.prepare()

    def prepare(self) -> None:
        """What a subclass has beside."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class PassingAdmin:
    """Administration: what a subclass does not have is the engine's own."""

    def __init__(self, inner: spi.Admin, strikes: Strikes, connection: spi.Connection) -> None:
        self.inner = inner
        self.strikes = strikes
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
