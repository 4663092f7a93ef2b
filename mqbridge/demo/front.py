"""The web front: saves an order, publishes it, and answers its customer when the publish is confirmed.

The rule of this room: a response time runs from the request to the confirmed receipt, both measured where the customer
waits; nothing is counted as sent that the engine did not confirm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import mqbridge as mq
from mqbridge.demo.orders import BURST, KEY_HEADER, SAVE_S, Event
from mqbridge.demo.record import Record, Sent
from mqbridge.demo.shapes import Shape

__all__ = ["Front"]

WEB_THREADS = 4
CONFIRM_S = 10.0


class Front:
    """Sends the events of one run, in a thread of its own."""

    def __init__(self, bus: mq.Bus, shape: Shape, record: Record, scale: float) -> None:
        self._bus = bus
        self._shape = shape
        self._record = record
        self._save_s = SAVE_S * scale
        self.total = 0
        self.began_s = 0.0
        self.done = threading.Event()
        self.stop = threading.Event()
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raise here what ended the sending."""
        if self._failure is not None:
            raise self._failure

    def send(self, events: Sequence[Event]) -> None:
        self.total = len(events)
        self.began_s = time.monotonic()
        try:
            with self._bus.producer() as producer, ThreadPoolExecutor(WEB_THREADS, "demo-web") as pool:
                requests = [pool.submit(self._request, producer, event) for event in events[:BURST]]
                for request in requests:
                    took_ms, sent = request.result()
                    self._record.response_ms.append(took_ms)
                    self._record.sent.append(sent)
                self._stream(producer, events[BURST:])
        except Exception as error:  # noqa: BLE001 - raised by check(), in the thread that waits
            self._failure = error
        finally:
            self.done.set()

    def _publish(self, producer: mq.Producer, event: Event) -> mq.Receipt:
        return producer.send(self._shape.destination, event.body, key=event.lane, headers={KEY_HEADER: event.key})

    def _request(self, producer: mq.Producer, event: Event) -> tuple[float, Sent]:
        if self.stop.is_set():
            raise mq.Closed("the demo was ended before this order was sent")
        began_s = time.perf_counter()
        time.sleep(self._save_s)  # the order's own database, whose stated time this is
        confirmation = self._publish(producer, event).result(CONFIRM_S)
        return (time.perf_counter() - began_s) * 1000, _sent(event, confirmation)

    def _stream(self, producer: mq.Producer, events: Sequence[Event]) -> None:
        began_s = time.perf_counter()
        receipts = [(event, self._publish(producer, event)) for event in events if not self.stop.is_set()]
        self._record.sent += [_sent(event, receipt.result(CONFIRM_S)) for event, receipt in receipts]
        self._record.stream_s = time.perf_counter() - began_s if events else 0.0


def _sent(event: Event, confirmation: mq.Confirmation) -> Sent:
    return Sent(event.key, event.cents, event.digest, confirmation.partition, confirmation.offset)
