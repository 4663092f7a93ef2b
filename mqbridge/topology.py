"""Destinations as values: what a Topic, a Queue, an Exchange and a Binding are specified to be.

The rule of this room: a specification is frozen, checked when it is made, and does no I/O. Two specifications of
the same kind and name are equal (they name one thing); `diff` compares what they say about it. A field left None
says nothing: the engine's default applies and `admin.describe` reports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar, overload

from mqbridge import codecs
from mqbridge.errors import InvalidSpec
from mqbridge.semantics.backoff import RetryPolicy
from mqbridge.semantics.naming import check_name, dead_letter_queue_name, parse_destination

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Cleanup = Literal["delete", "compact"]
Overflow = Literal["reject", "drop-head"]
QueueType = Literal["quorum", "classic"]
ExchangeType = Literal["direct", "fanout", "topic", "headers"]
HeaderMatch = Literal["all", "any", "all-with-x", "any-with-x"]

__all__ = ["Binding", "Destination", "Exchange", "Queue", "Retention", "Topic", "diff", "parse"]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a topic keeps records: by age, by size, whichever is reached first; None is unlimited or the default.

    Whole segments are removed, on every engine, so more than the limit may be kept (KIP-405 discussions aside, this
    is how Kafka's `retention.ms` and `retention.bytes` and RabbitMQ's `x-max-age` work).
    """

    max_age_s: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        _positive("retention.max_age_s", self.max_age_s)
        _positive("retention.max_bytes", self.max_bytes)


def _positive(field: str, value: float | None, *, zero: bool = False) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSpec(f"{field} must be a number, not {type(value).__name__}", field=field)
    if value < 0 or (value == 0 and not zero):
        raise InvalidSpec(f"{field} must be {'zero or more' if zero else 'above zero'}, not {value!r}", field=field)


def _kind(field: str, value: Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise InvalidSpec(f"{field} must be a {kind.__name__}, not {type(value).__name__}", field=field)


def _whole(field: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidSpec(f"{field} must be a whole number, not {value!r}", field=field)


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidSpec(f"{field} must be one of {', '.join(allowed)}, not {value!r}", field=field)


def _codec(codec: Any) -> None:
    if not isinstance(codec, codecs.Codec):
        raise InvalidSpec(f"a codec has name, encode and decode; {codec!r} has not", field="codec")


class Destination:
    """What a Topic, a Queue and an Exchange have in common: a kind, a name, and equality by both."""

    kind: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()

    name: str
    physical_name: str | None
    _hash: int

    def _settle(self, name: str, physical_name: str | None, values: Mapping[str, Any]) -> None:
        try:
            check_name(self.kind, name)
        except ValueError as error:
            raise InvalidSpec(str(error), field="name") from None
        put = object.__setattr__
        put(self, "name", name)
        put(self, "physical_name", physical_name)
        put(self, "_hash", hash((self.kind, name)))
        for field, value in values.items():
            put(self, field, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a {type(self).__name__} is frozen: make another one to say something else")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Destination) and self.kind == other.kind and self.name == other.name

    def __hash__(self) -> int:
        return self._hash

    def specified(self) -> dict[str, Any]:
        """The fields that this specification says something about (None says nothing)."""
        return {field: getattr(self, field) for field in self.fields if getattr(self, field) is not None}

    def __repr__(self) -> str:
        said = "".join(f", {field}={value!r}" for field, value in self.specified().items())
        return f"{type(self).__name__}({self.name!r}{said})"

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {field: getattr(self, field) for field in (*self.fields, "physical_name")}
        return _remake, (type(self), self.name, state)


def _remake(cls: type[Any], name: str, state: dict[str, Any]) -> Any:
    return cls(name, **state)


class Topic(Destination, Generic[T]):
    """A log: partitions, offsets, groups, replay, retention. Generic in its value.

    `partitions` matters on creation and to partitioners; a bare ``Topic("orders")`` names an existing topic.
    `replication` and `min_insync` are the engine's default when None. `cleanup="compact"` keeps the last record
    of each key. `physical_name` is for engines with names of their own (Kafka, RabbitMQ); on the native one it has no
    effect. `nullable=False` refuses null values when sending.
    """

    kind = "topic"
    fields = ("partitions", "replication", "min_insync", "retention", "cleanup", "nullable", "codec")

    partitions: int | None
    replication: int | None
    min_insync: int | None
    retention: Retention | None
    cleanup: Cleanup | None
    nullable: bool
    codec: codecs.Codec[T]

    @overload
    def __init__(
        self: Topic[bytes],
        name: str,
        *,
        partitions: int | None = ...,
        replication: int | None = ...,
        min_insync: int | None = ...,
        retention: Retention | None = ...,
        cleanup: Cleanup | None = ...,
        nullable: bool = ...,
        physical_name: str | None = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        *,
        codec: codecs.Codec[T],
        partitions: int | None = ...,
        replication: int | None = ...,
        min_insync: int | None = ...,
        retention: Retention | None = ...,
        cleanup: Cleanup | None = ...,
        nullable: bool = ...,
        physical_name: str | None = ...,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        *,
        partitions: int | None = None,
        replication: int | None = None,
        min_insync: int | None = None,
        retention: Retention | None = None,
        cleanup: Cleanup | None = None,
        codec: codecs.Codec[Any] = codecs.bytes,
        nullable: bool = True,
        physical_name: str | None = None,
    ) -> None:
        for field, value in (("partitions", partitions), ("replication", replication), ("min_insync", min_insync)):
            _positive(field, value)
            if value is not None and not isinstance(value, int):
                raise InvalidSpec(f"{field} must be an integer, not {value!r}", field=field)
        if partitions is not None and partitions > 10_000:
            raise InvalidSpec(f"partitions must be at most 10000, not {partitions}", field="partitions")
        _kind("retention", retention, Retention)
        _kind("nullable", nullable, bool)
        _codec(codec)
        if cleanup is not None:
            _one_of("cleanup", cleanup, ("delete", "compact"))
        self._settle(
            name,
            physical_name,
            {
                "partitions": partitions,
                "replication": replication,
                "min_insync": min_insync,
                "retention": retention,
                "cleanup": cleanup,
                "nullable": nullable,
                "codec": codec,
            },
        )


class Queue(Destination, Generic[T]):
    """A work queue: competing consumers, ack, release, retry, reject, expiry, dead-lettering. Generic in its value.

    `max_attempts` counts the first delivery: an application sees a message at most that many times, then it is
    dead-lettered. `dead_letter=True` is the queue ``NAME.dlq``, made by `admin.ensure`; None means that nothing is
    dead-lettered, and then `max_attempts` is refused, for it would drop. `max_length` and `max_bytes` count messages
    that are ready. Durations are seconds. Of `retry_backoff` the delays count. `type` is RabbitMQ's; the native engine
    has one kind and treats both alike.
    """

    kind = "queue"
    fields = (
        "max_attempts",
        "dead_letter",
        "message_ttl_s",
        "expires_s",
        "max_length",
        "max_bytes",
        "overflow",
        "max_priority",
        "single_active",
        "retry_backoff",
        "type",
        "codec",
    )

    max_attempts: int | None
    dead_letter: Queue[Any] | None
    message_ttl_s: float | None
    expires_s: float | None
    max_length: int | None
    max_bytes: int | None
    overflow: Overflow
    max_priority: int | None
    single_active: bool
    retry_backoff: RetryPolicy | None
    type: QueueType
    codec: codecs.Codec[T]

    @overload
    def __init__(
        self: Queue[bytes],
        name: str,
        *,
        max_attempts: int | None = ...,
        dead_letter: bool | Queue[Any] | None = ...,
        message_ttl_s: float | None = ...,
        expires_s: float | None = ...,
        max_length: int | None = ...,
        max_bytes: int | None = ...,
        overflow: Overflow = ...,
        max_priority: int | None = ...,
        single_active: bool = ...,
        retry_backoff: RetryPolicy | None = ...,
        type: QueueType = ...,
        physical_name: str | None = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        *,
        codec: codecs.Codec[T],
        max_attempts: int | None = ...,
        dead_letter: bool | Queue[Any] | None = ...,
        message_ttl_s: float | None = ...,
        expires_s: float | None = ...,
        max_length: int | None = ...,
        max_bytes: int | None = ...,
        overflow: Overflow = ...,
        max_priority: int | None = ...,
        single_active: bool = ...,
        retry_backoff: RetryPolicy | None = ...,
        type: QueueType = ...,
        physical_name: str | None = ...,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        *,
        max_attempts: int | None = None,
        dead_letter: bool | Queue[Any] | None = True,
        message_ttl_s: float | None = None,
        expires_s: float | None = None,
        max_length: int | None = None,
        max_bytes: int | None = None,
        overflow: Overflow = "reject",
        max_priority: int | None = None,
        single_active: bool = False,
        retry_backoff: RetryPolicy | None = None,
        type: QueueType = "quorum",
        codec: codecs.Codec[Any] = codecs.bytes,
        physical_name: str | None = None,
    ) -> None:
        for field, value in (
            ("max_attempts", max_attempts),
            ("max_length", max_length),
            ("max_bytes", max_bytes),
            ("max_priority", max_priority),
        ):
            _whole(field, value)
        _kind("retry_backoff", retry_backoff, RetryPolicy)
        _kind("single_active", single_active, bool)
        _codec(codec)
        _positive("max_attempts", max_attempts)
        _positive("message_ttl_s", message_ttl_s, zero=True)
        _positive("expires_s", expires_s)
        _positive("max_length", max_length)
        _positive("max_bytes", max_bytes)
        _positive("max_priority", max_priority)
        _one_of("overflow", overflow, ("reject", "drop-head"))
        _one_of("type", type, ("quorum", "classic"))
        if max_priority is not None and max_priority > 255:
            raise InvalidSpec(f"max_priority must be at most 255, not {max_priority}", field="max_priority")
        if not isinstance(dead_letter, bool | Queue | None):
            raise InvalidSpec(
                f"dead_letter must be True, None or a Queue, not {type(dead_letter).__name__}", field="dead_letter"
            )
        if dead_letter is False:
            dead_letter = None
        if max_attempts is not None and dead_letter is None:
            raise InvalidSpec(
                f"queue {name!r} has max_attempts={max_attempts} and no dead_letter: a message past the limit would "
                "be dropped. Give it a dead_letter queue (True makes NAME.dlq), or leave max_attempts out.",
                field="dead_letter",
            )
        self._settle(
            name,
            physical_name,
            {
                "max_attempts": max_attempts,
                "dead_letter": None,
                "message_ttl_s": message_ttl_s,
                "expires_s": expires_s,
                "max_length": max_length,
                "max_bytes": max_bytes,
                "overflow": overflow,
                "max_priority": max_priority,
                "single_active": single_active,
                "retry_backoff": retry_backoff,
                "type": type,
                "codec": codec,
            },
        )
        if dead_letter is True:
            # A queue that is itself the dead-letter queue of NAME.dlq is made only when somebody asks for that by name.
            dead_letter = Queue(dead_letter_queue_name(name), dead_letter=None, codec=codec)
        object.__setattr__(self, "dead_letter", dead_letter)


class Exchange(Destination):
    """A router to queues through bindings: direct, fanout, topic or headers, with the rules of AMQP 0-9-1."""

    kind = "exchange"
    fields = ("type", "alternate")

    type: ExchangeType
    alternate: Exchange | None

    def __init__(
        self,
        name: str,
        *,
        type: ExchangeType = "direct",
        alternate: Exchange | None = None,
        physical_name: str | None = None,
    ) -> None:
        _one_of("type", type, ("direct", "fanout", "topic", "headers"))
        self._settle(name, physical_name, {"type": type, "alternate": alternate})


@dataclass(frozen=True, eq=False)
class Binding:
    """A rule that carries messages from an exchange to a queue, or to another exchange.

    `key` is the binding key (direct: equal; topic: words, ``*`` one, ``#`` any number; fanout: ignored). `headers` with
    `match` is for headers exchanges: ``all`` or ``any``; a value of None asks only that the header is there.
    """

    exchange: Exchange
    destination: Queue[Any] | Exchange
    key: str = ""
    headers: Mapping[str, str | None] | None = None
    match: HeaderMatch = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.exchange, Exchange):
            raise InvalidSpec("a binding starts at an Exchange", field="exchange")
        if not isinstance(self.destination, Queue | Exchange):
            raise InvalidSpec("a binding ends at a Queue or an Exchange", field="destination")
        _one_of("match", self.match, ("all", "any", "all-with-x", "any-with-x"))
        if self.headers is not None:
            object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))

    def _identity(self) -> tuple[Any, ...]:
        headers = tuple(sorted(self.headers.items())) if self.headers else None
        return (self.exchange, self.destination, self.key, headers, self.match)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Binding) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def diff(wanted: Destination, found: Destination) -> tuple[tuple[str, Any, Any], ...]:
    """What `wanted` says and `found` does not agree with, as (field, wanted, found).

    Only fields that `wanted` specifies are compared; the codec and `nullable` are the program's own, not the engine's.
    """
    return tuple(_differences(wanted, found))


def _differences(wanted: Destination, found: Destination) -> Iterator[tuple[str, Any, Any]]:
    if wanted != found:
        yield ("name", str(wanted), str(found))
        return
    for field, value in wanted.specified().items():
        if field in ("codec", "nullable"):
            continue
        other = getattr(found, field)
        if isinstance(value, Retention):
            other = other or Retention()
            for part in ("max_age_s", "max_bytes"):
                want, have = getattr(value, part), getattr(other, part)
                if want is not None and want != have:
                    yield (f"retention.{part}", want, have)
        elif isinstance(value, RetryPolicy) and isinstance(other, RetryPolicy):
            # Of a queue's backoff the engine keeps the delays; how often is the queue's max_attempts.
            for part in ("first_delay_s", "multiplier", "max_delay_s"):
                if getattr(value, part) != getattr(other, part):
                    yield (f"retry_backoff.{part}", getattr(value, part), getattr(other, part))
        elif value != other:
            yield (field, value, other)


def parse(text: str) -> Topic[bytes] | Queue[bytes] | Exchange:
    """``topic:orders``, ``queue:emails`` or ``exchange:events`` as a destination of bytes."""
    try:
        kind, name = parse_destination(text)
    except ValueError as error:
        raise InvalidSpec(str(error), field="destination") from None
    if kind == "topic":
        return Topic(name)
    if kind == "queue":
        return Queue(name)
    return Exchange(name)
