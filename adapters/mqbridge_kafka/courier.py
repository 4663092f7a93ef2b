"""Records that this engine writes for itself: dead letters, copies of released messages, the registry.

The rule of this room: `deliver` returns when the brokers have said what became of every record, so that what depends on
a copy (the ack of the original) is done only after it. One producer a connection, idempotent, with all replicas, made
when it is first needed; each record is a batch of its own, so that consumers can acquire it alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Message

from mqbridge.errors import ConnectionLost, MqbridgeError, OperationTimeout
from mqbridge.spi import Completion, SenderSpec
from mqbridge_kafka.asking import partitions_of
from mqbridge_kafka.errors import ENGINE, code_of, translate
from mqbridge_kafka.letters import Letter
from mqbridge_kafka.outlet import Outlet

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

DELIVERY_S: Final = 15.0
"""After so long without an answer a copy is given up, and its original is not acknowledged."""
ROOM_S: Final = 0.01
_SPEC: Final = SenderSpec(
    acks="all",
    idempotent=True,
    linger_s=0.0,
    batch_bytes=1_000_000,
    compression=None,
    delivery_timeout_s=DELIVERY_S,
    max_in_flight_bytes=64 << 20,
    on_unknown="fail",
)


class _Parcel:
    """The letters of one call, and what became of each."""

    def __init__(self, count: int, outlet: Outlet) -> None:
        self._outlet = outlet
        self.errors: list[KafkaError | BaseException | None] = [KafkaError(KafkaError._TIMED_OUT)] * count
        self.open = count
        self.ended = threading.Event()

    def on_delivery(self, place: int, error: KafkaError | None, message: Message) -> None:
        error = self._outlet.became(error, message)
        if error is None:
            self._outlet.wrote = True
        self.end(place, error)

    def end(self, place: int, error: KafkaError | BaseException | None) -> None:
        self.errors[place] = error
        self.open -= 1  # reports come on one thread, and `deliver` adds its own only where none will come
        if not self.open:
            self.ended.set()


class Courier:
    """Confirmed writes of records that are this engine's own. Thread-safe; blocks the calling thread."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._outlet: Outlet | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Held while a letter is given to the producer, so that none is given to one that is being replaced."""
        self._closed = False

    def deliver(
        self, letters: Sequence[Letter], what: str, timeout_s: float = DELIVERY_S
    ) -> list[MqbridgeError | None]:
        """Write the letters; for each None, or why not. Returns when all have ended, or after `timeout_s`."""
        if not letters:
            return []
        outlet = self._open()
        if outlet is None:
            closed = ConnectionLost(f"{what}: the connection is closed. Nothing was written.", outcome="not_applied")
            return [closed] * len(letters)
        deadline_s = time.monotonic() + timeout_s
        parcel = _Parcel(len(letters), outlet)
        for place, letter in enumerate(letters):
            self._produce(outlet, letter, parcel, place, deadline_s)
        outlet.seal()
        while not parcel.ended.wait(min(0.05, max(0.0, deadline_s - time.monotonic()))):
            if time.monotonic() >= deadline_s:
                break
            outlet.seal()
        return [None if error is None else _failure(error, what, timeout_s) for error in list(parcel.errors)]

    def _produce(self, outlet: Outlet, letter: Letter, parcel: _Parcel, place: int, deadline_s: float) -> None:
        pause, looked = threading.Event(), False
        while True:
            try:
                with self._turn:
                    outlet.produce(
                        letter.topic,
                        letter.value,
                        letter.key,
                        on_delivery=partial(parcel.on_delivery, place),
                        timestamp=max(0, letter.timestamp_ms),
                        headers=letter.headers,
                    )
            except BufferError:
                if time.monotonic() < deadline_s:
                    outlet.seal()
                    pause.wait(ROOM_S)
                    continue
                parcel.end(place, KafkaError(KafkaError._TIMED_OUT_QUEUE))
            except KafkaException as error:
                if code_of(error) == KafkaError._UNKNOWN_TOPIC and not looked:
                    looked = True
                    if _is_there(outlet, letter.topic):
                        continue
                parcel.end(place, error)
            return

    def _open(self) -> Outlet | None:
        with self._lock:
            if self._outlet is None and not self._closed:
                self._outlet = Outlet(self._connection, "courier", _SPEC, {"batch.num.messages": 1})
                self._outlet.add(self)
                self._connection.parts[self] = None
            return None if self._closed else self._outlet

    # --- as a room of the outlet

    def report(self) -> None:
        """Nothing: each parcel hears of its letters by itself."""

    def renewed(self) -> None:
        with self._turn:  # each letter looks the producer up; who was giving one to the old one has done so now
            pass

    def close(self, done: Completion[None]) -> None:
        with self._lock:
            self._closed = True
            outlet = self._outlet
        self._connection.parts.pop(self, None)
        if outlet is None:
            done(None, None)
        else:
            outlet.close(lambda: done(None, None))

    def abandon(self) -> None:
        self._closed = True
        if self._outlet is not None:
            self._outlet.abandon()


def _is_there(outlet: Outlet, topic: str) -> bool:
    """Asks the brokers, and has the client learn the answer: it remembers for a while that a topic was missing."""
    try:
        partitions_of(outlet.producer, [topic])
    except KafkaException:
        return False
    return True


def _failure(error: KafkaError | BaseException, what: str, timeout_s: float) -> MqbridgeError:
    if isinstance(error, KafkaError) and error.code() == KafkaError._TIMED_OUT:
        return OperationTimeout(
            f"{what}: no answer within {timeout_s:.3g} s. It may have been written, or be written yet; repeating it "
            "may duplicate it.",
            outcome="unknown",
            engine=ENGINE,
        )
    return translate(error, what)
