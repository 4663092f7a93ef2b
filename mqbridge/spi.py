"""The contract between the portable layer and an engine (SPI version 1).

The rules of this room:

- **Nothing here blocks**, `Engine.connect` and `Connection.close` apart, which end within their timeout. An operation
  is submitted with a completion that is called exactly once, on any thread, maybe before the call returns. A `ready`
  callback, coalesced, says that something can be taken. All waiting for an engine is above, in waiting.py; that is
  what will make an asyncio face possible.
- **Batches, not messages.** Records come in *blocks*: one fetched batch each, immutable. What happened to sends is
  reported by ranges or lists of sequence numbers, never by an object per message.
- **Resolved once.** A sender opens a destination once and gets a channel; `Channel.append` is the only call
  per message.
- **Events are rare and ordered**, and are drained before records, so that a revocation wins over the records behind it.
- **Errors are mqbridge's**, translated by the adapter at its one edge, with the native error as `__cause__`.

Emulations, recorders and saboteurs are decorators of these protocols. What does not belong here: anything that an
application imports.

That this shape allows a million messages a second was measured with a throw-away engine in memory behind the public
API, once in pure Python and once with channel, receipt, `send` and `Block.deliveries` in C.
Conditions: CPython 3.11.7 without PGO, 2 shared cores of an AMD EPYC at load 3 to 4, one thread, values of 100 bytes,
no disk, no checksum, one partition. Nine interleaved rounds; nanoseconds a message, median (range), then CPU time:

    ======================================= ======================= ===================
    call                                    pure Python             in C
    ======================================= ======================= ===================
    send(topic, value)                      1476 (907-1857), 973    189 (146-359), 171
    send(topic, value, key=key)             1338 (995-1899), 1026   252 (138-619), 149
    for d in stream(): d.value; d.ack()     1009 (723-1568), 750    552 (289-613), 397
    the same, values cut out of the batch   1385 (823-2290), 979    624 (251-1010), 394
    ======================================= ======================= ===================

So 5.3 M/s sent and 1.6 M/s consumed in C (best rounds: 6.9 and 4.0), where 1 and 1.5 are wanted; with the channel alone
in C 1.0 M/s are sent, with the receipt too 1.1. An engine's disk and checksums come on top. The pieces, pure and C:
`append` 240 and 90, receipt 168 and 56, checking arguments 149, delivery 190, `value` 71 and 23, `ack` 85 and 13. The
shape allows it because `append` takes six positional arguments and gives a number, deliveries of a block are made in
one call, and an ack is a byte in a page. One thing had to change: a `SettleVerb` carries many tokens, since one object
an ack broke that rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from mqbridge.capabilities import Capabilities, EmulationMode
from mqbridge.errors import MqbridgeError
from mqbridge.ledger import Page
from mqbridge.messages import Delivery, RawHeaders
from mqbridge.topology import Binding, Destination, Exchange, Queue, Topic

VERSION = 1
T = TypeVar("T")

Completion: TypeAlias = Callable[[T | None, MqbridgeError | None], None]
"""Called exactly once: (result, None) or (None, error)."""

TopicPartition: TypeAlias = tuple[str, int]

FULL = -1
"""What `Channel.append` returns when the sender's bounded buffer has no room; `Reports.room` follows."""


# --- engines and connections -------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time as the engine sees it: real, or virtual in tests."""

    def mono_s(self) -> float:
        """Seconds, monotonic."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL. `password` is never shown; `text` is the URL with the password masked."""

    scheme: str
    hosts: tuple[tuple[str, int | None], ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine cannot exceed. `max_message_bytes` counts value, key and headers together."""

    max_message_bytes: int


State = Literal["connected", "blocked", "reconnecting", "fenced", "closed"]


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What `Engine.connect` is asked for. `on_state` may be called on any thread and must return at once."""

    url: Url
    options: Mapping[str, Any]
    emulation: EmulationMode
    timeout_s: float
    on_state: Callable[[State, str], None]


class Engine(Protocol):
    """What the entry point ``mqbridge.engines`` names: one object a scheme, made without any I/O."""

    name: str
    schemes: tuple[str, ...]
    spi_version: int
    options: Mapping[str, str]
    """Options known to `connect`, in the URL's query or in ``options=``, each with a line of help."""

    def connect(self, request: ConnectRequest, done: Completion[Connection]) -> None: ...


class Connection(Protocol):
    capabilities: Capabilities
    limits: Limits
    clock: Clock
    admin: Admin

    def open_sender(self, spec: SenderSpec) -> Sender: ...

    def subscribe(self, spec: TopicSubscriptionSpec, ready: Callable[[], None]) -> TopicSubscription: ...

    def subscribe_queue(self, spec: QueueSubscriptionSpec, ready: Callable[[], None]) -> QueueSubscription: ...

    def replay(self, topic: Topic[Any], ready: Callable[[], None]) -> ReplaySource: ...

    def unwrap(self, kind: type[T]) -> T | None:
        """The native object of that type, or None."""

    def close(self, timeout_s: float, done: Completion[None]) -> None: ...

    def abandon(self) -> None:
        """The process has forked: forget sockets and files without touching what the parent owns."""


# --- sending -----------------------------------------------------------------------------------------------------


class Extras(NamedTuple):
    """What few messages carry. Times are milliseconds. `routing_key` is a text, maybe an empty one, for what is sent to
    an exchange, and None for the rest: the receiver is told it as it was sent."""

    routing_key: str | None = None
    expires_in_ms: int | None = None
    priority: int | None = None
    delay_ms: int | None = None


Partitioner: TypeAlias = Callable[[str, bytes | None, bytes | None, int], int]


@dataclass(frozen=True, slots=True)
class SenderSpec:
    acks: Literal["all", "leader", "none"]
    idempotent: bool | None
    linger_s: float
    batch_bytes: int
    compression: str | None
    delivery_timeout_s: float
    max_in_flight_bytes: int
    on_unknown: Literal["fail", "resend"]


class Reports(Protocol):
    """Where an engine reports what became of the sends of one channel. Any thread; each sequence number exactly
    once."""

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        """`count` sends from `first` on are applied, at consecutive offsets from `base_offset` on (None: unknown)."""

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        """The same for sequence numbers with gaps between them."""

    def failed(self, sequence: Sequence[int], error: MqbridgeError) -> None:
        """These sends failed; `error.outcome` says whether they may have been applied."""

    def room(self) -> None:
        """There is room again after `FULL`."""


class Channel(Protocol):
    """One destination of one sender. Any thread may append; appends of one thread keep their order.

    A topic's channel keeps its number of partitions up to date by itself: producers that were open before
    `add_partitions` place a key where new ones place it, within the stated time.
    """

    @property
    def appended(self) -> int:
        """How many messages were taken so far: the next sequence number. Never goes back; not for the hot path."""

    def append(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: RawHeaders | None,
        timestamp_ms: int | None,
        message_id: str | None,
        extras: Extras | None,
    ) -> int:
        """Take one message; return its sequence number (0, 1, 2, ... in this channel), or `FULL` with nothing taken."""

    def seal(self) -> None:
        """Send what is buffered now, without the linger."""


class Sender(Protocol):
    def channel(
        self, destination: Destination, partitioner: Partitioner | None, reports: Reports, done: Completion[Channel]
    ) -> None:
        """Open a destination; `NotFound` where it does not exist: sending never creates one."""

    def close(self, done: Completion[None]) -> None:
        """After the portable layer has flushed. What is still unreported is failed, exactly once."""

    def unwrap(self, kind: type[T]) -> T | None: ...


# --- receiving ---------------------------------------------------------------------------------------------------


class Block(ABC):
    """One fetched batch, immutable: what deliveries are views of."""

    __slots__ = ()

    destination: Destination
    partition: int | None
    lease: int
    count: int
    next_offset: int
    """Topics: the offset after the last record, gaps included."""

    @abstractmethod
    def key(self, index: int) -> bytes | None: ...

    @abstractmethod
    def headers(self, index: int) -> RawHeaders | None: ...

    @abstractmethod
    def timestamp_ms(self, index: int) -> int: ...

    @abstractmethod
    def raw(self, index: int) -> bytes | None: ...

    @abstractmethod
    def message_id(self, index: int) -> str | None: ...

    @abstractmethod
    def offset(self, index: int) -> int:
        """Topics: the record's offset. Queues: the token (delivery tag) that settles it."""

    def attempt(self, index: int) -> int:
        return 1

    def redelivered(self, index: int) -> bool:
        return False

    def describe(self, index: int) -> str:
        """How a message is called in an error."""
        if self.partition is None:
            return f"{self.destination} message {self.message_id(index) or self.offset(index)}"
        return f"{self.destination}/{self.partition}/{self.offset(index)}"

    def deliveries(self, lo: int, hi: int, page: Page) -> list[Delivery[Any]]:
        """The views of records lo..hi-1, made in one call."""
        return [Delivery(self, index, page, self.raw(index)) for index in range(lo, hi)]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a group without a committed offset begins. `offsets` for "at", `timestamp_ms` for "since"."""

    kind: Literal["earliest", "latest", "at", "since"]
    offsets: Mapping[int, int] = field(default_factory=dict)
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TopicSubscriptionSpec:
    topics: tuple[Topic[Any], ...]
    group: str
    start: Start
    isolation: Literal["read_committed", "read_uncommitted"]
    rebalance: Literal["cooperative", "eager", "server"]
    instance_id: str | None
    session_timeout_s: float
    max_poll_interval_s: float
    on_gap: Literal["fail", "earliest", "latest"]


@dataclass(frozen=True, slots=True)
class QueueSubscriptionSpec:
    queue: Queue[Any]
    prefetch: int
    priority: int
    before: bool
    """At most once: settled before the application sees it."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions that are ours now: (topic, partition) -> (lease, position)."""

    partitions: Mapping[TopicPartition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Revoking:
    """Partitions to give up. Drain, commit, then call `done()`, within `deadline_s` seconds."""

    partitions: tuple[TopicPartition, ...]
    deadline_s: float
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions that are another's already; commits for them fail."""

    partitions: tuple[TopicPartition, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class SettleFailed:
    """Queue deliveries whose settlement came too late or was refused: tokens and the error."""

    tokens: tuple[int, ...]
    error: MqbridgeError


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The engine is away. Queue deliveries that are out are lost with it, and so are leases unless `Reconnected`
    keeps them."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The subscription is active again, by itself."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A committed offset lies before the start of the log, and `on_gap` is "fail"."""

    error: MqbridgeError


@dataclass(frozen=True, slots=True)
class Fatal:
    """This subscription will not work again."""

    error: MqbridgeError


Event: TypeAlias = Assigned | Revoking | Lost | SettleFailed | Disconnected | Reconnected | Gap | Fatal


class Subscription(Protocol):
    """What both kinds have in common. `take` and `events` are called by one thread at a time."""

    def events(self) -> list[Event]:
        """What happened since the last call, in order. Drained before `take`."""

    def take(self, max_records: int) -> Block | None:
        """The next block, or None. `max_records` is a hint; with 0 it takes nothing. Calling it is also the sign of
        life of the application.

        A block of a lease is given only once `events` gives, or has given, the `Assigned` that began it.
        """

    def close(self, done: Completion[None]) -> None:
        """Give back what is out, uncounted, leave the group, free resources."""

    def call(self, kind: type[T], fn: Callable[[T], Any], done: Completion[Any]) -> None:
        """Run ``fn(native)`` with the native object of that type on the thread that owns it, and complete with what it
        gives; `InvalidSpec` where there is no such object. `fn` does not raise."""


class TopicSubscription(Subscription, Protocol):
    def commit(
        self,
        offsets: Mapping[TopicPartition, tuple[int, int]],
        done: Completion[tuple[TopicPartition, ...]],
    ) -> None:
        """Commit (lease, next offset) for each partition; the result names those refused because the lease is not
        current."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Fetch from `offset` next; blocks fetched before are dropped before this returns."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop fetching these; what is buffered of them is kept back."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None: ...


class QueueSubscription(Subscription, Protocol):
    def settle(self, verbs: Sequence[SettleVerb], done: Completion[tuple[int, ...]]) -> None:
        """Apply verbs; the result names tokens that were not ours any more."""


class SettleVerb(NamedTuple):
    """One verb for the deliveries of some tokens: what was acked since the last time is one of these."""

    verb: Literal["ack", "release", "retry", "reject", "return"]
    """``return``: fetched but never shown to the application."""
    tokens: Sequence[int]
    delay_s: float = 0.0
    text: str | None = None


class ReplaySource(Protocol):
    """Bounded, group-free reading of one topic."""

    def bounds(self, start: Start, end: Start, done: Completion[Mapping[int, tuple[int, int]]]) -> None:
        """Resolve to partition -> (first offset, offset to stop before)."""

    def begin(self, ranges: Mapping[int, tuple[int, int]]) -> None: ...

    def take(self, max_records: int) -> Block | None: ...

    def failure(self) -> MqbridgeError | None:
        """Why it will not go on, if so."""

    def close(self) -> None: ...


# --- administering -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """`start` first readable offset, `end` next offset to be written, `high_watermark`, `last_stable`."""

    start: int
    end: int
    high_watermark: int
    last_stable: int


@dataclass(frozen=True, slots=True)
class TopicDescription:
    topic: Topic[Any]
    partitions: Mapping[int, PartitionOffsets]
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class QueueDescription:
    """`ready`, `unsettled` and `delayed` are messages; None where the engine does not tell."""

    queue: Queue[Any]
    ready: int | None
    unsettled: int | None
    delayed: int | None
    consumers: int | None


@dataclass(frozen=True, slots=True)
class ExchangeDescription:
    exchange: Exchange
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class GroupSummary:
    group: str
    state: str
    protocol: str | None
    members: int


@dataclass(frozen=True, slots=True)
class MemberDescription:
    member: str
    instance_id: str | None
    assignment: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """`committed` and `lag_messages` by partition; a lag of None is unknown, not zero."""

    group: str
    state: str
    protocol: str | None
    members: tuple[MemberDescription, ...]
    committed: Mapping[TopicPartition, int]
    lag_messages: Mapping[TopicPartition, int | None]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message seen without taking it."""

    token: int
    value: bytes | None
    key: bytes | None
    headers: RawHeaders | None
    timestamp_ms: int


class Admin(Protocol):
    """Each with a completion. `create_*` completes with None when it was made, or with what stands there already."""

    def create_topic(self, topic: Topic[Any], done: Completion[Topic[Any]]) -> None: ...
    def create_queue(self, queue: Queue[Any], done: Completion[Queue[Any]]) -> None: ...
    def create_exchange(self, exchange: Exchange, done: Completion[Exchange]) -> None: ...
    def delete(self, destination: Destination, done: Completion[None]) -> None: ...
    def list_topics(self, done: Completion[Sequence[Topic[Any]]]) -> None: ...
    def list_queues(self, done: Completion[Sequence[Queue[Any]]]) -> None: ...
    def list_exchanges(self, done: Completion[Sequence[Exchange]]) -> None: ...
    def describe_topic(self, topic: Topic[Any], done: Completion[TopicDescription]) -> None: ...
    def describe_queue(self, queue: Queue[Any], done: Completion[QueueDescription]) -> None: ...
    def describe_exchange(self, exchange: Exchange, done: Completion[ExchangeDescription]) -> None: ...
    def bind(self, binding: Binding, done: Completion[None]) -> None: ...
    def unbind(self, binding: Binding, done: Completion[None]) -> None: ...
    def add_partitions(self, topic: Topic[Any], partitions: int, done: Completion[None]) -> None: ...
    def offset_at(self, topic: Topic[Any], timestamp_ms: int, done: Completion[Mapping[int, int | None]]) -> None: ...
    def delete_records(self, topic: Topic[Any], before: Mapping[int, int], done: Completion[None]) -> None: ...
    def list_groups(self, done: Completion[Sequence[GroupSummary]]) -> None: ...
    def describe_group(self, group: str, done: Completion[GroupDescription]) -> None: ...
    def commit_offsets(self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: Completion[None]) -> None:
        """Set a group's offsets; refused while the group has members."""

    def delete_group(self, group: str, done: Completion[None]) -> None: ...
    def purge(self, queue: Queue[Any], done: Completion[int]) -> None: ...
    def browse(self, queue: Queue[Any], max_messages: int, done: Completion[Sequence[StoredMessage]]) -> None: ...
    def move(
        self,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        done: Completion[int],
    ) -> None:
        """Move messages to another queue (None: the queue each one died in), written there before they leave here."""

    def health(self, done: Completion[Mapping[str, Any]]) -> None: ...
