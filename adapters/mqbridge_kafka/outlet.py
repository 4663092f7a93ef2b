"""One producer of the client, and the thread that serves it.

The rule of this room: `produce` is called by whoever sends; delivery reports are served by one thread at a time, all
that are there at once. A busy sender serves them itself, every few hundred messages (`serve`): the client takes the
interpreter lock anew for each report, so another thread beside a busy sender waits for it each time. The outlet's own
thread serves the rest. It sleeps while nothing is out and looks every few milliseconds while something is. Once
somebody waits (`seal`) it stays inside `flush`, which makes the client send without the linger, until what was out is
reported. A `flush` with no time at all is not enough: the client raises its flag for the length of the call, and its
broker threads may wake too late to see it (librdkafka, `rd_kafka_flush`).

A producer that is cut off (cut_off.py) is replaced. The new one is given nothing before all that the old one had has
ended, as unknown: what was tried once and waits to be tried again, the client calls queued, as what it never sent. With
on_unknown="resend" the new one is given that first, in its order (resending.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from mqbridge.errors import ConnectionLost, MqbridgeError
from mqbridge.spi import SenderSpec
from mqbridge_kafka.cut_off import NOT_YET, REPLACED, Lifeline, let_go
from mqbridge_kafka.errors import ENGINE, SUPPOSED, applied, code_of, native_error, translate
from mqbridge_kafka.naming import REGISTRY
from mqbridge_kafka.resending import PURGED, Resending
from mqbridge_kafka.settings import Settings, log
from mqbridge_kafka.watching import never_destroy

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

LOOK_S: Final = 0.004
FLUSH_S: Final = 0.002
"""How often, while somebody waits, what came is reported."""
SEALED_S: Final = 2.0
"""How long a `seal` counts at most. Lingering counts from the append, so that whatever was to wait less is due then."""
SERVE_EVERY: Final = 256
"""How many messages a sender sends between two looks at what has come."""
IDLE_S: Final = 0.5
"""With nothing out: how often logs and errors of the client are served."""
LEAST_PROPAGATION_MS: Final = 1000
"""For so long (or `metadata_s`) after its first use, a topic that a broker does not know is taken for a young one."""
_ENDED: Final = (KafkaError._FATAL, KafkaError._PURGE_QUEUE)
"""What the client says of messages once it has ended: of new ones, and of those that it had not sent."""
REASON_S: Final = 1.0
"""How long after it has ended the client may keep us waiting for why."""
COMPRESSIONS: Final = ("none", "gzip", "snappy", "lz4", "zstd")


class Room(Protocol):
    """A channel, as its outlet sees it."""

    def report(self) -> int | None:
        """Report the deliveries that came since the last call; how many they were, if that is known."""

    def renewed(self) -> None:
        """Send through `outlet.produce` from now on. On return no message is on its way into what it was before."""


def producer_config(settings: Settings, spec: SenderSpec, max_message_bytes: int) -> dict[str, Any]:
    """The client's configuration for a sender. `idempotent=None` takes idempotence wherever acks allow it."""
    idempotent = spec.acks == "all" and spec.idempotent is not False
    delivery_ms = max(1, round(spec.delivery_timeout_s * 1000))
    config: dict[str, Any] = {
        "acks": {"all": -1, "leader": 1, "none": 0}[spec.acks],
        "enable.idempotence": idempotent,
        "linger.ms": min(round(spec.linger_s * 1000, 3), delivery_ms / 2),
        "delivery.timeout.ms": delivery_ms,
        "compression.type": spec.compression or "none",
        "batch.size": max(1, min(spec.batch_bytes, max_message_bytes)),
        "batch.num.messages": 1_000_000,  # bytes bound a batch, as they do for the Java client
        "message.max.bytes": max_message_bytes,
        "queue.buffering.max.messages": 0,  # bytes bound the buffer; 0 is no bound
        "queue.buffering.max.kbytes": max(1, spec.max_in_flight_bytes >> 10),
        "partitioner": "murmur2_random",
        "topic.metadata.refresh.interval.ms": round(settings.metadata_s * 1000),
        "topic.metadata.propagation.max.ms": max(LEAST_PROPAGATION_MS, round(settings.metadata_s * 1000)),
        "allow.auto.create.topics": False,
    }
    if not idempotent:
        config["max.in.flight.requests.per.connection"] = 1  # or a retry would pass a later batch by
        if spec.on_unknown == "fail":
            config["message.send.max.retries"] = 0  # without sequence numbers a retry may write twice
    return config


def _no_room(*_message: Any, **_options: Any) -> None:
    """In place of `produce` while the producer is being replaced."""
    raise BufferError


class Outlet:
    """A producer of the client, its thread, and the channels that send through it: by `produce`, which they look up
    again when they are told that it is another one."""

    def __init__(self, connection: KafkaConnection, role: str, spec: SenderSpec, more: Mapping[str, Any]) -> None:
        self._connection = connection
        self._role = role
        self._spec = spec
        self._more = more
        self._on_away = connection.watch.trouble
        self.located = spec.acks != "none"
        """Do brokers say where a message lies?"""
        self._resending = Resending(spec.delivery_timeout_s, self.became) if spec.on_unknown == "resend" else None
        self.producer = self._make()
        self.produce: Callable[..., None] = self._opened()
        self._lifeline = self._new_lifeline()
        self._replacing = False
        self.idle = True
        """Whether the thread must be woken after an append."""
        self.wrote = False
        """Whether a message was confirmed since the last look at the client; told by the channels."""
        self._wrote_before = False
        self._ended_by: KafkaError | None = None
        self._asked_s: float | None = None
        self._rooms: list[Room] = []
        self._wake = threading.Event()
        self._sealed_s: float | None = None
        self._due = 0
        self._sealing = threading.Lock()
        self._closing: Callable[[], None] | None = None
        self._abandoned = False
        self._serving = threading.Lock()
        self._served = 0
        self._thread = threading.Thread(target=self._run, name="mqbridge-kafka-sender", daemon=True)
        self._thread.start()

    @property
    def ending(self) -> bool:
        """Is it being closed? What a channel holds back itself will not be sent then."""
        return self._closing is not None

    @property
    def has_some(self) -> bool:
        """Is something in the producer? Else what found no room in it is too large for it."""
        return self._replacing or len(self.producer) > 0

    def add(self, room: Room) -> None:
        self._rooms.append(room)
        room.renewed()  # it may have been made before a replacement, and be added after it

    def _make(self) -> Producer:
        connection, spec = self._connection, self._spec
        config = connection.config(self._role)
        config |= producer_config(connection.settings, spec, connection.watch.max_message_bytes)
        try:
            return Producer({**config, **self._more, "error_cb": self._on_error})
        except (KafkaException, TypeError, ValueError) as error:
            raise translate(error, "making a producer", outcome="not_applied") from error

    def _opened(self) -> Callable[..., None]:
        """What gives messages to the producer."""
        if self._resending is None:
            return self.producer.produce
        self._resending.write = self.producer.produce
        return self._resending.produce

    def _new_lifeline(self) -> Lifeline:
        return Lifeline(partial(self._connection.config, "probe"))

    def wake(self) -> None:
        """Something was appended while the thread slept."""
        self.idle = False
        self._wake.set()

    def seal(self) -> None:
        """Send what is buffered now; until as much is reported, nothing lingers and reports are served at once."""
        with self._sealing:
            self._due = len(self.producer)
            self._sealed_s = time.monotonic()
        self.idle = False
        self._wake.set()

    def serve(self) -> None:
        """Report what has come, in the caller's thread, unless another one does; never waits."""
        if self._serving.acquire(blocking=False):
            try:
                self._served += 1
                self._served_by(self.producer.poll, 0)
                self._report()
            finally:
                self._serving.release()

    def close(self, ended: Callable[[], None]) -> None:
        """Give up what is not delivered yet: the client reports it, then `ended` is called, on the sender's thread."""
        if self._resending is not None:
            self._resending.end()
        self._closing = ended
        self._wake.set()

    def abandon(self) -> None:
        """After a fork: nothing of the client's threads is here."""
        self._abandoned = True
        never_destroy(self.producer)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._on_away(error.str())

    def became(self, error: KafkaError | None, message: Message) -> KafkaError | None:
        """What a delivery report says: None only where a broker has said that it has the message."""
        return SUPPOSED if error is None and self.located and message.offset() is None else error

    def why(self, error: KafkaError | KafkaException, what: str) -> MqbridgeError:
        """What a send that failed is told. Once the client has ended, that is why: without a right to send, for
        instance, the broker gives it no producer id, and then nothing at all was written."""
        code = code_of(error)
        if self._replacing and code in PURGED:
            outcome = applied("unknown")
            return ConnectionLost(f"{what}: {REPLACED}. {outcome}", outcome="unknown", engine=ENGINE)
        if code not in _ENDED or (self._ended_by is None and code != KafkaError._FATAL):
            return translate(error, what)
        never_sent = code == KafkaError._FATAL or not (self.wrote or self._wrote_before)
        return translate(self._ended_by or error, what, outcome="not_applied" if never_sent else "unknown")

    def says_why_soon(self, error: KafkaException) -> bool:
        """The client takes no messages any more, and has not said why yet: it tells the thread that serves it."""
        if code_of(error) != KafkaError._FATAL or self._ended_by is not None:
            return False
        if self._asked_s is None:
            self._asked_s = time.monotonic()
        self.wake()
        return time.monotonic() - self._asked_s < REASON_S

    def _served_by(self, serve: Callable[[float], object], timeout_s: float) -> None:
        """The client says that it has ended by raising from whatever serves it, and not to `error_cb`."""
        try:
            serve(timeout_s)
        except KafkaException as error:
            self._ended_by = native_error(error)

    # --- the thread

    def _run(self) -> None:
        wake = self._wake
        while self._closing is None:
            wake.clear()
            if self._lifeline.due:
                self._mind_the_client()
            if not self._lingers():
                with self._serving:
                    self._served_by(self.producer.flush, FLUSH_S)
                    self._report()
            elif len(self.producer):
                served = self._served
                wake.wait(LOOK_S)
                if self._served == served:  # else the senders do it
                    self.serve()
            else:
                self.idle = True
                # An append that found the thread awake came before this look, and is seen by it.
                if not len(self.producer) and self._closing is None:
                    wake.wait(IDLE_S)
                self.idle = False
                self.serve()
        if not self._abandoned:
            with self._serving:
                self._end(self._closing)

    def _lingers(self) -> bool:
        """May the client wait for more? Not from a `seal` on, until all that was out then is reported."""
        if self._sealed_s is None:
            return True
        with self._sealing:
            if self._due > 0 and len(self.producer) and time.monotonic() - self._sealed_s < SEALED_S:
                return False
            self._sealed_s = None
        return True

    def _report(self) -> None:
        if self._resending is not None:
            self._resending.send_again()
        for room in self._rooms:
            self._due -= room.report() or 0

    def _mind_the_client(self) -> None:
        """Nothing was confirmed for a while: is that for want of messages, or of brokers, or will the client never find
        them again?"""
        if self.wrote:
            self.wrote, self._wrote_before = False, True
            self._lifeline.heard()
        elif self._ended_by is None and self._lifeline.cut_off(self.producer, REGISTRY):
            try:
                made = self._make()
            except MqbridgeError as error:
                log.warning("sending: %s: %s", NOT_YET, error)
            else:
                log.warning("sending: %s", REPLACED)
                with self._serving:
                    self._replace(made)

    def _replace(self, made: Producer) -> None:
        self._replacing = True
        self._let_in(_no_room)
        if self._resending is not None:
            self._resending.purging = True
        self._empty()
        old = [self.producer]
        self.producer = made
        produce = self._opened()
        if self._resending is not None:
            self._resending.purging = False
            self._report()
        self._let_in(produce)
        self.wrote = self._wrote_before = self._replacing = False
        self._lifeline = self._new_lifeline()
        self._report()  # that there is room
        let_go(old)

    def _let_in(self, produce: Callable[..., None]) -> None:
        self.produce = produce
        for room in list(self._rooms):
            room.renewed()

    def _empty(self) -> None:
        """Give up what is not delivered yet, and report it."""
        self.producer.purge()
        while len(self.producer):
            self._served_by(self.producer.flush, 0.1)
            self._report()
        self._report()

    def _end(self, ended: Callable[[], None]) -> None:
        self._empty()
        self.producer.close()
        ended()
