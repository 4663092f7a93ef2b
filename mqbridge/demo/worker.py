"""A worker process of one service: ``python -m mqbridge.demo.worker``, started by crew.py and no one else.

The rule of this room: it says what happens to it in JSON lines on its standard output, and ends when its standard input
does, so that no worker outlives the demo, however that ends. The URL comes in MQBRIDGE_URL: it may hold a password, and
arguments can be read by everybody on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge.demo.orders import KEY_HEADER, SERVICE_BY_NAME, Service, price
from mqbridge.demo.shapes import SESSION_S, QueueShape, Shape, TopicShape
from mqbridge.demo.store import Store, store_path

VICTIM_FILE = "victim"
KILL_WITHIN_S = 60.0


class Voice:
    """JSON lines to the demo; any thread may speak."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, what: str, **facts: Any) -> None:
        line = json.dumps({"say": what, **facts}, separators=(",", ":"))
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


class Worker:
    """Handles deliveries of one service."""

    def __init__(
        self, service: Service, store: Store, voice: Voice, scale: float, crash: tuple[Path, int] | None
    ) -> None:
        self._service = service
        self._store = store
        self._voice = voice
        self.service_time_s = service.service_time_s * scale
        self._crash = crash

    def handle(self, delivery: mq.Delivery[Any]) -> None:
        key = delivery.headers.get(KEY_HEADER, b"").decode()
        row = self._store.begin(key, delivery.attempt)
        try:
            cents = price(delivery.value) if self._service.name == "payment" else None
        except ValueError as error:
            self._store.end(row, "failed")
            self._voice.say("failed", key=key, attempt=delivery.attempt, error=str(error))
            raise
        # The payment provider, the mail server and the others are not here; that they take their time is.
        time.sleep(self.service_time_s)
        if cents is None:
            self._store.end(row, "ok")
            return
        number = self._store.charge(key, cents)
        self._store.end(row, "duplicate" if number is None else "ok")
        if number is None:
            self._voice.say("duplicate", key=key)
        elif self._crash is not None and number >= self._crash[1]:
            self._wait_to_be_killed(key, delivery, self._crash[0])

    def _wait_to_be_killed(self, key: str, delivery: mq.Delivery[Any], mark: Path) -> None:
        """The worst moment to die is between the charge and the ack. One worker of the run comes to stop exactly there
        and says so; then it is killed with SIGKILL. Whoever makes the file is that worker."""
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self._voice.say("window", key=key, partition=delivery.partition, offset=delivery.offset)
        threading.Event().wait(KILL_WITHIN_S)
        os._exit(3)  # nobody killed it: an ack now would make the run look like one in which somebody did


def _stop_at_end_of_input(stop: mq.Stop) -> None:
    def watch() -> None:
        # The descriptor itself: a daemon thread that holds sys.stdin's lock would end the interpreter with a fatal
        # error.
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=watch, name="demo-stdin", daemon=True).start()


def _shape(name: str, prefix: str, session_timeout_s: float) -> Shape:
    return TopicShape(prefix, session_timeout_s) if name == "topic" else QueueShape(prefix)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mqbridge.demo.worker")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--session-timeout", type=float, default=SESSION_S)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--crash-at", type=int, default=0)
    options = parser.parse_args(argv)
    service = SERVICE_BY_NAME[options.service]
    stop = mq.Stop()
    _stop_at_end_of_input(stop)
    voice = Voice()
    store = Store(store_path(options.folder, service.name), options.name)
    crash = (options.folder / VICTIM_FILE, options.crash_at) if options.crash_at else None
    worker = Worker(service, store, voice, options.scale, crash)
    shape = _shape(options.shape, options.prefix, options.session_timeout)
    with mq.connect() as bus, shape.consumer(bus, service, worker.service_time_s) as consumer:
        if isinstance(consumer, mq.TopicConsumer):
            consumer.on_assigned(lambda places: voice.say("assigned", partitions=sorted(p for _, p in places)))
            consumer.on_revoked(lambda places: voice.say("revoked", partitions=sorted(p for _, p in places)))
            consumer.on_lost(lambda places: voice.say("revoked", partitions=sorted(p for _, p in places)))
        else:
            voice.say("assigned", partitions=[])
        retry = shape.retry(bus)
        stats = consumer.run(worker.handle, workers=service.threads, order="key", retry=retry, stop=stop)
    voice.say("done", handled=stats.handled, dead_lettered=stats.dead_lettered)
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
