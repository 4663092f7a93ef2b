"""Sending to exchanges: the sender resolves the bindings, and writes one record for each queue that is reached.

The rule of this room: a send is confirmed when every one of its records is; it failed with `not_applied` only if none
was written. In between it is `unknown`, and the error names the queues that have it: fan-out on Kafka is not atomic.
Bindings are those of the registry at the moment of the append, at most `registry.SEEN_S` old.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from mqbridge import spi
from mqbridge.errors import ConnectionLost, MqbridgeError, NotFound, OperationTimeout, Unroutable
from mqbridge.messages import RawHeaders
from mqbridge.topology import Exchange
from mqbridge_kafka.catalogue import Catalogue, Route
from mqbridge_kafka.errors import ENGINE
from mqbridge_kafka.letters import Letter
from mqbridge_kafka.outlet import Outlet
from mqbridge_kafka.queue_records import headers_for_queue, now_ms, report_confirmed, too_large
from mqbridge_kafka.records import record_timestamp

_NAMED: Final = 20
"""So many queues are named in an error."""


class FanOut:
    """One message on its way to several queues: which have it, and which do not."""

    __slots__ = ("_exchange", "applied", "failed", "open", "sequence")

    def __init__(self, exchange: Exchange, sequence: int, count: int) -> None:
        self._exchange = exchange
        self.sequence = sequence
        self.open = count
        self.applied: list[str] = []
        self.failed: list[tuple[str, MqbridgeError]] = []

    def end(self, queue: str, error: MqbridgeError | None) -> bool:
        """One queue's answer; True with the last."""
        if error is None:
            self.applied.append(queue)
        else:
            self.failed.append((queue, error))
        self.open -= 1
        return not self.open

    def verdict(self) -> MqbridgeError | None:
        """None if every queue has it, else the one error of the send."""
        if not self.failed:
            return None
        first = self.failed[0][1]
        if not self.applied and all(error.outcome == "not_applied" for _, error in self.failed):
            return first
        made = ConnectionLost(
            f"sending to {self._exchange}: of {len(self.applied) + len(self.failed)} queues, "
            f"{_names(self.applied) or 'none'} certainly got the message; not, or not certainly: "
            f"{_names([queue for queue, _ in self.failed])} ({first}). Repeating it duplicates it where it is.",
            outcome="unknown",
            retryable=False,
            engine=ENGINE,
            applied=tuple(self.applied),
            failed=tuple(queue for queue, _ in self.failed),
        )
        made.__cause__ = first
        return made


def _names(queues: Sequence[str]) -> str:
    return ", ".join(queues[:_NAMED]) + (f" and {len(queues) - _NAMED} more" if len(queues) > _NAMED else "")


class ExchangeChannel:
    """The SPI's Channel for one exchange."""

    def __init__(self, outlet: Outlet, exchange: Exchange, catalogue: Catalogue, reports: spi.Reports) -> None:
        self._outlet = outlet
        self._write = outlet.produce
        self._exchange = exchange
        self._catalogue = catalogue
        self._reports = reports
        self._next = 0
        self._turn = threading.Lock()
        self._full = False
        # What did not fit into the client's buffer of a send that was begun; nothing new is taken before it is in.
        self._left: deque[tuple[FanOut, Route, Letter]] = deque()
        # Answers come on the outlet's thread, refusals of the client on the sender's.
        self._ended: deque[FanOut] = deque()
        self._ending = threading.Lock()

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
        routing_key = (extras.routing_key if extras is not None else None) or ""
        native = headers_for_queue(headers, timestamp_ms, message_id, extras, now_ms())
        with self._turn:
            if self._left:
                self._full = True
                return spi.FULL
            routes = self._catalogue.route(self._exchange.name, routing_key, headers)
            if not routes:
                return self._refused(self._nowhere(routes is None, routing_key))
            fan_out = FanOut(self._exchange, self._next, len(routes))
            for place, route in enumerate(routes):
                letter = Letter(route.topic, value, key, native, record_timestamp(timestamp_ms))
                if self._produce(fan_out, route, letter):
                    continue
                if place == 0:
                    if self._outlet.has_some:
                        self._full = True
                        self._outlet.wake()
                        return spi.FULL
                    return self._refused(too_large(self._exchange))
                self._left.append((fan_out, route, letter))
            sequence = self._next
            self._next = sequence + 1
        if self._outlet.idle:
            self._outlet.wake()
        return sequence

    def _nowhere(self, gone: bool, routing_key: str) -> MqbridgeError:
        if gone:
            return NotFound(f"{self._exchange} does not exist any more. Nothing was sent.", engine=ENGINE)
        return Unroutable(
            f"no binding of {self._exchange} matches routing key {routing_key!r} and the headers, so no queue has the "
            "message. Bind a queue, or give the exchange an alternate.",
            engine=ENGINE,
        )

    def _produce(self, fan_out: FanOut, route: Route, letter: Letter) -> bool:
        """Give one record to the client; False if its buffer is full."""
        try:
            self._write(
                letter.topic,
                letter.value,
                letter.key,
                on_delivery=partial(self._on_delivery, fan_out, route.queue),
                timestamp=letter.timestamp_ms,
                headers=letter.headers,
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._end(fan_out, route.queue, self._outlet.why(error, f"sending to {self._exchange}"))
        return True

    def seal(self) -> None:
        self._outlet.seal()

    def _refused(self, error: MqbridgeError) -> int:
        sequence = self._next
        self._next = sequence + 1
        self._reports.failed((sequence,), error)
        return sequence

    # --- the outlet's thread

    def _write_left(self) -> None:
        with self._turn:
            while self._left:
                fan_out, route, letter = self._left[0]
                if self._outlet.ending:
                    error = OperationTimeout(
                        f"sending to {self._exchange}: the producer was closed before the record for queue "
                        f"{route.queue} fitted into its buffer. That one was not written.",
                        outcome="not_applied",
                        engine=ENGINE,
                    )
                    self._end(fan_out, route.queue, error)
                elif not self._produce(fan_out, route, letter):
                    return
                self._left.popleft()

    def _on_delivery(self, fan_out: FanOut, queue: str, error: KafkaError | None, message: Message) -> None:
        error = self._outlet.became(error, message)
        if error is None:
            self._outlet.wrote = True
            self._end(fan_out, queue, None)
        else:
            self._end(fan_out, queue, self._outlet.why(error, f"sending to {self._exchange}"))

    def _end(self, fan_out: FanOut, queue: str, error: MqbridgeError | None) -> None:
        with self._ending:
            if fan_out.end(queue, error):
                self._ended.append(fan_out)

    def renewed(self) -> None:
        with self._turn:
            self._write = self._outlet.produce

    def report(self) -> None:
        if self._left:
            self._write_left()
        good: list[int] = []
        while self._ended:
            fan_out = self._ended.popleft()
            error = fan_out.verdict()
            if error is None:
                good.append(fan_out.sequence)
            else:
                self._reports.failed((fan_out.sequence,), error)
        if good:
            report_confirmed(good, self._reports)
        if self._full and not self._left:
            self._full = False
            self._reports.room()
