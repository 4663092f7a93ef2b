"""The bus: one connection to one engine, and what is made from it.

The rule of this room: everything is checked when it is built. Who sends is in producer.py, who receives in consumer.py.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import random
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from mqbridge import spi
from mqbridge.admin import Admin
from mqbridge.capabilities import Capabilities, Capability, EmulationMode
from mqbridge.capabilities import Capability as Cap
from mqbridge.consumer import AckMode, raise_first
from mqbridge.engines import open_url
from mqbridge.errors import (
    Closed,
    ConfigurationError,
    InvalidSpec,
    MqbridgeError,
    Unsupported,
)
from mqbridge.hooks import HookSet
from mqbridge.positions import NOW, Position
from mqbridge.producer import Producer
from mqbridge.queue_consumer import QueueConsumer
from mqbridge.replay import Replay
from mqbridge.semantics.backoff import RetryPolicy
from mqbridge.semantics.naming import nearest
from mqbridge.semantics.partitioners import ByKey, RoundRobin, Sticky
from mqbridge.topic_consumer import TopicConsumer
from mqbridge.topology import Queue, Topic
from mqbridge.waiting import Callbacks, Deadline, ForkGuard, Pending, Pump, wait

T = TypeVar("T")
log = logging.getLogger("mqbridge.bus")
logging.getLogger("mqbridge").addHandler(logging.NullHandler())  # silent unless the application says otherwise

__all__ = ["Bus", "connect"]

_PARTITIONERS: dict[str, tuple[type[ByKey] | type[RoundRobin] | type[Sticky], Cap]] = {
    "by_key": (ByKey, Cap.PARTITION_BY_KEY),
    "round_robin": (RoundRobin, Cap.PARTITION_ROUND_ROBIN),
    "sticky": (Sticky, Cap.PARTITION_STICKY),
}


def connect(
    url: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    emulation: EmulationMode = "allow",
    hooks: Iterable[Any] = (),
    connect_timeout_s: float = 10.0,
    operation_timeout_s: float = 30.0,
) -> Bus:
    """Connect to an engine: the handshake is done when this returns.

    Without a URL the environment's ``MQBRIDGE_URL`` counts, and nothing else. `options` are the engine's, the same
    that its URL takes in the query. `emulation` says what to do with capabilities that the engine only emulates.
    `operation_timeout_s` bounds every call that waits for the engine and has no timeout of its own.

    Raises `ConfigurationError` (unknown scheme, missing extra), `UnsupportedOption` (naming the nearest known one),
    `Unreachable`, `Denied`, `OperationTimeout`.
    """
    text = url if url is not None else os.environ.get("MQBRIDGE_URL")
    if text is not None and not isinstance(text, str):
        raise ConfigurationError(f"a URL is a str, not {type(text).__name__}; a folder is f'native:{{folder}}'")
    _seconds("connect_timeout_s", connect_timeout_s)
    _seconds("operation_timeout_s", operation_timeout_s)
    if not text:
        raise ConfigurationError("no URL: give connect() one, for instance 'native:', or set MQBRIDGE_URL")
    if emulation not in ("allow", "warn", "forbid"):
        raise ConfigurationError(f"emulation must be 'allow', 'warn' or 'forbid', not {emulation!r}")
    engine, parsed, merged = open_url(text, options)
    return Bus(engine, parsed, merged, emulation, HookSet(hooks), connect_timeout_s, operation_timeout_s)


class Bus:
    """A connection; made by `connect`. Thread-safe. A context manager: leaving it closes what was made from it.

    An unclosed bus warns (`ResourceWarning`) and is closed at exit with a deadline. After `fork` the child must connect
    again: using this one raises `ForkedProcess`.
    """

    def __init__(
        self,
        engine: spi.Engine,
        url: spi.Url,
        options: Mapping[str, Any],
        emulation: EmulationMode,
        hooks: HookSet,
        connect_timeout_s: float,
        operation_timeout_s: float,
    ) -> None:
        self._url = url
        self._hooks = hooks
        self._operation_timeout_s = operation_timeout_s
        self._guard = ForkGuard()
        self._pump = Pump("mqbridge-pump")
        self._callbacks = Callbacks("mqbridge-callbacks")
        hooks.run_on(self._callbacks.submit)
        self._closables: dict[Any, None] = {}
        self._state: tuple[spi.State, str] = ("connected", "")
        self._listeners: list[Callable[[spi.State, str], Any]] = []
        self._closed = False
        self.engine = engine.name
        request = spi.ConnectRequest(url, options, emulation, connect_timeout_s, self._on_state)
        pending: Pending[spi.Connection] = Pending()
        engine.connect(request, pending.complete)
        self._connection = pending.wait(connect_timeout_s + 1.0, f"connecting to {url.text}", "not_applied")
        self._admin = Admin(self)
        self._guard.on_fork(self._forget)
        self._finalizer = weakref.finalize(self, _close_forgotten, self._connection, url.text, self._guard)
        self._finalizer.atexit = False
        _live.add(self)

    # --- what it is

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do, and how: ``bus.capabilities[Capability.REPLAY_BY_TIME]``."""
        return self._connection.capabilities

    @property
    def limits(self) -> spi.Limits:
        """What the engine cannot exceed, for instance `max_message_bytes`."""
        return self._connection.limits

    @property
    def admin(self) -> Admin:
        """Making, describing and removing destinations; groups and dead letters."""
        return self._admin

    def require(self, *capabilities: Capability) -> None:
        """Check at the start what a program needs: raises one `Unsupported` that names all that is missing."""
        missing: list[Unsupported] = []
        for capability in capabilities:
            try:
                self.capabilities.need(capability, "this program")
            except Unsupported as refusal:
                missing.append(refusal)
        if missing:
            raise Unsupported(
                " ".join(str(refusal) for refusal in missing),
                capability=",".join(refusal.capability for refusal in missing),
                engine=self.engine,
                instead=missing[0].instead,
            )

    @property
    def state(self) -> spi.State:
        """How the connection stands: connected, blocked, reconnecting, fenced or closed."""
        return self._state[0]

    def on_state(self, fn: Callable[[spi.State, str], Any]) -> None:
        """Call ``fn(state, reason)`` on the callback thread at each change: connected, blocked, reconnecting,
        fenced, closed."""
        self._listeners.append(fn)

    def _on_state(self, state: spi.State, reason: str) -> None:
        self._state = (state, reason)
        log.info("%s: %s %s", self._url.text, state, reason)
        for listener in self._listeners:
            self._callbacks.submit(lambda listener=listener: listener(state, reason))  # type: ignore[misc]

    def unwrap(self, kind: type[T]) -> T:
        """The native object of that type behind this connection."""
        self.capabilities.need(Cap.UNWRAP, "unwrap()")
        native = self._connection.unwrap(kind)
        if native is None:
            raise InvalidSpec(f"the {self.engine} connection has no {kind.__name__} inside", field="kind")
        return native

    # --- what is made from it

    def producer(
        self,
        *,
        acks: Literal["all", "leader", "none"] = "all",
        idempotent: bool | None = None,
        linger_s: float = 0.005,
        batch_bytes: int = 1 << 18,
        compression: str | None = None,
        partitioner: Literal["by_key", "round_robin", "sticky"] | spi.Partitioner = "by_key",
        delivery_timeout_s: float = 120.0,
        max_in_flight_bytes: int = 1 << 26,
        max_block_s: float = 60.0,
        on_unknown: Literal["fail", "resend"] = "fail",
    ) -> Producer:
        """A producer. `idempotent=None` takes it where the engine has it, True requires it; "resend" may duplicate,
        and what is sent again may lie behind what was sent after it."""
        self._ready_to_make()
        for name, value, low in (
            ("linger_s", linger_s, 0.0),
            ("batch_bytes", batch_bytes, 1),
            ("delivery_timeout_s", delivery_timeout_s, 0.001),
            ("max_in_flight_bytes", max_in_flight_bytes, 1),
            ("max_block_s", max_block_s, 0.0),
        ):
            _seconds(name, value, low)
        _choice("acks", acks, ("all", "leader", "none"))
        _choice("on_unknown", on_unknown, ("fail", "resend"))
        need = self.capabilities.need
        need(Cap.CONFIRMED_SEND, "a producer")
        if acks == "leader":
            need(Cap.ACKS_LEADER, "acks='leader'")
        elif acks == "none":
            need(Cap.ACKS_NONE, "acks='none'")
        if idempotent:
            need(Cap.IDEMPOTENT_SEND, "idempotent=True")
        chosen: spi.Partitioner
        if callable(partitioner):
            placing = Cap.PARTITION_CUSTOM
            need(placing, "a custom partitioner")
            chosen = partitioner
        else:
            _choice("partitioner", partitioner, tuple(_PARTITIONERS))
            make, placing = _PARTITIONERS[partitioner]
            if partitioner != "by_key":  # which nobody has to ask for: an engine without topics does without it
                need(placing, f"partitioner={partitioner!r}")
            # Producers that start anywhere spread keyless records from their first one on.
            chosen = make(random.randrange(1 << 16)).__call__  # bound: an object's call costs nearly twice as much
        spec = spi.SenderSpec(
            acks, idempotent, linger_s, batch_bytes, compression, delivery_timeout_s, max_in_flight_bytes, on_unknown
        )
        return Producer(self, self._connection.open_sender(spec), spec, chosen, placing, max_block_s)

    @overload
    def consumer(
        self,
        source: Queue[T],
        *,
        prefetch: int = ...,
        ack: Literal["explicit", "before"] = ...,
        priority: int = ...,
        settle_interval_s: float = ...,
    ) -> QueueConsumer[T]: ...

    @overload
    def consumer(
        self,
        source: Topic[T] | Sequence[Topic[T]],
        *,
        group: str,
        start: Position,
        isolation: Literal["read_committed", "read_uncommitted"] = ...,
        rebalance: Literal["cooperative", "eager", "server"] | None = ...,
        instance_id: str | None = ...,
        ack: AckMode = ...,
        settle_interval_s: float | None = ...,
        session_timeout_s: float = ...,
        max_poll_interval_s: float = ...,
        drain_timeout_s: float = ...,
        on_gap: Literal["fail", "earliest", "latest"] = ...,
        dead_letter: bool | Topic[Any] | None = ...,
        retry: RetryPolicy | None = ...,
    ) -> TopicConsumer[T]: ...

    def consumer(self, source: Any, **options: Any) -> Any:
        """A consumer of a queue, or of one or several topics in a group.

        For topics `start` is mandatory: it applies where the group has no committed offset, and is committed before the
        first delivery; a partition added later starts at its beginning; a committed offset that retention has removed
        raises `OffsetLost` unless `on_gap` says otherwise. ``ack="explicit"`` is at least once; ``"before"`` settles
        what is fetched before the handler sees it, at most once (what was fetched and not shown is lost with the
        consumer); ``"auto"`` (topics) commits what `poll` returned every 5 s, which
        loses and duplicates, as auto-commit does.

        Of a queue: `prefetch` (100: how many may be out and not settled), `ack`, `priority` (0: higher ones are
        served first), `settle_interval_s` (0.1).

        Of topics: `group`, `start`, `isolation`, `rebalance` ("cooperative", "eager", "server"; None is the engine's
        best: cooperative where it has it), `instance_id` (static membership), `ack`, `settle_interval_s` (0.1; 5 with
        auto), `session_timeout_s` (10: no sign of life for so long is death), `max_poll_interval_s` (300: not polled
        for so long, it leaves), `drain_timeout_s` (5: how long deliveries that are out may still be settled
        when a partition moves), `on_gap` ("fail", "earliest", "latest"), `dead_letter` (True makes
        ``TOPIC.GROUP.dlq``, or a Topic), `retry` (a `RetryPolicy` for `retry()` and `run()`).
        An option of the other kind is `ConfigurationError`.

        Engines differ. `prefetch`: on Kafka an upper bound that is reached by and by, under a record lock of at most 60
        s; on RabbitMQ at most 2000. `isolation` matters on Kafka alone, for what other clients write in transactions.
        `rebalance`: on RabbitMQ a group has one member for now, and every value but None is refused; a second member
        waits for the first as a stand-by, one and a half times `session_timeout_s`, then raises `Unsupported`.
        `session_timeout_s`: a Kafka broker bounds it (6 to 1800 s unless set otherwise), and with "server" its own
        setting counts; on RabbitMQ a third of it, at least 1 s, is the heartbeat. `drain_timeout_s` matters where
        partitions move: not on RabbitMQ. `Capabilities` has the rest.
        """
        self._ready_to_make()
        _known_options(isinstance(source, Queue), options)
        if isinstance(source, Queue):
            return self._queue_consumer(source, **options)
        topics = (source,) if isinstance(source, Topic) else tuple(source) if isinstance(source, list | tuple) else ()
        if not topics or not all(isinstance(topic, Topic) for topic in topics):
            raise InvalidSpec("consumer() takes a Queue, a Topic, or a list of Topics", field="source")
        return self._topic_consumer(topics, **options)

    def _queue_consumer(
        self,
        queue: Queue[T],
        *,
        prefetch: int = 100,
        ack: AckMode = "explicit",
        priority: int = 0,
        settle_interval_s: float = 0.1,
    ) -> QueueConsumer[T]:
        _choice("ack", ack, ("explicit", "before"))
        _whole("prefetch", prefetch, 1)  # there is no unlimited one: it would pile messages up in memory
        _seconds("settle_interval_s", settle_interval_s, 0.001)
        need = self.capabilities.need
        need(Cap.WORK_SHARING, f"consuming {queue}")
        need(Cap.PREFETCH, "prefetch")
        if priority:
            need(Cap.PRIORITY, "priority=")
        return QueueConsumer(
            self, queue, prefetch=prefetch, ack=ack, priority=priority, settle_interval_s=settle_interval_s
        )

    def _topic_consumer(
        self,
        topics: tuple[Topic[T], ...],
        *,
        group: str | None = None,
        start: Position | None = None,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
        rebalance: Literal["cooperative", "eager", "server"] | None = None,
        instance_id: str | None = None,
        ack: AckMode = "explicit",
        settle_interval_s: float | None = None,
        session_timeout_s: float = 10.0,
        max_poll_interval_s: float = 300.0,
        drain_timeout_s: float = 5.0,
        on_gap: Literal["fail", "earliest", "latest"] = "fail",
        dead_letter: bool | Topic[Any] | None = None,
        retry: RetryPolicy | None = None,
    ) -> TopicConsumer[T]:
        if not group:
            raise ConfigurationError("a topic is consumed in a group: consumer(topic, group=..., start=...)")
        if not isinstance(start, Position) or start is NOW:
            raise ConfigurationError(
                "start= is mandatory: EARLIEST, LATEST, At({partition: offset}) or Since(...). It says where a "
                "group without "
                "committed offsets begins; a silent default would lose or repeat messages."
            )
        _choice("ack", ack, ("explicit", "before", "auto"))
        _choice("isolation", isolation, ("read_committed", "read_uncommitted"))
        if rebalance is not None:
            _choice("rebalance", rebalance, ("cooperative", "eager", "server"))
        _choice("on_gap", on_gap, ("fail", "earliest", "latest"))
        for name, seconds in (
            ("session_timeout_s", session_timeout_s),
            ("max_poll_interval_s", max_poll_interval_s),
            ("drain_timeout_s", drain_timeout_s),
        ):
            _seconds(name, seconds)
        if settle_interval_s is not None:
            _seconds("settle_interval_s", settle_interval_s, 0.001)
        if len({topic.name for topic in topics}) != len(topics):
            raise ConfigurationError("a topic is named twice")
        need = self.capabilities.need
        need(Cap.GROUPS, f"consuming {topics[0]} in a group")
        if rebalance is not None:
            need(Cap[f"REBALANCE_{rebalance.upper()}"], f"rebalance={rebalance!r}")
        if instance_id is not None:
            need(Cap.STATIC_MEMBERSHIP, "instance_id=")
        if dead_letter:
            need(Cap.TOPIC_DEAD_LETTER, "dead_letter=")
        if retry is not None and retry.max_attempts is not None and not dead_letter:
            raise ConfigurationError(
                f"retry has max_attempts={retry.max_attempts} and there is no dead_letter: a message past the "
                "limit would "
                "have nowhere to go. Give dead_letter=True or a Topic, or a RetryPolicy(max_attempts=None)."
            )
        spec = spi.TopicSubscriptionSpec(
            topics,
            group,
            start.resolve(self._connection.clock.wall_ms()),
            isolation,
            rebalance or "cooperative",
            instance_id,
            session_timeout_s,
            max_poll_interval_s,
            on_gap,
        )
        interval_s = settle_interval_s if settle_interval_s is not None else 5.0 if ack == "auto" else 0.1
        return TopicConsumer(
            self,
            topics,
            spec,
            ack=ack,
            settle_interval_s=interval_s,
            drain_timeout_s=drain_timeout_s,
            dead_letter=dead_letter,
            retry=retry,
        )

    def replay(self, topic: Topic[T], start: Position, end: Position = NOW) -> Replay[T]:
        """Read a topic from `start` to `end`, in no group and disturbing none; ends by itself."""
        self._ready_to_make()
        for position in (start, end):
            if not isinstance(position, Position):
                raise ConfigurationError("replay() takes EARLIEST, LATEST, At, Since or NOW for its start and end")
        self.capabilities.need(Cap.REPLAY_BY_OFFSET, "replay()")
        wall_ms = self._connection.clock.wall_ms()
        first, last = start.resolve(wall_ms), end.resolve(wall_ms)
        if "since" in (first.kind, last.kind):
            self.capabilities.need(Cap.REPLAY_BY_TIME, "replay() by time")
        return Replay(self, topic, first, last)

    # --- ending

    def close(self, timeout: float = 30.0) -> None:
        """Close producers (flushing them), consumers (committing what is settled), then the connection; twice is
        harmless."""
        if self._closed:
            return
        self._closed = True
        _live.discard(self)
        self._finalizer.detach()
        if self._guard.forked:
            return
        deadline = Deadline(timeout)
        failures: list[MqbridgeError] = []
        # Consumers first: a handler's last sends are flushed after them.
        for item in sorted(self._closables, key=lambda item: isinstance(item, Producer)):
            try:
                item.close(deadline.left_s() or 0.0)
            except MqbridgeError as error:
                failures.append(error)
        try:
            left_s = deadline.left_s() or 0.0
            wait(lambda done: self._connection.close(left_s, done), left_s + 1.0, f"closing {self._url.text}")
        finally:
            self._on_state("closed", "")
            if self._hooks.closed is not None:
                self._hooks.closed(what="bus")
            self._callbacks.close(deadline.left_s() or 0.0)
        raise_first(failures)

    def __enter__(self) -> Bus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except MqbridgeError as failure:
            error.add_note(f"while closing the bus: {type(failure).__name__}: {failure}")

    def __repr__(self) -> str:
        return f"<Bus {self._url.text} {self._state[0]}>"

    def _new_lock(self) -> threading.Lock:
        return threading.Lock()

    def _ready_to_make(self) -> None:
        self._guard.check()
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this bus is closed. Nothing was done; connect again.", engine=self.engine)

    def _forget(self) -> None:
        self._connection.abandon()


def _known_options(of_queue: bool, options: Mapping[str, Any]) -> None:
    mine = _options_of(Bus._queue_consumer if of_queue else Bus._topic_consumer)
    others = _options_of(Bus._topic_consumer if of_queue else Bus._queue_consumer)
    for name in options:
        if name not in mine:
            kind, other = ("a queue", "topics") if of_queue else ("topics", "a queue")
            close = nearest(name, sorted(mine))
            hint = f"; did you mean {close}=?" if close else ""
            why = f"{name}= is for consumers of {other}" if name in others else f"there is no {name}={hint}"
            raise ConfigurationError(
                f"a consumer of {kind} cannot be made so: {why}. Nothing was done; it takes {', '.join(sorted(mine))}."
            )


def _options_of(method: Callable[..., Any]) -> set[str]:
    kinds = inspect.signature(method).parameters.values()
    return {parameter.name for parameter in kinds if parameter.kind is inspect.Parameter.KEYWORD_ONLY}


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number from {least} on, not {value!r}")


def _seconds(name: str, value: Any, least: float = 0.0) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigurationError(f"{name} must be a number of at least {least:g}, not {value!r}")


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


_live: weakref.WeakSet[Bus] = weakref.WeakSet()


def _close_forgotten(connection: spi.Connection, text: str, guard: ForkGuard) -> None:
    """A bus was dropped without close(): say so, and free what it held."""
    if guard.forked:
        return
    connection.close(5.0, lambda _result, _error: None)
    warnings.warn(f"unclosed bus {text}: use it as a context manager, or close it", ResourceWarning, stacklevel=2)


@atexit.register
def _close_at_exit() -> None:
    for bus in list(_live):
        if not bus._guard.forked:
            try:
                bus.close(timeout=5.0)
            except MqbridgeError:
                log.exception("closing %s at exit", bus._url.text)
            finally:  # last: a program may have made warnings errors
                warnings.warn(f"unclosed bus {bus._url.text} at exit", ResourceWarning, stacklevel=2)
