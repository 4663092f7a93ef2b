"""An engine that does only what a test says, for faults and interleavings that a real one cannot be made to show.

The rule: nothing happens by itself. Sends are reported, commits and settlements are answered, events and blocks come
when the test calls for it; what the portable layer asked for is kept in lists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from mqbridge import spi
from mqbridge.bus import Bus
from mqbridge.capabilities import Capabilities, Capability, Level, Support
from mqbridge.errors import InvalidSpec
from mqbridge.hooks import HookSet
from mqbridge.messages import RawHeaders
from mqbridge.topology import Destination, Queue, Topic

Done = Callable[[Any, Any], None]
TP = spi.TopicPartition


class FakeBlock(spi.Block):
    """Records with the values given, at the offsets (or tokens) given."""

    def __init__(
        self,
        destination: Destination,
        values: Sequence[bytes | None],
        *,
        partition: int | None = 0,
        lease: int = 1,
        offsets: Sequence[int] | None = None,
        next_offset: int | None = None,
        keys: Sequence[bytes | None] | None = None,
    ) -> None:
        self.destination = destination
        self.partition = partition
        self.lease = lease
        self.count = len(values)
        self.offsets = list(range(len(values))) if offsets is None else list(offsets)
        self.next_offset = self.offsets[-1] + 1 if next_offset is None else next_offset
        self._values = values
        self._keys = keys

    def key(self, index: int) -> bytes | None:
        return None if self._keys is None else self._keys[index]

    def headers(self, index: int) -> RawHeaders | None:
        return None

    def timestamp_ms(self, index: int) -> int:
        return 0

    def raw(self, index: int) -> bytes | None:
        return self._values[index]

    def message_id(self, index: int) -> str | None:
        return None

    def offset(self, index: int) -> int:
        return self.offsets[index]


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def mono_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return round(self.now_s * 1000)


class FakeAdmin:
    """Everything that is asked for exists."""

    def describe_topic(self, topic: Topic[Any], done: Done) -> None:
        done(spi.TopicDescription(topic, {0: spi.PartitionOffsets(0, 0, 0, 0)}, None), None)

    def describe_queue(self, queue: Queue[Any], done: Done) -> None:
        done(spi.QueueDescription(queue, 0, 0, 0, 0), None)

    def create_topic(self, topic: Topic[Any], done: Done) -> None:
        done(None, None)


class FakeChannel:
    """`taken` are the appended values; `room` how many more are taken before `FULL`."""

    def __init__(self, reports: spi.Reports) -> None:
        self.reports = reports
        self.taken: list[bytes | None] = []
        self.room = 1 << 30
        self.seals = 0
        self.on_seal: Callable[[], None] = lambda: None

    @property
    def appended(self) -> int:
        return len(self.taken)

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: spi.Extras | None,
    ) -> int:
        if self.room <= 0:
            return spi.FULL
        self.room -= 1
        self.taken.append(value)
        return len(self.taken) - 1

    def seal(self) -> None:
        self.seals += 1
        self.on_seal()


class FakeSender:
    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self.closed = False

    def channel(
        self, destination: Destination, partitioner: spi.Partitioner | None, reports: spi.Reports, done: Done
    ) -> None:
        channel = FakeChannel(reports)
        self._connection.channels[destination.name] = channel
        done(channel, None)

    def close(self, done: Done) -> None:
        self.closed = True
        done(None, None)

    def unwrap(self, kind: type[Any]) -> None:
        return None


class FakeSubscription:
    """What both kinds share. `takes` are the `max_records` of each `take`."""

    def __init__(self, ready: Callable[[], None]) -> None:
        self.ready = ready
        self.waiting: deque[spi.Event] = deque()
        self.blocks: deque[FakeBlock] = deque()
        self.takes: list[int] = []
        self.on_take: Callable[[], None] = lambda: None
        self.closed = False

    def say(self, *events: spi.Event) -> None:
        self.waiting.extend(events)
        self.ready()

    def give(self, *blocks: FakeBlock) -> None:
        self.blocks.extend(blocks)
        self.ready()

    def events(self) -> list[spi.Event]:
        events = list(self.waiting)
        self.waiting.clear()
        return events

    def take(self, max_records: int) -> spi.Block | None:
        self.takes.append(max_records)
        if max_records <= 0:
            return None
        self.on_take()
        return self.blocks.popleft() if self.blocks else None

    def close(self, done: Done) -> None:
        self.closed = True
        done(None, None)

    def call(self, kind: type[Any], fn: Callable[[Any], Any], done: Done) -> None:
        done(None, InvalidSpec(f"the fake consumer has no {kind.__name__} inside", field="kind"))


class FakeTopicSubscription(FakeSubscription):
    """`commits` are the offsets committed; with `answering` False their completions wait in `unanswered`."""

    def __init__(self, ready: Callable[[], None]) -> None:
        super().__init__(ready)
        self.commits: list[dict[TP, tuple[int, int]]] = []
        self.unanswered: list[Done] = []
        self.answering = True
        self.refused: tuple[TP, ...] = ()
        self.error: Any = None
        self.seeks: list[tuple[TP, int]] = []

    def commit(self, offsets: Mapping[TP, tuple[int, int]], done: Done) -> None:
        self.commits.append(dict(offsets))
        if not self.answering:
            self.unanswered.append(done)
        elif self.error is not None:
            done(None, self.error)
        else:
            done(self.refused, None)

    @property
    def committed(self) -> dict[TP, int]:
        """The last offset of each partition."""
        return {place: offset for commit in self.commits for place, (_, offset) in commit.items()}

    def seek(self, partition: TP, offset: int) -> None:
        self.seeks.append((partition, offset))
        self.blocks.clear()

    def pause(self, partitions: Sequence[TP]) -> None:
        pass

    def resume(self, partitions: Sequence[TP]) -> None:
        pass


class FakeQueueSubscription(FakeSubscription):
    def __init__(self, ready: Callable[[], None]) -> None:
        super().__init__(ready)
        self.verbs: list[spi.SettleVerb] = []
        self.refused: tuple[int, ...] = ()

    def settle(self, verbs: Sequence[spi.SettleVerb], done: Done) -> None:
        self.verbs.extend(verbs)
        done(self.refused, None)

    def tokens(self, verb: str) -> list[int]:
        """What was settled by that verb, in order."""
        return [token for item in self.verbs if item.verb == verb for token in item.tokens]


class FakeConnection:
    def __init__(self, emulation: Any = "allow", levels: Mapping[Capability, Level] | None = None) -> None:
        rows = {name: Support((levels or {}).get(name, Level.DIRECT), how="as told") for name in Capability}
        self.capabilities = Capabilities("fake", rows, emulation=emulation)
        self.limits = spi.Limits(1 << 20)
        self.clock: spi.Clock = FakeClock()
        self.admin = cast(spi.Admin, FakeAdmin())
        self.channels: dict[str, FakeChannel] = {}
        self.topic_subscriptions: list[FakeTopicSubscription] = []
        self.queue_subscriptions: list[FakeQueueSubscription] = []
        self.closed = False

    def open_sender(self, spec: spi.SenderSpec) -> spi.Sender:
        return FakeSender(self)

    def subscribe(self, spec: spi.TopicSubscriptionSpec, ready: Callable[[], None]) -> spi.TopicSubscription:
        self.topic_subscriptions.append(FakeTopicSubscription(ready))
        return self.topic_subscriptions[-1]

    def subscribe_queue(self, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> spi.QueueSubscription:
        self.queue_subscriptions.append(FakeQueueSubscription(ready))
        return self.queue_subscriptions[-1]

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> spi.ReplaySource:
        raise LookupError("the fake engine replays nothing")

    def unwrap(self, kind: type[Any]) -> Any:
        return self if kind is FakeConnection else None

    def close(self, timeout_s: float, done: Done) -> None:
        self.closed = True
        done(None, None)

    def abandon(self) -> None:
        pass


class FakeEngine:
    name = "fake"
    schemes: tuple[str, ...] = ("fake",)
    spi_version = spi.VERSION
    options: Mapping[str, str] = {}

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection

    def connect(self, request: spi.ConnectRequest, done: spi.Completion[spi.Connection]) -> None:
        done(self._connection, None)


def fake_bus(
    connection: FakeConnection | None = None, *, hooks: Iterable[Any] = (), operation_timeout_s: float = 5.0
) -> tuple[Bus, FakeConnection]:
    """A bus on a fake engine, and the engine's side of it."""
    connection = connection or FakeConnection()
    url = spi.Url("fake", text="fake:")
    bus = Bus(FakeEngine(connection), url, {}, "allow", HookSet(hooks), 5.0, operation_timeout_s)
    return bus, connection
