"""The programs that other parties run: ``python -m mqbridge_conformance.workers PROGRAM ARGUMENTS``.

The rule: a program uses the public API alone, says what it did, and ends when its standard input does. What is right
and what is wrong is decided by the scenario, never here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.observers import PublicObserver
from mqbridge_conformance.parties import END_WAIT_S, Ended, Link, pack, unpack

__all__ = ["PROGRAMS", "perform"]

POLL_S: Final = 0.05
SESSION_TIMEOUT_S: Final = 2.0
"""Short, so that the place of a killed member is soon free; not so short that a slow machine loses a living one."""


def perform(link: Link, program: str, args: dict[str, Any]) -> None:
    """Run a program to its end and tell what it failed with, if it did. `history` and `proc` among the arguments say
    where it writes down what it does, and under which name."""
    given = dict(args)
    folder, proc = given.pop("history", None), given.pop("proc", program)
    try:
        if folder is not None:
            link.recorder = Recorder(Path(folder), proc)
        PROGRAMS[program](link, **given)
    except Ended:
        return
    except Exception as error:  # noqa: BLE001 - told to the scenario, which fails with it
        if not link.killed:
            link.emit("failed", error=f"{type(error).__name__}: {error}")
    finally:
        if link.recorder is not None:
            link.recorder.close()


def host(link: Link, url: str) -> None:
    """Hold a connection open and do nothing else: on a folder, be its host."""
    with link.connect(url) as bus:
        link.emit("ready", health=dict(bus.admin.health()))
        link.wait("end")


def observe(link: Link, url: str) -> None:
    """Answer an observer's questions."""
    with link.connect(url) as bus:
        observer = PublicObserver(bus)
        link.emit("ready")
        while True:
            ask = link.wait("ask")
            try:
                link.emit("answer", value=getattr(observer, ask["question"])(*ask["args"]))
            except mq.MqbridgeError as error:
                link.emit("answer", refused=f"{type(error).__name__}: {error}")


def produce(link: Link, url: str, topic: str, producer: str, keys: list[str], per_key: int) -> None:
    """At each ``go`` send `per_key` messages for each key, numbered on from the round before; wait for all of them."""
    with link.connect(url) as bus, bus.producer() as sender:
        sent = 0
        link.emit("ready")
        while True:
            link.wait("go")
            receipts = [
                sender.send(mq.Topic(topic), f"{producer}:{key}:{number}".encode(), key=key)
                for number in range(sent, sent + per_key)
                for key in keys
            ]
            sent += per_key
            for receipt in receipts:
                receipt.result(30)
            link.emit("sent", count=len(receipts))


def share(link: Link, url: str, queue: str, prefetch: int) -> None:
    """Hold as many as `prefetch` allows until ``go``, then ack all that comes until ``finish``; tell what came.

    At each ``progress`` tell how many are settled for certain.
    """
    with link.connect(url) as bus, bus.consumer(mq.Queue(queue), prefetch=prefetch) as consumer:
        held: list[mq.Delivery[bytes]] = []
        while len(held) < prefetch:
            held += consumer.poll(prefetch - len(held), timeout=POLL_S)
            link.check()
        link.emit("holding", count=len(held))
        link.wait("go")
        values: list[bytes | None] = []
        attempts: list[int] = []
        while True:
            for delivery in held:
                values.append(delivery.raw)
                attempts.append(delivery.attempt)
                delivery.ack()
            if link.asked("progress"):
                consumer.commit(30)
                link.emit("progress", settled=len(values))
            if link.asked("finish"):
                break
            held = consumer.poll(timeout=POLL_S)
        consumer.commit(30)
        link.emit("done", values=values, attempts=attempts)


def hold(link: Link, url: str, queue: str, take: int, ack: int) -> None:
    """Take `take` messages, ack `ack` of them for certain, and keep the rest until the end, whatever it is."""
    with link.connect(url) as bus, bus.consumer(mq.Queue(queue), prefetch=take) as consumer:
        held: list[mq.Delivery[bytes]] = []
        while len(held) < take:
            held += consumer.poll(take - len(held), timeout=POLL_S)
            link.check()
        for delivery in held[:ack]:
            delivery.ack()
        consumer.commit(30)
        link.emit("held", acked=[d.raw for d in held[:ack]], kept=[d.raw for d in held[ack:]])
        link.wait("end")


def join(link: Link, url: str, topic: str, group: str) -> None:
    """Join a group at LATEST, and receive nothing."""
    with (
        link.connect(url) as bus,
        bus.consumer(mq.Topic(topic), group=group, start=mq.LATEST, session_timeout_s=SESSION_TIMEOUT_S) as consumer,
    ):
        assigned = consumer.wait_assigned(30)
        link.emit("assigned", partitions=[list(partition) for partition in assigned])
        link.wait("end")


PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    "hold": hold,
    "host": host,
    "join": join,
    "observe": observe,
    "produce": produce,
    "share": share,
}


class _ProcessLink(Link):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.commands.put(unpack(line))
        self.commands.close()
        # Whoever started this has gone: a program that does not end now would be left over.
        timer = threading.Timer(END_WAIT_S, lambda: os._exit(3))
        timer.daemon = True
        timer.start()

    def emit(self, name: str, **facts: Any) -> None:
        with self._lock:
            sys.stdout.write(pack({"name": name, **facts}) + "\n")
            sys.stdout.flush()


def main() -> None:
    program, args = sys.argv[1], unpack(sys.argv[2])
    perform(_ProcessLink(), program, args)


if __name__ == "__main__":
    main()
