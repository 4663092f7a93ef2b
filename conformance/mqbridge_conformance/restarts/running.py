"""A run of restarts: traffic, and a broker that is stopped under it.

The rule: nobody helps. Producers and consumers go on through the same objects; what a receipt called confirmed must be
in the log as a raw client reads it, and must be handled; order within a producer's key holds for what is handled first;
duplicates are legal and counted. The next stop comes when both consumers have moved on, never after a time.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.brokers import provided
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.targets import observer_of

__all__ = ["MOVED", "RestartReport", "run"]

BATCH: Final = 50
MOVED: Final = 300
"""Messages that each consumer handles between two stops."""
PATIENCE_S: Final = 90.0


@dataclass(slots=True)
class RestartReport:
    """What happened; `violations` is what must not."""

    engine: str
    how: str
    times: int = 0
    confirmed: dict[str, int] = field(default_factory=dict)
    not_applied: int = 0
    unknown: int = 0
    handled: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    resumed_s: list[float] = field(default_factory=list)
    """From the broker's readiness to the next message of the slower of the two consumers."""
    violations: list[str] = field(default_factory=list)


class _Traffic:
    """One producer and one consumer for each of a topic and a queue, on threads, until told to stop."""

    def __init__(self, url: str, report: RestartReport) -> None:
        self.report = report
        token = secrets.token_hex(4)
        self.topic: mq.Topic[bytes] = mq.Topic(f"restarts-{token}", partitions=2)
        self.queue: mq.Queue[bytes] = mq.Queue(f"restarts-{token}")
        self.group = f"restarts-{token}"
        self.bus = mq.connect(url)
        self.bus.admin.ensure(self.topic, self.queue)
        self.confirmed: dict[str, list[bytes]] = {"topic": [], "queue": []}
        self.handled: dict[str, Counter[bytes]] = {"topic": Counter(), "queue": Counter()}
        self._last: dict[str, int] = {}
        self._stop_sending = threading.Event()
        self._stop_handling = threading.Event()
        self._lock = threading.Lock()
        self._producers = [
            self._begin(self._produce, "topic", self.topic),
            self._begin(self._produce, "queue", self.queue),
        ]
        self._consumers = [self._begin(self._consume, "topic"), self._begin(self._consume, "queue")]

    def _begin(self, job: Callable[..., None], *args: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                job(*args)
            except Exception as error:  # noqa: BLE001 - whatever ends traffic is what this is about
                self._violation(f"{job.__name__.strip('_')} {args[0]} ended: {type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _violation(self, text: str) -> None:
        with self._lock:
            self.report.violations.append(text)

    def _produce(self, kind: str, destination: Any) -> None:
        number = 0
        with self.bus.producer(delivery_timeout_s=60) as producer:
            while not self._stop_sending.is_set():
                values = [b"%d" % n for n in range(number, number + BATCH)]
                number += BATCH
                receipts = [producer.send(destination, value, key=b"%d" % (int(value) % 10)) for value in values]
                for value, receipt in zip(values, receipts, strict=True):
                    error = receipt.exception(PATIENCE_S)
                    if error is None:
                        self.confirmed[kind].append(value)
                    elif error.outcome == "unknown":
                        self.report.unknown += 1
                    else:
                        self.report.not_applied += 1

    def _consume(self, kind: str) -> None:
        consumer: Any = (
            self.bus.consumer(self.topic, group=self.group, start=mq.EARLIEST)
            if kind == "topic"
            else self.bus.consumer(self.queue)
        )
        with consumer:
            while not self._stop_handling.is_set():
                for delivery in consumer.poll(timeout=0.2):
                    value = delivery.raw or b""
                    if kind == "topic" and value not in self.handled[kind]:
                        self._in_order((delivery.key or b"").decode(), int(value))
                    self.handled[kind][value] += 1
                    try:
                        delivery.ack()
                    except mq.LeaseLost:  # it comes again, and is counted then
                        continue

    def _in_order(self, key: str, number: int) -> None:
        if number < self._last.get(key, -1):
            self._violation(f"key {key}: {number} is handled first after {self._last[key]}")
        self._last[key] = number

    def moved(self) -> tuple[int, int]:
        return len(self.handled["topic"]), len(self.handled["queue"])

    def moved_on(self, since: tuple[int, int], by: int, what: str) -> bool:
        """Wait until both consumers have handled `by` more than `since`; a violation if they do not, or in between."""
        give_up_s = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not self.report.violations:
            if all(now >= then + by for now, then in zip(self.moved(), since, strict=True)):
                return True
            if time.monotonic() >= give_up_s:
                self._violation(f"{what} did not come within {PATIENCE_S:g} s: from {since} to {self.moved()}")
            pause.wait(0.01)
        return False

    def end(self) -> None:
        """Stop sending, wait until what is confirmed is handled, stop."""
        self._stop_sending.set()
        for thread in self._producers:
            thread.join(PATIENCE_S + 60)
        confirmed = {kind: set(values) for kind, values in self.confirmed.items()}
        give_up_s = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while time.monotonic() < give_up_s and any(confirmed[kind] - set(self.handled[kind]) for kind in confirmed):
            pause.wait(0.05)
        self._stop_handling.set()
        for thread in self._consumers:
            thread.join(PATIENCE_S)
        for kind, values in confirmed.items():
            lost = values - set(self.handled[kind])
            if lost:
                self._violation(f"{len(lost)} confirmed messages of the {kind} were never handled: {sorted(lost)[:10]}")
            self.report.confirmed[kind] = len(values)
            self.report.handled[kind] = len(self.handled[kind])
            self.report.repeated[kind] = sum(self.handled[kind].values()) - len(self.handled[kind])

    def remove(self) -> None:
        self.bus.admin.delete(self.topic)
        assert self.queue.dead_letter is not None
        self.bus.admin.delete(self.queue)
        self.bus.admin.delete(self.queue.dead_letter)
        self.bus.close()


def run(engine: str, times: int, how: str = "restart", broker: Broker | None = None) -> RestartReport:
    """Stop the engine's broker `times` times under traffic: ``restart`` properly, or ``kill`` it with SIGKILL."""
    broker = broker or provided.broker(engine, own=True)
    report = RestartReport(engine, how)
    traffic = _Traffic(broker.url, report)
    try:
        while report.times < times and traffic.moved_on(traffic.moved(), MOVED, "traffic before a stop"):
            if how == "kill":
                broker.kill()
                broker.start()
            else:
                broker.restart()
            ready_s = time.monotonic()
            if traffic.moved_on(traffic.moved(), 1, "the first messages after a stop"):
                report.resumed_s.append(round(time.monotonic() - ready_s, 2))
                report.times += 1
        traffic.end()
        stored = {record.value for record in observer_of(engine, broker.url).records(traffic.topic.name)}
        gone = set(traffic.confirmed["topic"]) - stored
        if gone:
            report.violations.append(f"{len(gone)} confirmed messages are not in the log: {sorted(gone)[:10]}")
    finally:
        traffic.remove()
    return report
