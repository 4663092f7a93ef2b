"""One producer of the client, and the thread that serves it.

The rule of this room: `produce` is called by whoever sends; delivery reports are served by one thread at a time, all
that are there at once. A busy sender serves them itself, every few hundred messages (`serve`): the client takes the
interpreter lock anew for each report, so another thread beside a busy sender waits for it each time. The outlet's own
thread serves the rest. It sleeps while nothing is out and looks every few milliseconds while something is. Once
somebody waits (`seal`) it stays inside `flush`, which makes the client send without the linger, until what was out is
reported. A `flush` with no time at all is not enough: the client raises its flag for the length of the call, and its
broker threads may wake too late to see it (librdkafka, `rd_kafka_flush`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from mqbridge.errors import MqbridgeError
from mqbridge.spi import SenderSpec
from mqbridge_kafka.errors import code_of, native_error, translate
from mqbridge_kafka.settings import Settings
from mqbridge_kafka.watching import never_destroy

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


class Outlet:
    """A producer of the client, its thread, and the channels that send through it."""

    def __init__(self, config: Mapping[str, Any], on_away: Callable[[str], None]) -> None:
        self._on_away = on_away
        try:
            self.producer = Producer({**config, "error_cb": self._on_error})
        except (KafkaException, TypeError, ValueError) as error:
            raise translate(error, "making a producer", outcome="not_applied") from error
        self.idle = True
        """Whether the thread must be woken after an append."""
        self.wrote = False
        """Whether a message was ever confirmed; told by the channels."""
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

    def add(self, room: Room) -> None:
        self._rooms.append(room)

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
        self._closing = ended
        self._wake.set()

    def abandon(self) -> None:
        """After a fork: nothing of the client's threads is here."""
        self._abandoned = True
        never_destroy(self.producer)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._on_away(error.str())

    def why(self, error: KafkaError | KafkaException, what: str) -> MqbridgeError:
        """What a send that failed is told. Once the client has ended, that is why: without a right to send, for
        instance, the broker gives it no producer id, and then nothing at all was written."""
        code = code_of(error)
        if code not in _ENDED or (self._ended_by is None and code != KafkaError._FATAL):
            return translate(error, what)
        never_sent = code == KafkaError._FATAL or not self.wrote
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
        producer, wake = self.producer, self._wake
        while self._closing is None:
            wake.clear()
            if not self._lingers():
                with self._serving:
                    self._served_by(producer.flush, FLUSH_S)
                    self._report()
            elif len(producer):
                served = self._served
                wake.wait(LOOK_S)
                if self._served == served:  # else the senders do it
                    self.serve()
            else:
                self.idle = True
                # An append that found the thread awake came before this look, and is seen by it.
                if not len(producer) and self._closing is None:
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
        for room in self._rooms:
            self._due -= room.report() or 0

    def _end(self, ended: Callable[[], None]) -> None:
        self.producer.purge()
        while len(self.producer):
            self._served_by(self.producer.flush, 0.1)
            self._report()
        self._report()
        self.producer.close()
        ended()
