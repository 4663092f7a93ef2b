"""The programs that are killed: ``python -m mqbridge_conformance.kills.programs ROLE URL DIARIES``.

The rule: what was done is in the diary before the next thing is begun.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mqbridge as mq

__all__ = ["GROUP", "QUEUE", "TOPIC", "Diary"]

TOPIC = mq.Topic("kills-log", partitions=4)
QUEUE = mq.Queue("kills-work")
GROUP = "kills-group"
KEYS = 16
SESSION_S = 2.0
BURST = 50


class Diary:
    """One line, one write: what a process did before it was killed is there to be read."""

    def __init__(self, folder: Path, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(folder / f"{name}-{os.getpid()}.jsonl", flags, 0o644)
        self._lock = threading.Lock()

    def write(self, **facts: Any) -> None:
        data = json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._file, data)


def produce(url: str, diary: Diary, stop: mq.Stop) -> None:
    """Bursts to the topic and the queue; each outcome is written down."""
    identity = str(os.getpid())
    number = 0
    with mq.connect(url) as bus, bus.producer(delivery_timeout_s=20.0) as producer:
        while not stop.is_set():
            burst: list[tuple[str, int, mq.Receipt]] = []
            for _ in range(BURST):
                number += 1
                value = f"{identity} {number}".encode()
                burst.append(("t", number, producer.send(TOPIC, value, key=str(number % KEYS))))
                if number % 5 == 0:
                    burst.append(("q", number, producer.send(QUEUE, value)))
            for kind, item, receipt in burst:
                error = receipt.exception(30.0)
                if error is not None:
                    diary.write(f="failed", kind=kind, p=identity, n=item, outcome=error.outcome, code=error.code)
                    continue
                place = receipt.result()
                diary.write(f="confirmed", kind=kind, p=identity, n=item, part=place.partition, off=place.offset)


def work_topic(url: str, diary: Diary, stop: mq.Stop) -> None:
    """A member of the group: write down, then ack."""
    with (
        mq.connect(url) as bus,
        bus.consumer(
            TOPIC, group=GROUP, start=mq.EARLIEST, session_timeout_s=SESSION_S, drain_timeout_s=1.0
        ) as consumer,
    ):
        consumer.on_assigned(lambda partitions: diary.write(f="assigned", partitions=partitions))
        while not stop.is_set():
            for delivery in consumer.poll(max_messages=100, timeout=0.2):
                diary.write(
                    f="handled",
                    kind="t",
                    v=(delivery.raw or b"").decode(),
                    part=delivery.partition,
                    off=delivery.offset,
                    lease=delivery._block.lease,
                )
                try:
                    delivery.ack()
                except mq.LeaseLost:
                    diary.write(f="lease_lost", part=delivery.partition, off=delivery.offset)


def work_queue(url: str, diary: Diary, stop: mq.Stop) -> None:
    """A competing consumer: write down, then ack."""
    with mq.connect(url) as bus, bus.consumer(QUEUE, prefetch=20) as consumer:
        while not stop.is_set():
            for delivery in consumer.poll(max_messages=20, timeout=0.2):
                diary.write(f="handled", kind="q", v=(delivery.raw or b"").decode(), attempt=delivery.attempt)
                try:
                    delivery.ack()
                except mq.LeaseLost:
                    diary.write(f="lease_lost")


def stand(url: str, diary: Diary, stop: mq.Stop) -> None:
    """A process that only has the folder open, and so may come to host it."""
    with mq.connect(url) as bus:
        diary.write(f="open", **bus.admin.health())
        while not stop.is_set():
            time.sleep(0.05)  # nothing to wait for but the signal


ROLES: dict[str, Callable[[str, Diary, mq.Stop], None]] = {
    "producer": produce,
    "group": work_topic,
    "queue": work_queue,
    "stand": stand,
}


def be(role: str, url: str, diaries: Path) -> None:
    """The body of a killed program."""
    stop = mq.stop_on_signals()
    diary = Diary(diaries, role)
    try:
        ROLES[role](url, diary, stop)
    except mq.MqbridgeError as error:
        diary.write(f="died", error=type(error).__name__, text=str(error))
        raise


if __name__ == "__main__":
    be(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
