"""Sending: the portable producer.

The rule of this room: what can be refused is refused here, before the engine sees it, and a message costs one append
and one receipt. What happened to it afterwards is in receipts.py.
"""

from __future__ import annotations

import datetime as _dt
import itertools
import secrets
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.capabilities import ROUTES_BY_TYPE
from mqbridge.capabilities import Capability as Cap
from mqbridge.codecs import bytes as bytes_codec
from mqbridge.errors import Closed, CodecError, InvalidSpec, OperationTimeout, Rejected, SendFailed
from mqbridge.messages import HeadersLike, Message, RawHeaders, encode_headers
from mqbridge.positions import to_ms
from mqbridge.receipts import BITS, MASK, BatchReceipt, Chunk, Receipt, SendLog
from mqbridge.spi import FULL, Channel, Extras, Partitioner, Sender, SenderSpec
from mqbridge.topology import Destination, Exchange, Queue, Topic
from mqbridge.waiting import Deadline, wait

if TYPE_CHECKING:
    from mqbridge.bus import Bus

T = TypeVar("T")

__all__ = ["Producer"]

RESEAL_S = 0.02


class _Route:
    """A destination as one producer has opened it: resolved once, used for every message."""

    __slots__ = (
        "append",
        "bare",
        "channel",
        "chunk",
        "codec",
        "destination",
        "is_topic",
        "log",
        "nullable",
        "plain",
    )

    def __init__(self, destination: Destination, channel: Channel, log: SendLog, propagated: bool) -> None:
        codec = getattr(destination, "codec", bytes_codec)
        self.destination = destination
        self.channel = channel
        self.append = channel.append
        self.log = log
        self.codec = codec
        self.plain = codec is bytes_codec
        self.nullable = getattr(destination, "nullable", True)
        self.is_topic = isinstance(destination, Topic)
        self.bare = not propagated and not isinstance(destination, Exchange)
        """A message without options needs no preparation."""
        self.chunk: Chunk = log.find(0)

    def encode(self, value: Any) -> bytes | None:
        """The value as bytes, or why not."""
        if value is None:
            if not self.nullable:
                raise InvalidSpec(
                    f"{self.destination} was specified with nullable=False and got a null value", field="value"
                )
            return None
        try:
            data = self.codec.encode(value)
        except Exception as error:  # the codec is the user's: whatever it raises, it cannot take the value
            raise CodecError(
                f"the {self.codec.name} codec of {self.destination} cannot encode this "
                f"{type(value).__name__}: {error}. Nothing was sent."
            ) from error
        if type(data) is not bytes:
            raise CodecError(
                f"the {self.codec.name} codec of {self.destination} made {type(data).__name__} where bytes are due. "
                "Nothing was sent."
            )
        return data


class Producer:
    """Sends messages; made by `Bus.producer`. Thread-safe; messages of one thread to one destination keep their order.

    A context manager: leaving it flushes, and failures nobody observed raise one `SendFailed`.

    Which argument is legal where:

    ============== ======= ======= =========
    argument       Topic   Queue   Exchange
    ============== ======= ======= =========
    key            yes     yes     yes
    headers        yes     yes     yes
    timestamp      yes     yes     yes
    message_id     yes     yes     yes
    routing_key    no [1]_ no [1]_ yes
    expires_in_s   no [2]_ yes     yes
    priority       no [2]_ yes     yes
    delay_s        no [2]_ yes     yes
    ============== ======= ======= =========

    .. [1] `InvalidSpec`.  .. [2] `Unsupported`: a log keeps its order and its records.
    """

    def __init__(
        self,
        bus: Bus,
        sender: Sender,
        spec: SenderSpec,
        partitioner: Partitioner | None,
        placing: Cap,
        max_block_s: float,
    ) -> None:
        self._bus = bus
        self._sender = sender
        self._spec = spec
        self._partitioner = partitioner
        self._placing = placing
        self._max_block_s = max_block_s
        self._max_bytes = bus.limits.max_message_bytes
        self._routes: dict[Destination, _Route] = {}
        self._last: _Route | None = None
        self._lock = bus._new_lock()
        self._closed = False
        self._propagator = bus._hooks.propagator
        self._nonce = secrets.token_hex(8)
        self._ids = itertools.count()
        self._job = bus._pump.every(min(1.0, spec.delivery_timeout_s / 4), self._watch_deadlines)
        bus._guard.on_fork(self._forget)
        bus._closables[self] = None

    # --- sending

    def send(
        self,
        destination: Topic[T] | Queue[T] | Exchange,
        value: T | None,
        *,
        key: str | bytes | None = None,
        headers: HeadersLike | None = None,
        routing_key: str = "",
        timestamp: _dt.datetime | None = None,
        expires_in_s: float | None = None,
        priority: int | None = None,
        delay_s: float | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Send one message; returns its receipt at once.

        Blocks only while the bounded buffer is full, at most `max_block_s`, then raises `OperationTimeout` (not
        applied). A missing destination is `NotFound`, no match on an exchange fails the receipt with `Unroutable`, a
        message above `bus.limits.max_message_bytes` is `Rejected` here. Keys are read as bytes (str as UTF-8); a null
        key is not an empty key. `timestamp` is an aware datetime, kept to the millisecond; the default is the
        engine's present.
        """
        route = self._last
        if route is None or route.destination is not destination:
            route = self._route(destination)
        raw: bytes | None
        if value.__class__ is bytes and route.plain:
            raw = value
            size = len(value)
        else:
            raw = route.encode(value)
            size = 0 if raw is None else len(raw)
        if key is not None:
            if key.__class__ is not bytes:
                key = _encode_key(key)
            size += len(key)
        if size > self._max_bytes:
            raise self._too_large(destination, size)
        if (
            headers is None
            and timestamp is None
            and message_id is None
            and not routing_key
            and expires_in_s is None
            and priority is None
            and delay_s is None
            and route.bare
        ):
            if not route.is_topic:
                message_id = f"{self._nonce}-{next(self._ids)}"
            sequence = route.append(raw, key, None, None, message_id, None)
            if sequence == FULL:
                sequence = self._append_when_room(route, (raw, key, None, None, message_id, None), self._max_block_s)
        else:
            message = self._prepare(
                route, raw, key, headers, timestamp, message_id, routing_key, expires_in_s, priority, delay_s
            )
            sequence = route.append(*message)
            if sequence == FULL:
                sequence = self._append_when_room(route, message, self._max_block_s)
        chunk = route.chunk
        if sequence >> BITS != chunk.number:
            chunk = route.chunk = route.log.find(sequence >> BITS)
        return Receipt(chunk, sequence & MASK)

    def try_send(self, destination: Topic[T] | Queue[T] | Exchange, value: T | None, **options: Any) -> Receipt | None:
        """`send` that never blocks: None when the buffer is full, with nothing taken. Same options as `send`."""
        route = self._last
        if route is None or route.destination is not destination:
            route = self._route(destination)
        raw = route.encode(value)
        message = self._prepare_options(route, raw, options)
        sequence = route.append(*message)
        return None if sequence == FULL else route.log.receipt(sequence)

    def send_many(
        self, destination: Topic[T] | Queue[T] | Exchange, messages: Iterable[Message | T | None]
    ) -> BatchReceipt:
        """Send many messages, each a `Message` or a bare value; state is kept by the batch, receipts are made on
        demand.

        If one of them is refused, those before it are sent and the error says how many (`sent`).
        """
        route = self._route(destination)
        numbers: list[int] = []
        chunks: dict[int, Chunk] = {}
        append, simple = route.append, route.plain and route.bare and route.is_topic
        limit = self._max_bytes
        try:
            for item in messages:
                if simple and item.__class__ is bytes and len(item) <= limit:
                    sequence = append(item, None, None, None, None, None)
                    if sequence == FULL:
                        sequence = self._append_when_room(
                            route, (item, None, None, None, None, None), self._max_block_s
                        )
                else:
                    sequence = self._send_item(route, item)
                numbers.append(sequence)
                number = sequence >> BITS
                if number not in chunks:
                    chunks[number] = route.log.find(number)
        except Exception as error:
            error.__dict__["sent"] = len(numbers)
            error.add_note(f"{len(numbers)} messages before this one were sent")
            raise
        return BatchReceipt(chunks, numbers)

    def _send_item(self, route: _Route, item: Any) -> int:
        if not isinstance(item, Message):
            item = Message(item)
        options = {name: getattr(item, name) for name in Message._fields[1:]}
        message = self._prepare_options(route, route.encode(item.value), options)
        sequence = route.append(*message)
        if sequence == FULL:
            sequence = self._append_when_room(route, message, self._max_block_s)
        return sequence

    def _prepare_options(self, route: _Route, raw: bytes | None, options: dict[str, Any]) -> _Prepared:
        names = ("headers", "timestamp", "message_id", "routing_key", "expires_in_s", "priority", "delay_s")
        unknown = [name for name in options if name not in names and name != "key"]
        if unknown:
            raise TypeError(f"send() got an unexpected keyword argument {unknown[0]!r}")
        key = options.get("key")
        if key is not None:
            key = _encode_key(key)
        values = [options.get(name) for name in names]
        values[3] = values[3] or ""
        return self._prepare(route, raw, key, *values)

    def _prepare(
        self,
        route: _Route,
        raw: bytes | None,
        key: Any,
        headers: Any,
        timestamp: Any,
        message_id: Any,
        routing_key: Any,
        expires_in_s: Any,
        priority: Any,
        delay_s: Any,
    ) -> _Prepared:
        """Check and convert what few messages carry."""
        pairs = encode_headers(headers)
        if self._propagator is not None:
            added: dict[str, bytes] = {}
            self._propagator.inject(route.destination, added)
            pairs = (pairs or ()) + (encode_headers(added) or ()) or None
        size = 0 if raw is None else len(raw)
        if key is not None:
            size += len(key)
        for name, value in pairs or ():
            size += len(name) + len(value)
        if size > self._max_bytes:
            raise self._too_large(route.destination, size)
        timestamp_ms = None
        if timestamp is not None:
            if not isinstance(timestamp, _dt.datetime):
                raise InvalidSpec(
                    f"timestamp must be an aware datetime, not {type(timestamp).__name__}", field="timestamp"
                )
            timestamp_ms = to_ms(timestamp)
        if message_id is not None and not isinstance(message_id, str):
            raise InvalidSpec(f"message_id must be str, not {type(message_id).__name__}", field="message_id")
        if message_id is None and not route.is_topic:
            message_id = f"{self._nonce}-{next(self._ids)}"
        extras = self._extras(route, routing_key, expires_in_s, priority, delay_s)
        return raw, key, pairs, timestamp_ms, message_id, extras

    def _extras(self, route: _Route, routing_key: Any, expires_in_s: Any, priority: Any, delay_s: Any) -> Extras | None:
        destination = route.destination
        routed = isinstance(destination, Exchange)
        if routing_key:
            if not routed:
                raise InvalidSpec(
                    f"routing_key is for exchanges; {destination} is a {destination.kind}. Nothing was sent.",
                    field="routing_key",
                )
            if not isinstance(routing_key, str) or len(routing_key.encode()) > 255:
                raise InvalidSpec(
                    "a routing key is a str of at most 255 bytes (AMQP 0-9-1 shortstr)", field="routing_key"
                )
        if expires_in_s is None and priority is None and delay_s is None:
            return Extras(routing_key) if routed else None
        for name, value, capability in (
            ("expires_in_s", expires_in_s, Cap.MESSAGE_TTL),
            ("priority", priority, Cap.PRIORITY),
            ("delay_s", delay_s, Cap.DELAYED_SEND),
        ):
            if value is None:
                continue
            if route.is_topic:
                raise self._not_on_topics(name, capability)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise InvalidSpec(f"{name} must be a number from 0 on, not {value!r}", field=name)
            self._bus.capabilities.need(capability, f"send({name}=...)")
        return Extras(
            routing_key if routed else None,
            None if expires_in_s is None else round(expires_in_s * 1000),
            None if priority is None else int(priority),
            None if delay_s is None else round(delay_s * 1000),
        )

    def _not_on_topics(self, name: str, capability: Cap) -> Exception:
        from mqbridge.errors import Unsupported

        return Unsupported(
            f"send({name}=...) on a topic: a log keeps its records in order until retention removes them. Nothing was "
            "sent. Send to a queue, or bind a queue to an exchange.",
            capability=capability.value,
            engine=self._bus.engine,
            instead="a Queue",
        )

    def _too_large(self, destination: Destination, size: int) -> Rejected:
        return Rejected(
            f"a message of {size} bytes (value, key and headers) for {destination} is above this engine's "
            f"max_message_bytes={self._max_bytes}. Nothing was sent. Send a reference to where the data lies, "
            "or split it.",
            engine=self._bus.engine,
            size_bytes=size,
        )

    def _append_when_room(self, route: _Route, message: _Prepared, max_block_s: float) -> int:
        """The buffer was full: wait for room, at most `max_block_s`."""
        deadline = Deadline(max_block_s)
        turnstile = route.log.turnstile
        while True:
            # Each time: what fills the buffer now may be another thread's, and nothing but the linger would send it.
            route.channel.seal()
            passed = turnstile.passed
            sequence = route.append(*message)
            if sequence != FULL:
                return sequence
            if turnstile.wait_for(lambda passed=passed: turnstile.passed != passed, deadline.left_s()):  # type: ignore[misc]
                continue
            raise OperationTimeout(
                f"the buffer of {self._spec.max_in_flight_bytes} bytes was full for max_block_s={max_block_s:g}: "
                f"{route.destination} takes messages more slowly than they are sent. This one was not taken; slow "
                "down, or raise max_in_flight_bytes.",
                outcome="not_applied",
            )

    # --- routes

    def _route(self, destination: Topic[Any] | Queue[Any] | Exchange) -> _Route:
        last = self._last  # once: another thread may be closing
        if last is not None and last.destination is destination:
            return last
        self._bus._guard.check()
        if self._closed:
            raise Closed("this producer is closed. Nothing was sent; make another with bus.producer().")
        if not isinstance(destination, Destination):
            raise InvalidSpec(
                f"send() takes a Topic, Queue or Exchange, not {type(destination).__name__}; mqbridge.parse() "
                "makes one "
                "from text",
                field="destination",
            )
        route = self._routes.get(destination)
        if route is None or route.codec is not getattr(destination, "codec", bytes_codec):
            self._routes[destination] = route = self._open(destination)
        elif route.destination is not destination:
            # An equal specification, maybe with another idea of null: the same channel serves both.
            twin = self._resolve(destination, route.channel, route.log)
            twin.chunk = route.chunk
            self._routes[destination] = route = twin
        self._last = route
        if self._closed:  # meanwhile, by another thread: the next send must not pass by the check above
            self._last = None
        return route

    def _open(self, destination: Destination) -> _Route:
        with self._lock:
            known = self._routes.get(destination)
            if known is not None:
                return self._resolve(destination, known.channel, known.log)
            capability = {
                "topic": self._placing,
                "queue": Cap.WORK_SHARING,
                "exchange": ROUTES_BY_TYPE.get(_exchange_type(destination)),
            }
            need = capability[destination.kind]
            if need is not None:
                self._bus.capabilities.need(need, f"sending to {destination}")
            bus = self._bus
            log = SendLog(destination, self._spec.delivery_timeout_s, bus._callbacks, bus._hooks, bus._guard)
            partitioner = self._partitioner if destination.kind == "topic" else None
            channel: Channel = wait(
                partial(self._sender.channel, destination, partitioner, log),
                bus._operation_timeout_s,
                f"opening {destination}",
                "not_applied",
            )
            log.channel = channel
            route = self._resolve(destination, channel, log)
            self._routes[destination] = route
            return route

    def _resolve(self, destination: Destination, channel: Channel, log: SendLog) -> _Route:
        return _Route(destination, channel, log, self._propagator is not None)

    # --- ending

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent so far has ended; raise `SendFailed` for failures nobody observed."""
        self._bus._guard.check()
        deadline = Deadline(timeout)
        for route in {id(route.log): route for route in list(self._routes.values())}.values():
            target = route.channel.appended
            route.channel.seal()
            log = route.log
            ended = partial(log.settled_below, target)
            while not log.turnstile.wait_for(ended, deadline.left_s(RESEAL_S)):
                if not deadline.passed():
                    # Another thread may have drawn a lower number and come into the buffer after the seal.
                    route.channel.seal()
                    continue
                raise OperationTimeout(
                    f"flush() saw no end of the sends to {route.destination} within {timeout:g} s. They go on; their "
                    "outcome is not known yet.",
                    outcome="unknown",
                )
        self._raise_unobserved()

    def _raise_unobserved(self) -> None:
        errors: list[tuple[int, Any]] = []
        for log in {id(route.log): route.log for route in list(self._routes.values())}.values():
            with log._lock:
                errors.extend(sorted(log.failures.items(), key=lambda item: item[0]))
                log.failures.clear()
        if not errors:
            return
        outcomes: dict[str, int] = {}
        for _, error in errors:
            outcomes[error.outcome] = outcomes.get(error.outcome, 0) + 1
        first = errors[0][1]
        raise SendFailed(
            f"{len(errors)} sends failed ({', '.join(f'{count} {name}' for name, count in outcomes.items())}); "
            "the first: "
            f"{type(first).__name__}: {first}",
            outcome="unknown" if "unknown" in outcomes else "not_applied",
            engine=self._bus.engine,
            count=len(errors),
            failures=tuple(error for _, error in errors[:20]),
            outcomes=outcomes,
        ) from first

    def close(self, timeout: float | None = 30.0) -> None:
        """Flush and close; twice is harmless. Failures nobody observed raise one `SendFailed`."""
        if self._closed:
            return
        # First: a send that begins after this is refused, so that the flush below sees all there will ever be.
        self._closed = True
        self._last = None
        if self._bus._guard.forked:
            return
        try:
            self.flush(timeout)
        finally:
            self._bus._pump.cancel(self._job)
            self._bus._closables.pop(self, None)
            wait(self._sender.close, timeout, "closing a producer")
            if self._bus._hooks.closed is not None:
                self._bus._hooks.closed(what="producer")

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except Exception as failure:  # noqa: BLE001 - the body's exception wins; this one is attached to it
            error.add_note(f"while closing the producer: {type(failure).__name__}: {failure}")

    def unwrap(self, kind: type[T]) -> T:
        """The native client object of that type; `Unsupported` if this engine has none."""
        self._bus.capabilities.need(Cap.UNWRAP, "unwrap()")
        native = self._sender.unwrap(kind)
        if native is None:
            raise InvalidSpec(f"the {self._bus.engine} producer has no {kind.__name__} inside", field="kind")
        return native

    # --- in the background

    def _watch_deadlines(self) -> None:
        for route in list(self._routes.values()):
            route.log.give_up_late()

    def _forget(self) -> None:
        self._routes = {}
        self._last = None


_Prepared = tuple["bytes | None", "bytes | None", "RawHeaders | None", "int | None", "str | None", "Extras | None"]


def _exchange_type(destination: Destination) -> str:
    return destination.type if isinstance(destination, Exchange) else ""


def _encode_key(key: Any) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes):
        return key
    raise InvalidSpec(
        f"a key must be str or bytes, not {type(key).__name__}; nothing was sent. Convert it, so that every "
        "producer of "
        "this destination agrees on its bytes.",
        field="key",
    )
